import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { requireToken } from "../../src/verifier/http.ts";
import { type AuthenticationDemand, createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { makeKey, proofOf } from "../support/keys.ts";
import { type Issuer, seconds, startIssuer } from "./issuer.ts";

const acr = (name: string) => `urn:auth-service:acr:${name}`;
const publicUrl = "https://api.example";
const description = 'error_description="A stronger or more recent sign-in is required"';

let issuer: Issuer;
let verifier: Verifier;
beforeAll(async () => {
  issuer = await startIssuer();
  const options = { issuer: issuer.url, audience: "portal-client", onStreamLost: "accept-until-expiry" } as const;
  verifier = createVerifier({ ...options, dpop: { publicUrl } });
  await verifier.ready();
});
afterAll(async () => {
  await verifier.close();
  await issuer.close();
});

const decide = (claims: Record<string, unknown>, authentication: AuthenticationDemand) =>
  verifier.verify(issuer.token(claims), { authentication });

describe("a token whose user signed in", () => {
  test.each<[string, Record<string, unknown>, AuthenticationDemand, boolean]>([
    ["by the class that is asked for", { acr: acr("two-factor") }, { acr: [acr("two-factor")] }, true],
    ["by a stronger class", { acr: acr("passkey") }, { acr: [acr("two-factor")] }, true],
    ["by one of several", { acr: acr("password") }, { acr: [acr("passkey"), acr("password")] }, true],
    ["by a weaker class", { acr: acr("password") }, { acr: [acr("two-factor")] }, false],
    ["by a class of another issuer, as asked", { acr: "silver" }, { acr: ["silver"] }, true],
    ["by an unknown class", { acr: "silver" }, { acr: [acr("password")] }, false],
    ["nobody knows how", {}, { acr: [acr("password")] }, false],
    ["a minute ago", { auth_time: seconds() - 60 }, { maxAge: 300 }, true],
    ["an hour ago", { auth_time: seconds() - 3_600 }, { maxAge: 300 }, false],
    ["nobody knows when", {}, { maxAge: 300 }, false],
    [
      "well, but too long ago",
      { acr: acr("passkey"), auth_time: seconds() - 60 },
      { acr: [acr("passkey")], maxAge: 5 },
      false,
    ],
  ])("%s: allowed or not", async (_, claims, demand, allowed) => {
    expect((await decide(claims, demand)).allowed).toBe(allowed);
  });
});

test("the challenge names what the client has to ask for (RFC 9470 section 3), in each middleware's answer", async () => {
  const authentication = { acr: [acr("passkey"), acr("two-factor")], maxAge: 60 };
  const guard = requireToken(verifier, { authentication });
  const server = createServer((request, response) => guard(request, response, () => response.end("paid")));
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/pay`;
  const pay = (token: string) => fetch(url, { method: "POST", headers: { authorization: `Bearer ${token}` } });
  const refused = await pay(issuer.token({ acr: acr("password"), auth_time: seconds() }));
  expect([refused.status, await refused.json(), refused.headers.get("www-authenticate")]).toEqual([
    401,
    { error: "Insufficient User Authentication" },
    `Bearer error="insufficient_user_authentication", ${description}, acr_values="${authentication.acr.join(" ")}", max_age="60"`,
  ]);
  const paid = await pay(issuer.token({ acr: acr("passkey"), auth_time: seconds() }));
  expect([paid.status, await paid.text()]).toEqual([200, "paid"]);
  await new Promise((done) => server.close(done));
});

test("a token that is bound to a DPoP key is challenged with its scheme, a missing scope comes first", async () => {
  const key = await makeKey("ES256");
  const token = issuer.token({ cnf: { jkt: key.thumbprint }, acr: acr("password") });
  const send = async (scopes: string[]) => {
    const dpop = await proofOf(key, "GET", `${publicUrl}/pay`, { accessToken: token });
    const options = { scopes, authentication: { acr: [acr("passkey")] } };
    return verifier.verifyHeader(`DPoP ${token}`, options, { method: "GET", url: "/pay", dpop });
  };
  expect(await send(["admin"])).toMatchObject({ status: 403 });
  const refused = await send(["read"]);
  expect("wwwAuthenticate" in refused ? refused.wwwAuthenticate : "").toMatch(
    /^DPoP error="insufficient_user_authentication", .*acr_values="urn:auth-service:acr:passkey", algs="/,
  );
});

test.each([{ acr: 1 }, { amr: "pwd" }, { amr: [1] }, { auth_time: "now" }, { auth_time: 1.5 }])(
  "a token with %j is no access token of this issuer",
  async (claims) => {
    expect(await verifier.verify(issuer.token(claims))).toMatchObject({ error: "Invalid Token" });
  },
);
