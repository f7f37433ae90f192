import { lookup } from "node:dns/promises";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";

export interface OutboundRequest {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of the answer's body; a longer one is an error. 64 KiB unless given. */
  readonly maxBytes?: number;
  /** For everything: name, connection, answer. 3,000 unless given. */
  readonly timeoutMs?: number;
}

export interface OutboundAnswer {
  /** Any; 3xx too, which is not followed. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** Why a call did not bring an answer. For the log alone: who registered the URL learns nothing about this network. */
export class OutboundFailure extends Error {}

/** It passes: nothing answers there at the moment, or the host says itself that it cannot. */
export class HostAway extends OutboundFailure {}

/** @returns the answer itself @throws HostAway: a fault that passes is no answer */
export function refuseFault(answer: OutboundAnswer): OutboundAnswer {
  const { status } = answer;
  if (status >= 500 || status === 429) throw new HostAway(`the host answered ${status}`);
  return answer;
}

/** @returns how long the answer may be kept (RFC 9111 section 5.2.2.1), milliseconds; 0: it does not say */
export function maxAgeOf({ headers }: OutboundAnswer): number {
  return 1000 * Number(/\bmax-age=(\d{1,9})\b/i.exec(String(headers["cache-control"] ?? ""))?.[1] ?? 0);
}

interface Address {
  readonly address: string;
  readonly family: number;
}

const publicV6 = new BlockList();
publicV6.addSubnet("2000::", 3, "ipv6");

/** What a URL that somebody registered may not make us call (RFC 6890; RFC 9700 section 4.11). IPv6: all but global unicast. */
const refused = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const) {
  refused.addSubnet(net, prefix, "ipv4");
}
// Teredo and other protocol assignments, documentation, 6to4: they lead to or hold IPv4 addresses, or nowhere
for (const [net, prefix] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const) {
  refused.addSubnet(net, prefix, "ipv6");
}

export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !refused.check(address, "ipv4");
  return family === 6 && publicV6.check(address, "ipv6") && !refused.check(address, "ipv6");
}

/**
 * Calls a URL that a client registered (key sets, logos, back-channel logout), guarded against being sent into this network: https
 * only, no redirects followed, the name resolved once and only to public addresses, the connection made to what was resolved.
 * @param allowedHosts OUTBOUND_ALLOWED_HOSTS: exempt from the first and the third
 * @throws OutboundFailure when the call was refused, the answer too slow or too long; HostAway where nothing answers at all
 */
export async function outboundFetch(
  allowedHosts: readonly string[],
  url: string,
  call: OutboundRequest = {},
): Promise<OutboundAnswer> {
  const { maxBytes = 64 * 1024, timeoutMs = 3_000 } = call;
  const target = URL.canParse(url) ? new URL(url) : null;
  if (target === null || target.username !== "" || target.password !== "")
    throw new OutboundFailure("not a usable URL");
  const https = target.protocol === "https:";
  const exempt = isAllowedHost(allowedHosts, target);
  if (!https && !(exempt && target.protocol === "http:")) throw new OutboundFailure("only https is called");
  const signal = AbortSignal.timeout(timeoutMs);
  let isReached = false;
  const onConnect = () => {
    isReached = true;
  };
  const late = new Promise<never>((_resolve, reject) => {
    const within = `within ${timeoutMs} ms`;
    signal.addEventListener("abort", () =>
      reject(isReached ? new OutboundFailure(`no answer ${within}`) : new HostAway(`no connection ${within}`)),
    );
  });
  try {
    const addresses = await Promise.race([resolve(target.hostname), late]);
    if (!exempt && !addresses.every(({ address }) => isPublicAddress(address))) {
      throw new OutboundFailure("the host is not on the public network");
    }
    return await Promise.race([send(target, https, addresses, call, { maxBytes, signal, onConnect }), late]);
  } catch (error) {
    if (error instanceof OutboundFailure) throw error;
    throw new HostAway("the host could not be called", { cause: error });
  }
}

/** Is this host exempt from the rules of `outboundFetch`? */
export function isAllowedHost(allowedHosts: readonly string[], url: URL): boolean {
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const names = [url.hostname, `${url.hostname}:${port}`];
  return allowedHosts.some((allowed) => names.includes(allowed));
}

async function resolve(hostname: string): Promise<readonly Address[]> {
  const literal = hostname.replace(/^\[|\]$/g, "");
  const family = isIP(literal);
  if (family !== 0) return [{ address: literal, family }];
  return lookup(hostname, { all: true });
}

/** The connection goes to these addresses and no others: a second answer of the name server is never asked for. */
function send(
  url: URL,
  https: boolean,
  addresses: readonly Address[],
  call: OutboundRequest,
  { maxBytes, signal, onConnect }: { maxBytes: number; signal: AbortSignal; onConnect: () => void },
): Promise<OutboundAnswer> {
  const resolved: LookupFunction = (_hostname, options, done) => {
    if (options.all) return done(null, [...addresses]);
    const [{ address, family } = { address: "", family: 4 }] = addresses;
    done(null, address, family);
  };
  const { promise, resolve, reject } = Promise.withResolvers<OutboundAnswer>();
  const { method = "GET", headers = {}, body } = call;
  const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const options = {
    method,
    // without it a host may compress its answer (RFC 9110 section 12.5.3)
    headers: { "accept-encoding": "identity", ...headers, ...length },
    lookup: resolved,
    agent: false as const,
    signal,
  };
  const request: ClientRequest = (https ? httpsRequest : httpRequest)(url, options, (response) => {
    const { "content-encoding": coding = "identity" } = response.headers;
    if (method === "GET" && coding.toLowerCase() !== "identity") {
      response.destroy();
      return reject(new OutboundFailure(`the answer is compressed (${coding}), which was not asked for`));
    }
    readAnswer(response, maxBytes).then(resolve, reject);
  });
  request.on("error", reject);
  request.on("socket", (socket) => socket.once("connect", onConnect));
  request.end(body);
  return promise;
}

async function readAnswer(response: IncomingMessage, maxBytes: number): Promise<OutboundAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  // leaving the loop early destroys the connection
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new OutboundFailure(`the answer is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
}
