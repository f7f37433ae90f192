import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import { fastify } from "fastify";

export interface PortalOptions {
  readonly port: number;
  /** The auth service. */
  readonly issuer: string;
  readonly clientId: string;
  /** Where the API is called: a gateway in front of the auth service, or the auth service itself when absent. */
  readonly api?: string;
}

/** The portal's files, and axios out of node_modules. The application itself runs in the browser. */
export async function startPortal({ port, issuer, clientId, api }: PortalOptions): Promise<{ close(): Promise<void> }> {
  const app = fastify();
  const axios = join(createRequire(import.meta.url).resolve("axios/package.json"), "../dist/esm/axios.min.js");
  const script = readFileSync(axios, "utf8");
  app.addHook("onSend", async (_request, reply) => {
    reply.headers({
      "content-security-policy": `default-src 'self'; connect-src 'self' ${[...new Set([issuer, api ?? issuer])].join(" ")}; base-uri 'none'; frame-ancestors 'none'`,
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    });
  });
  await app.register(fastifyStatic, { root: join(import.meta.dirname, "public"), cacheControl: false });
  app.get("/axios.js", (_request, reply) => reply.type("text/javascript").send(script));
  app.get("/config.json", async () => ({ issuer, clientId, api: api ?? issuer }));
  // routes of the application, in the browser
  for (const path of ["/callback", "/login", "/signup"]) {
    app.get(path, (_request, reply) => reply.sendFile("index.html"));
  }
  await app.listen({ host: "localhost", port });
  return { close: () => app.close() };
}

if (import.meta.main) {
  const port = Number(process.env["PORT"] ?? 3000);
  const issuer = process.env["ISSUER"] ?? "http://localhost:8081";
  const api = process.env["API_URL"] ?? issuer;
  await startPortal({ port, issuer, clientId: process.env["CLIENT_ID"] ?? "portal-client", api });
  console.log(`the portal is at http://localhost:${port}, its auth service at ${issuer}, its API at ${api}`);
}
