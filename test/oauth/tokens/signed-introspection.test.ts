import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { createRemoteJWKSet, decodeProtectedHeader, type JWTVerifyResult, jwtVerify } from "jose";
import { startApp, type TestApp } from "../../support/app.ts";
import { getTokens, introspect, postForm, signUp } from "../../support/flow.ts";

const jwtType = "application/token-introspection+jwt";
const caller = { grant_types: ["client_credentials"], scope: "auth.introspect" };
const clients = [
  { client_id: "usual", client_secret: "the secret of usual", ...caller },
  { client_id: "es", client_secret: "the secret of es", introspection_signed_response_alg: "ES256", ...caller },
];
const basic = (id: string) => `Basic ${Buffer.from(`${id}:the secret of ${id}`).toString("base64")}`;

describe("introspection answered as a JWT", () => {
  let app: TestApp;
  let token: string;
  beforeAll(async () => {
    app = await startApp({}, clients);
    token = (await getTokens(app.url, await signUp(app.url))).access_token;
  });
  afterAll(() => app.close());

  const ask = (accept: string | null, by = "usual", value = token) =>
    postForm(
      `${app.url}/oauth2/introspect`,
      { token: value },
      { authorization: basic(by), ...(accept === null ? {} : { accept }) },
    );
  async function verified(response: Response, audience: string): Promise<JWTVerifyResult> {
    expect([response.status, response.headers.get("content-type")]).toEqual([200, jwtType]);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const keys = createRemoteJWKSet(new URL(`${app.url}/oauth2/jwks`));
    const options = { issuer: app.url, audience, typ: "token-introspection+jwt" };
    return jwtVerify(await response.text(), keys, options);
  }

  it("RFC 9701 5 answers a caller that asks for it with a JWT by its algorithm, for it alone, without an end", async () => {
    for (const [by, alg] of [
      ["usual", "RS256"],
      ["es", "ES256"],
    ] as const) {
      const { payload, protectedHeader } = await verified(await ask(jwtType, by), by);
      expect(protectedHeader.alg).toBe(alg);
      expect(Object.keys(payload).sort()).toEqual(["aud", "iat", "iss", "token_introspection"]);
      expect(payload["token_introspection"]).toEqual(await introspect(app.url, token, basic(by)));
      expect(payload["token_introspection"]).toMatchObject({ active: true });
    }
  });

  it("RFC 9701 5 says no more of a token that is not good than that", async () => {
    const { payload } = await verified(await ask(jwtType, "usual", "no token"), "usual");
    expect(payload["token_introspection"]).toEqual({ active: false });
  });

  it("RFC 9701 4 answers JSON to callers that do not ask for a JWT", async () => {
    const plain = [
      null,
      "*/*",
      "application/json",
      "text/html",
      `${jwtType};q=0`,
      `${jwtType};q=0.5, application/json`,
    ];
    for (const accept of plain) {
      const response = await ask(accept);
      expect([accept, response.headers.get("content-type")]).toEqual([accept, "application/json; charset=utf-8"]);
      expect(await response.json()).toMatchObject({ active: true });
    }
    await verified(await ask(`application/json;q=0.5, ${jwtType}`), "usual");
  });

  it("RFC 9701 8.1 no such answer passes for a token", async () => {
    const answer = await (await ask(jwtType)).text();
    expect(decodeProtectedHeader(answer).typ).toBe("token-introspection+jwt");
    expect(await introspect(app.url, answer)).toEqual({ active: false });
    const userinfo = await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${answer}` } });
    expect(userinfo.status).toBe(401);
    const hint = await fetch(
      `${app.url}/connect/logout?id_token_hint=${answer}&post_logout_redirect_uri=https://a.example/`,
      {
        redirect: "manual",
      },
    );
    expect(hint.status).toBe(400);
  });

  it("refuses whoever may not introspect as before, and names its algorithms in the metadata", async () => {
    const wrong = await postForm(
      `${app.url}/oauth2/introspect`,
      { token },
      { authorization: "Basic eDp5", accept: jwtType },
    );
    expect(wrong.status).toBe(401);
    expect(wrong.headers.get("content-type")).toContain("application/json");
    const metadata = (await (await fetch(`${app.url}/.well-known/oauth-authorization-server`)).json()) as object;
    expect(metadata).toMatchObject({ introspection_signing_alg_values_supported: ["RS256", "ES256"] });
  });
});
