import {
  request as ask,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";
// in a service of your own: "auth-service/verifier"
import { createVerifier, toHttp, type VerifiedClaims, type VerifierOptions } from "../../src/verifier/verifier.ts";
import { type Route, routes as standardRoutes } from "./routes.ts";

export interface GatewayOptions {
  /** 0: a free one. */
  readonly port: number;
  /** `localhost` unless given. */
  readonly host?: string;
  /** Where allowed requests go, as http://host:port. */
  readonly upstream: string;
  readonly verifier: VerifierOptions;
  readonly routes?: readonly Route[];
  /** Origins whose pages may call this gateway. The upstream's own CORS headers are dropped. */
  readonly corsOrigins?: readonly string[];
  /** Milliseconds that the upstream may be silent; 15000 unless given. */
  readonly upstreamTimeoutMs?: number;
}

export interface Gateway {
  readonly url: string;
  /** Resolves when the keys and everything revoked are known; before it the verifier's policy decides. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

/** What only this gateway may say: who is asking. */
const identity = new Set(["x-user-id", "x-user-roles", "x-client-id", "x-scopes"]);
/** For one connection only (RFC 9110 section 7.6.1). */
const hopByHop = new Set(
  "connection keep-alive proxy-connection proxy-authorization te trailer transfer-encoding upgrade expect".split(" "),
);

/** Answers each request as the auth service's table says, and forwards what is allowed. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { host = "localhost", routes = standardRoutes, corsOrigins = [], upstreamTimeoutMs = 15_000 } = options;
  const upstream = new URL(options.upstream);
  const verifier = createVerifier(options.verifier);

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", headers } = request;
    if (headers.origin !== undefined && corsOrigins.includes(headers.origin)) {
      allowOrigin(response, headers.origin);
      if (method === "OPTIONS") return void response.writeHead(204).end();
    }
    const target = readTarget(request.url ?? "");
    if (target === null) return refuse(response, 400, "Bad Request");
    const route = routes.find((one) => fits(one, method, target.pathname));
    if (route === undefined) return refuse(response, 404, "Not Found");
    if (route.scopes === null) return forward(request, response, target.path, null);
    const signed = { method, url: request.url ?? "", dpop: headers["dpop"] };
    const decision = await verifier.verifyHeader(headers.authorization, { scopes: route.scopes }, signed);
    if (decision.allowed) return forward(request, response, target.path, decision.claims);
    const refusal = toHttp(decision);
    response.writeHead(refusal.status, refusal.headers).end(refusal.body);
  }

  function forward(request: IncomingMessage, response: ServerResponse, path: string, claims: VerifiedClaims | null) {
    const { method, headers: received } = request;
    const headers = {
      ...endToEnd(received, (name) => identity.has(name.replaceAll("_", "-"))),
      // a body stays framed as it came, whatever the method
      ...(received["transfer-encoding"] === undefined ? {} : { "transfer-encoding": "chunked" }),
      ...(claims === null ? {} : identityOf(claims)),
      host: upstream.host,
    };
    const { hostname, port } = upstream;
    const onward = ask({ hostname, port, method, path, headers, timeout: upstreamTimeoutMs });
    const fail = (status: number, error: string) => {
      onward.destroy();
      if (response.headersSent) response.destroy();
      else refuse(response, status, error);
    };
    onward.on("timeout", () => fail(504, "Gateway Timeout"));
    onward.on("error", () => fail(502, "Bad Gateway"));
    onward.on("response", (reply) => {
      const kept = endToEnd(reply.headers, (name) => name.startsWith("access-control-"));
      response.writeHead(reply.statusCode ?? 502, kept);
      pipeline(reply, response, () => {});
    });
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => refuse(response, 500, "Internal Server Error"));
  });
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(options.port, host, resolve));
  } catch (error) {
    await verifier.close();
    throw error;
  }
  const ready = verifier.ready();
  // it rejects when the gateway is closed first, which is no error
  ready.catch(() => {});
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    ready,
    async close() {
      server.close();
      server.closeAllConnections();
      await verifier.close();
    },
  };
}

/** @returns null for what upstreams may read differently than this gateway: the route must be that of the same path */
function readTarget(url: string): { pathname: string; path: string } | null {
  if (!url.startsWith("/") || url.startsWith("//") || !URL.canParse(`http://gateway${url}`)) return null;
  const { pathname, search } = new URL(`http://gateway${url}`);
  // encoded separators, and characters that need no encoding
  if (/%(?:2f|5c|00|25)/i.test(pathname) || pathname.includes("//")) return null;
  try {
    return { pathname: decodeURI(pathname), path: `${pathname}${search}` };
  } catch {
    return null;
  }
}

function fits({ method, path }: Route, asked: string, pathname: string): boolean {
  if (method !== undefined && method !== asked) return false;
  return path.endsWith("*") ? pathname.startsWith(path.slice(0, -1)) : pathname === path;
}

function identityOf({ sub, roles, client_id, scope }: VerifiedClaims): Record<string, string> {
  return { "x-user-id": sub, "x-user-roles": (roles ?? []).join(","), "x-client-id": client_id, "x-scopes": scope };
}

function endToEnd(headers: IncomingHttpHeaders, isDropped: (name: string) => boolean): IncomingHttpHeaders {
  const named = new Set(headers.connection?.toLowerCase().split(/\s*,\s*/));
  const kept = Object.entries(headers).filter(([name]) => !hopByHop.has(name) && !named.has(name) && !isDropped(name));
  return Object.fromEntries(kept);
}

function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
  response.setHeader("access-control-allow-headers", "authorization, content-type, dpop");
  response.setHeader("access-control-expose-headers", "www-authenticate, retry-after");
  response.setHeader("access-control-max-age", "600");
  response.setHeader("vary", "origin");
}

function refuse(response: ServerResponse, status: number, error: string): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" });
  response.end(JSON.stringify({ error }));
}
