import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { fastify } from "fastify";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import * as connectMiddleware from "../../src/verifier/connect.ts";
import * as fastifyMiddleware from "../../src/verifier/fastify.ts";
import * as httpMiddleware from "../../src/verifier/http.ts";
import { createVerifier, type Verifier, type VerifierOptions } from "../../src/verifier/verifier.ts";
import { type Issuer, startIssuer } from "./issuer.ts";

const resource = "https://mcp.example/v1/mcp";
const path = "/.well-known/oauth-protected-resource/v1/mcp";
const named = `resource_metadata="https://mcp.example${path}"`;

let issuer: Issuer;
let verifier: Verifier;
const closing: (() => unknown)[] = [];
const base = (): VerifierOptions => ({
  issuer: issuer.url,
  audience: [resource, "portal-client"],
  onStreamLost: "accept-until-expiry",
});
beforeAll(async () => {
  issuer = await startIssuer();
  verifier = createVerifier({ ...base(), protectedResource: { resource, scopes: ["mcp"], name: "Files" } });
  await verifier.ready();
});
afterAll(async () => {
  for (const close of closing) await close();
  await verifier.close();
  await issuer.close();
});

const serve = async (listener: RequestListener): Promise<string> => {
  const server = createServer(listener);
  closing.push(() => new Promise((done) => server.close(done)));
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

/** A server by each middleware that speaks plain HTTP: everything but the document needs a token. */
const servers: Record<string, () => Promise<string>> = {
  http: () => {
    const document = httpMiddleware.serveProtectedResource(verifier);
    const guard = httpMiddleware.requireToken(verifier);
    return serve((request, response) =>
      document(request, response, () => guard(request, response, () => response.end("hello"))),
    );
  },
  fastify: async () => {
    const app = fastify();
    closing.push(() => app.close());
    await app.register(fastifyMiddleware.verifierPlugin(verifier));
    await app.register(fastifyMiddleware.protectedResourcePlugin(verifier));
    app.get("/", () => "hello");
    return app.listen({ port: 0, host: "127.0.0.1" });
  },
  connect: () => {
    const document = httpMiddleware.serveProtectedResource(verifier);
    const adapter = connectNodeAdapter({
      interceptors: [connectMiddleware.requireToken(verifier)],
      routes: (router) => router.service(IntrospectionService, {}),
    });
    return serve((request, response) => document(request, response, () => void adapter(request, response)));
  },
};

test.each(Object.keys(servers))(
  "C-67 %s serves the document of the resource to everyone (RFC 9728 section 3)",
  async (name) => {
    const url = await servers[name]?.();
    const answer = await fetch(`${url}${path}`);
    expect([answer.status, await answer.json()]).toEqual([
      200,
      {
        resource,
        authorization_servers: [issuer.url],
        bearer_methods_supported: ["header"],
        scopes_supported: ["mcp"],
        resource_name: "Files",
      },
    ]);
    expect(answer.headers.get("content-type")).toMatch(/^application\/json/);
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  },
);

test.each(Object.keys(servers))(
  "C-59 %s lets scripts of every origin ask for the document, with headers of their own, and others look at it by HEAD",
  async (name) => {
    const url = `${await servers[name]?.()}${path}`;
    const headers = {
      origin: "https://inspector.example",
      "access-control-request-method": "GET",
      "access-control-request-headers": "mcp-protocol-version",
    };
    const preflight = await fetch(url, { method: "OPTIONS", headers });
    const allowed = ["origin", "methods", "headers"].map((each) =>
      preflight.headers.get(`access-control-allow-${each}`),
    );
    expect([preflight.status, ...allowed]).toEqual([204, "*", "GET, HEAD", "*"]);
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    expect((await fetch(url, { method: "POST" })).status).not.toBe(200);
  },
);

test.each(["http", "fastify"])(
  "C-67 %s names the document in each refusal, and lets a good token through",
  async (name) => {
    const url = (await servers[name]?.()) ?? "";
    const get = (authorization?: string) =>
      fetch(url, authorization === undefined ? {} : { headers: { authorization } });
    const none = await get();
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, `Bearer ${named}`]);
    const wrong = await get("Bearer nonsense");
    expect(wrong.headers.get("www-authenticate")).toMatch(/^Bearer error="invalid_token", error_description="[^"]+", /);
    expect(wrong.headers.get("www-authenticate")).toContain(named);
    const good = await get(`Bearer ${issuer.token({ aud: ["https://other.example", resource] })}`);
    expect([good.status, await good.text()]).toEqual([200, "hello"]);
  },
);

test("C-67 connect names the document in the metadata of a refusal", async () => {
  const baseUrl = (await servers["connect"]?.()) ?? "";
  const client = createClient(IntrospectionService, createConnectTransport({ baseUrl, httpVersion: "1.1" }));
  const refused = ConnectError.from(await client.introspect({ token: "x" }).catch((error: unknown) => error));
  expect([refused.code, refused.metadata.get("www-authenticate")]).toEqual([Code.Unauthenticated, `Bearer ${named}`]);
});

test("C-67 the document of a resource without a path is at the root, and says what DPoP takes", () => {
  const root = "https://api.example/";
  const dpop = { publicUrl: "https://api.example" };
  const other = createVerifier({ ...base(), audience: root, dpop, protectedResource: { resource: root } });
  closing.push(() => other.close());
  const found = other.protectedResource();
  expect(found?.path).toBe("/.well-known/oauth-protected-resource");
  expect(JSON.parse(found?.document ?? "")).toMatchObject({
    resource: root,
    dpop_signing_alg_values_supported: expect.any(Array),
  });
  expect(() => createVerifier({ ...base(), audience: "portal-client", protectedResource: { resource: "x" } })).toThrow(
    /protectedResource.resource must be .*; audience must name protectedResource.resource/,
  );
});

test("C-67 the resource is compared with the audiences as those are with aud (RFC 3986 6.2.3)", async () => {
  const made = (audience: string, own: string) => {
    const one = createVerifier({ ...base(), audience, protectedResource: { resource: own } });
    closing.push(() => one.close());
    return one;
  };
  const one = made("https://api.example", "HTTPS://api.example:443/");
  await one.ready();
  const aud = "https://api.example/";
  expect(await one.verify(issuer.token({ aud }))).toMatchObject({ allowed: true });
  expect(() => made("https://api.example/v1", "https://api.example/v1/")).toThrow(/audience must name/);
});
