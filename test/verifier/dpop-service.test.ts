import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { claimsOf, requireToken } from "../../src/verifier/http.ts";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { postForm } from "../support/flow.ts";
import { makeKey, proofOf, type TestKey } from "../support/keys.ts";
import { credentials } from "./issuer.ts";

/** A bound token of the service itself, at a resource server that this library guards. */
let app: TestApp;
let verifier: Verifier;
const server = createServer((request: IncomingMessage, response) =>
  requireToken(verifier, { scopes: ["read"] })(request, response, () => response.end(claimsOf(request).client_id)),
);
const publicUrl = "https://orders.example";
let orders: string;
let key: TestKey;

beforeAll(async () => {
  const secret = { client_id: "machine", client_secret: "the secret of machine" };
  const internal = {
    client_id: credentials.clientId,
    client_secret: credentials.clientSecret,
    scope: "auth.introspect",
  };
  const grants = { grant_types: ["client_credentials"] };
  [app, key] = await Promise.all([
    startApp({}, [
      { ...secret, ...grants, scope: "read", dpop_bound_access_tokens: true },
      { ...internal, ...grants },
    ]),
    makeKey(),
  ]);
  verifier = createVerifier({
    issuer: app.env["ISSUER"] ?? "",
    audience: "machine",
    stream: { baseUrl: `http://${app.grpc}`, credentials },
    // a process that stands still for a moment keeps the stream
    maxStalenessMs: 60_000,
    onStreamLost: "fail-closed",
    dpop: { publicUrl },
  });
  await verifier.ready();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  orders = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await verifier.close();
  await app.close();
});

test("a bound token of the service opens a guarded resource with its proof, and only so", async () => {
  const tokenUrl = `${app.url}/oauth2/token`;
  const authorization = `Basic ${btoa("machine:the+secret+of+machine")}`;
  const dpop = await proofOf(key, "POST", tokenUrl);
  const answer = await postForm(tokenUrl, { grant_type: "client_credentials" }, { authorization, dpop });
  const { access_token: accessToken, token_type } = (await answer.json()) as {
    access_token: string;
    token_type: string;
  };
  expect(token_type).toBe("DPoP");
  const ask = async (scheme: string, proof: string) => {
    const headers = { authorization: `${scheme} ${accessToken}`, dpop: proof };
    const response = await fetch(`${orders}/list?page=1`, { headers });
    return [response.status, await response.text()];
  };
  const prove = (by = key, htu = `${publicUrl}/list`) => proofOf(by, "GET", htu, { accessToken });
  const good = await prove();
  expect(await ask("DPoP", good)).toEqual([200, "machine"]);
  expect(await ask("DPoP", good)).toEqual([401, '{"error":"invalid_dpop_proof"}']);
  expect(await ask("DPoP", await prove(key, `${orders}/list`))).toEqual([401, '{"error":"invalid_dpop_proof"}']);
  expect(await ask("DPoP", await prove(await makeKey()))).toEqual([401, '{"error":"Invalid Token"}']);
  expect(await ask("Bearer", await prove())).toEqual([401, '{"error":"Invalid Token"}']);
  await postForm(`${app.url}/oauth2/revoke`, { token: accessToken }, { authorization });
  const deadline = Date.now() + 10_000;
  while ((await ask("DPoP", await prove()))[0] === 200 && Date.now() < deadline);
  expect(await ask("DPoP", await prove())).toEqual([401, '{"error":"Invalid Token"}']);
});
