import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { request as ask, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer } from "node:https";
import { isIP } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream";

export interface ProxyOptions {
  readonly listen: string;
  readonly port: number;
  readonly certificate: { readonly cert: string; readonly key: string };
  /** Port of the service on 127.0.0.1. */
  readonly servicePort: number;
  /** Host and port that browsers and the suite use. */
  readonly publicHost: string;
  readonly addPkce: boolean;
}

/** RFC 9325 section 4.2: what FAPI 2.0 section 5.2.1 allows of TLS 1.2; the suites of TLS 1.3 are all good. */
const ciphers = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
].join(":");
const hsts = { "strict-transport-security": "max-age=31536000; includeSubDomains" };
/** For one connection only (RFC 9110 section 7.6.1), and what only this proxy may say. */
const dropped = new Set(
  "connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect content-length forwarded x-forwarded-for x-forwarded-host x-forwarded-proto".split(
    " ",
  ),
);
const maxBody = 64 * 1024;

/** A certificate that signs itself, made by openssl; the one of an earlier start where it is there. */
export function certificateFor(host: string, folder: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, "certificate.pem"), join(folder, "certificate-key.pem")];
  if (!existsSync(cert)) {
    const name = `subjectAltName=${isIP(host) === 0 ? "DNS" : "IP"}:${host}`;
    const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"];
    const args = ["req", ...kind, "-subj", `/CN=${host}`, "-addext", name, "-keyout", key, "-out", cert];
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "inherit"] });
  }
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

/** Ends TLS before the service, which listens on loopback only. */
export async function startProxy(options: ProxyOptions): Promise<{ close(): Promise<void> }> {
  const { certificate, servicePort, publicHost, addPkce } = options;
  const pkce = addPkce ? addedPkce() : null;

  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const read = await readBody(request);
    if (read === null) return void response.writeHead(413, hsts).end();
    const { path, body } = pkce?.(request, read) ?? { path: request.url ?? "/", body: read };
    const kept = Object.entries(request.headers).filter(([name]) => !dropped.has(name));
    const headers = {
      ...Object.fromEntries(kept),
      host: publicHost,
      "x-forwarded-for": request.socket.remoteAddress ?? "",
      "x-forwarded-host": publicHost,
      "x-forwarded-proto": "https",
      ...(body.length > 0 || request.method === "POST" ? { "content-length": String(body.length) } : {}),
    };
    const method = request.method ?? "GET";
    const onward = ask({ hostname: "127.0.0.1", port: servicePort, method, path, headers, timeout: 30_000 });
    onward.on("timeout", () => onward.destroy());
    onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502, hsts).end()));
    onward.on("response", (reply) => {
      const back = Object.entries(reply.headers).filter(
        ([name]) => !["connection", "keep-alive", "transfer-encoding"].includes(name),
      );
      response.writeHead(reply.statusCode ?? 502, { ...Object.fromEntries(back), ...hsts });
      pipeline(reply, response, () => {});
    });
    onward.end(body);
  }

  const server = createServer({ ...certificate, minVersion: "TLSv1.2", ciphers, honorCipherOrder: true });
  server.on("request", (request, response) => {
    forward(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(options.port, options.listen, resolve);
  });
  return {
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maxBody) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

type Rewrite = (request: IncomingMessage, body: Buffer) => { path: string; body: Buffer };

/**
 * Gives authorization requests without PKCE a challenge, and redemptions without a verifier the one that belongs to it. The same for
 * all, so it protects nothing: it is for modules of the suite that send none.
 */
function addedPkce(): Rewrite {
  const verifier = randomBytes(32).toString("base64url");
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const authorization = { code_challenge: challenge, code_challenge_method: "S256" };
  const complete = (text: string, name: string, added: Record<string, string>) => {
    const form = new URLSearchParams(text);
    return form.has(name) ? text : `${text}&${new URLSearchParams(added)}`;
  };
  return (request, body) => {
    const { method, url = "/" } = request;
    const [path = "", query = ""] = url.split(/\?(.*)/s);
    if (path === "/oauth2/authorize" && method === "GET" && !query.includes("request_uri=urn")) {
      return { path: `${path}?${complete(query, "code_challenge", authorization)}`, body };
    }
    if (path === "/oauth2/authorize" && method === "POST") {
      return { path: url, body: Buffer.from(complete(String(body), "code_challenge", authorization)) };
    }
    if (path === "/oauth2/token" && new URLSearchParams(String(body)).get("grant_type") === "authorization_code") {
      return { path: url, body: Buffer.from(complete(String(body), "code_verifier", { code_verifier: verifier })) };
    }
    return { path: url, body };
  };
}
