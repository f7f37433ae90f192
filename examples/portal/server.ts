import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import { fastify } from "fastify";
// in a service of your own: "auth-service/verifier"
import { createVerifier } from "../../src/verifier/verifier.ts";
import { addApi } from "./api.ts";

export interface PortalOptions {
  readonly port: number;
  /** The auth service. */
  readonly issuer: string;
  readonly clientId: string;
  /** Where the API is called: a gateway in front of the auth service, or the auth service itself when absent. */
  readonly api?: string;
  /** The internal listeners of the auth service, and the client that this server is there. */
  readonly internal: {
    /** gRPC: what is revoked, as http://host:9091. */
    readonly grpcUrl: string;
    /** Connect: where somebody is signed in, as http://host:9092. */
    readonly connectUrl: string;
    readonly clientId: string;
    readonly clientSecret: string;
  };
  /** Milliseconds since 1970, for tests. */
  readonly now?: () => number;
}

/**
 * The portal's files and its own API, and axios out of node_modules. The application itself runs in the browser.
 * @returns once it listens; `ready` resolves when the keys and everything revoked are known
 */
export async function startPortal(options: PortalOptions): Promise<{ ready: Promise<void>; close(): Promise<void> }> {
  const { port, issuer, clientId, api = issuer, internal, now = Date.now } = options;
  const app = fastify();
  const verifier = createVerifier({
    issuer,
    audience: clientId,
    stream: { baseUrl: internal.grpcUrl, credentials: internal },
    now,
  });
  const axios = join(createRequire(import.meta.url).resolve("axios/package.json"), "../dist/esm/axios.min.js");
  const script = readFileSync(axios, "utf8");
  const headers = securityHeaders([...new Set([issuer, api])]);
  app.addHook("onSend", async (_request, reply) => {
    reply.headers(headers);
  });
  await app.register(fastifyStatic, { root: join(import.meta.dirname, "public"), cacheControl: false });
  app.get("/axios.js", (_request, reply) => reply.type("text/javascript").send(script));
  app.get("/config.json", async () => ({ issuer, clientId, api }));
  // routes of the application, in the browser
  for (const path of ["/callback", "/login", "/signup"]) {
    app.get(path, (_request, reply) => reply.sendFile("index.html"));
  }
  addApi(app, verifier, internal);
  const ready = verifier.ready();
  // it rejects when the portal is closed first, which is no error
  ready.catch(() => {});
  const close = async () => {
    await app.close();
    await verifier.close();
  };
  try {
    await app.listen({ host: "localhost", port });
  } catch (error) {
    await close();
    throw error;
  }
  return { ready, close };
}

/** @param servers that the pages call, beside this one */
function securityHeaders(servers: readonly string[]): Record<string, string> {
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self' ${servers.join(" ")}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return {
    "content-security-policy": policy.join("; "),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
  };
}

if (import.meta.main) {
  const env = (name: string, standard: string) => process.env[name] ?? standard;
  const port = Number(env("PORT", "3000"));
  const issuer = env("ISSUER", "http://localhost:8081");
  const api = env("API_URL", issuer);
  await startPortal({
    port,
    issuer,
    clientId: env("CLIENT_ID", "portal-client"),
    api,
    internal: {
      grpcUrl: env("AUTH_GRPC_URL", "http://127.0.0.1:9091"),
      connectUrl: env("AUTH_CONNECT_URL", "http://127.0.0.1:9092"),
      clientId: env("AUTH_CLIENT_ID", "internal-service"),
      clientSecret: env("AUTH_CLIENT_SECRET", "internal-service-secret"),
    },
  });
  console.log(`the portal is at http://localhost:${port}, its auth service at ${issuer}, its API at ${api}`);
}
