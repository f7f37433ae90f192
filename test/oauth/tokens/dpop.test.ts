import { createHmac } from "node:crypto";
import { request as httpRequest } from "node:http";
import { type Client, createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { exportJWK } from "jose";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  claimsOf,
  getCode,
  introspect,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  signUp,
  type Tokens,
} from "../../support/flow.ts";
import { internalTransport } from "../../support/grpc.ts";
import {
  assertionOf,
  assertionType,
  inSeconds,
  listen,
  makeKey,
  proofOf,
  type TestKey,
  withAssertion,
} from "../../support/keys.ts";

const basicOf = (id: string, secret: string) => `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
const redirectUri = "http://localhost:4400/callback";

let app: TestApp;
let account: Account & { uuid: string };
let key: TestKey;
let other: TestKey;
let clientKey: TestKey;
beforeAll(async () => {
  [key, other, clientKey] = await Promise.all([makeKey(), makeKey(), makeKey()]);
  const web = { redirect_uris: [redirectUri], scope: "openid profile", first_party: true };
  const machine = { grant_types: ["client_credentials"], scope: "read auth.introspect" };
  const jwks = { keys: [clientKey.jwk] };
  app = await startApp({}, [
    { client_id: "web", client_secret: "the secret of web", ...web },
    { client_id: "machine", client_secret: "the secret of machine", ...machine },
    { client_id: "bound", client_secret: "the secret of bound", dpop_bound_access_tokens: true, ...machine },
    { client_id: "bound-web", dpop_bound_access_tokens: true, ...web },
    { client_id: "fapi", profile: "fapi2", jwks, ...machine },
  ]);
  account = await signUp(app.url);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const tokenUrl = () => `${app.url}/oauth2/token`;
const userinfoUrl = () => `${app.url}/userinfo`;

type Answer = { status: number; headers: Headers; body: Record<string, unknown> & Partial<Tokens> };
async function answer(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === "" ? {} : JSON.parse(text) };
}

/** Client credentials of the machine, with this DPoP header. */
const ask = async (proof: string | undefined, clientId = "machine") =>
  answer(
    await postForm(
      tokenUrl(),
      { grant_type: "client_credentials" },
      {
        authorization: basicOf(clientId, `the secret of ${clientId}`),
        ...(proof === undefined ? {} : { dpop: proof }),
      },
    ),
  );
const prove = (more: Parameters<typeof proofOf>[3] = {}, by = key) => proofOf(by, "POST", tokenUrl(), more);

/** A user's tokens of a client, bound to the key. */
async function signIn(clientId: string, by: TestKey | null = key, extra: Record<string, string> = {}): Promise<Answer> {
  const options = { clientId, redirectUri, scope: "openid profile", extra };
  const { code, verifier } = await getCode(app.url, account, clientId === portal.clientId ? { extra } : options);
  const form: Record<string, string> = { grant_type: "authorization_code", code, code_verifier: verifier };
  const headers: Record<string, string> = by === null ? {} : { dpop: await prove({}, by) };
  if (clientId === "web") headers["authorization"] = basicOf("web", "the secret of web");
  else form["client_id"] = clientId;
  return answer(await postForm(tokenUrl(), form, headers));
}

async function use(token: string, by: TestKey, more: Parameters<typeof proofOf>[3] = {}): Promise<Answer> {
  const dpop = await proofOf(by, "GET", userinfoUrl(), { accessToken: token, ...more });
  return answer(await fetch(userinfoUrl(), { headers: { authorization: `DPoP ${token}`, dpop } }));
}

describe("a DPoP proof at the token endpoint", () => {
  it.each(["ES256", "PS256", "EdDSA"])("S-145 binds the token to a key of %s", async (alg) => {
    const by = await makeKey(alg);
    const { status, body } = await ask(await prove({}, by));
    expect([status, body.token_type]).toEqual([200, "DPoP"]);
    expect(claimsOf(body.access_token ?? "")["cnf"]).toEqual({ jkt: by.thumbprint });
  });

  it("takes a typ with application/ before it (RFC 7515 section 4.1.9)", async () => {
    expect((await ask(await prove({ header: { typ: "application/dpop+jwt" } }))).status).toBe(200);
    expect((await ask(await prove({ header: { typ: "application/application/dpop+jwt" } }))).status).toBe(400);
  });

  it("leaves tokens as they are without one", async () => {
    const { status, body } = await ask(undefined);
    expect([status, body.token_type]).toEqual([200, "Bearer"]);
    expect(claimsOf(body.access_token ?? "")["cnf"]).toBeUndefined();
  });

  it("S-143 takes the URL in any normal form, with query and fragment, and a clock some seconds ahead", async () => {
    const { port } = new URL(app.url);
    const urls = [`${tokenUrl()}?a=b#c`, `HTTP://LOCALHOST:${port}/oauth2/token`, `${app.url}/x/../oauth2/./token`];
    for (const htu of urls) expect([htu, (await ask(await prove({ claims: { htu } }))).status]).toEqual([htu, 200]);
    for (const iat of [inSeconds(8), inSeconds(-50)])
      expect((await ask(await prove({ claims: { iat } }))).status).toBe(200);
  });

  it("S-143 refuses a proof of another request, of another time, and an incomplete one", async () => {
    const claims: Record<string, unknown>[] = [
      { htm: "GET" },
      { htm: "post" },
      { htm: undefined },
      { htu: userinfoUrl() },
      { htu: `${tokenUrl()}/` },
      { htu: tokenUrl().replace("http:", "https:") },
      { htu: tokenUrl().replace("localhost", "127.0.0.1") },
      { htu: "/oauth2/token" },
      { htu: undefined },
      { iat: inSeconds(-300) },
      { iat: inSeconds(300) },
      { iat: inSeconds(61) },
      { iat: String(inSeconds(0)) },
      { iat: undefined },
      { jti: undefined },
      { jti: "" },
      { jti: 7 },
      { jti: "j".repeat(501) },
    ];
    for (const wrong of claims) {
      const { status, body } = await ask(await prove({ claims: wrong }));
      expect([wrong, status, body["error"]]).toEqual([wrong, 400, "invalid_dpop_proof"]);
    }
  });

  it("S-143 S-105 S-106 S-107 refuses other types, algorithms and keys, and fetches no key", async () => {
    const listener = await listen((_request, response) => response.end(JSON.stringify({ keys: [key.jwk] })));
    const rsa = await makeKey("RS256");
    const es384 = await makeKey("ES384");
    const headers: Record<string, unknown>[] = [
      { typ: undefined },
      { typ: "JWT" },
      { typ: "at+jwt" },
      { jwk: undefined },
      { jwk: "x" },
      { jwk: [key.bare] },
      { jwk: other.bare },
      { jwk: rsa.bare },
      { jwk: await exportJWK(key.privateKey) },
      { jwk: { kty: "oct", k: "AAAA" } },
      { jwk: { ...key.bare, y: key.bare.x } },
      { jwk: undefined, jku: listener.url },
      { jku: listener.url },
      { x5u: listener.url },
      { x5c: ["MIIB"] },
      { kid: undefined, b64: true },
    ];
    for (const header of headers) {
      const { status, body } = await ask(await prove({ header }));
      expect([header, status, body["error"]]).toEqual([header, 400, "invalid_dpop_proof"]);
    }
    for (const by of [rsa, es384]) expect((await ask(await prove({}, by))).body["error"]).toBe("invalid_dpop_proof");
    const part = (json: object) => Buffer.from(JSON.stringify(json)).toString("base64url");
    const claims = part({ jti: "h", htm: "POST", htu: tokenUrl(), iat: inSeconds(0) });
    for (const alg of ["none", "None", "", undefined, ["ES256"]]) {
      const none = `${part({ typ: "dpop+jwt", alg, jwk: key.bare })}.${claims}`;
      for (const proof of [`${none}.`, `${none}.AAAA`])
        expect((await ask(proof)).body["error"]).toBe("invalid_dpop_proof");
    }
    for (const jwk of [key.bare, { kty: "oct", k: String(key.bare.x) }]) {
      const input = `${part({ typ: "dpop+jwt", alg: "HS256", jwk })}.${claims}`;
      for (const secret of [
        JSON.stringify(key.bare),
        String(key.bare.x),
        Buffer.from(String(key.bare.x), "base64url"),
      ]) {
        const mac = createHmac("sha256", secret).update(input).digest("base64url");
        expect((await ask(`${input}.${mac}`)).body["error"]).toBe("invalid_dpop_proof");
      }
    }
    expect(listener.connections()).toBe(0);
    listener.close();
  });

  it("S-143 S-108 S-110 refuses what is not one signed JWT, and two of them", async () => {
    const good = await prove();
    const [head, body, tail = ""] = good.split(".");
    const wrong = [
      "x",
      "..",
      `${head}.${body}.`,
      `${head}.${body}.${tail.slice(0, -2)}`,
      `${good}=`,
      `${good}, ${good}`,
    ];
    wrong.push(`${head}.${body}.${Buffer.alloc(64).toString("base64url")}`, "a".repeat(9_000));
    for (const proof of wrong) {
      const { status, body } = await ask(proof);
      expect([proof.slice(0, 20), status, body["error"]]).toEqual([proof.slice(0, 20), 400, "invalid_dpop_proof"]);
    }
    const second = await prove();
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = [
        ["authorization", basicOf("machine", "the secret of machine")],
        ["content-type", "application/x-www-form-urlencoded"],
        ["dpop", good],
        ["dpop", second],
      ].flat();
      const request = httpRequest(tokenUrl(), { method: "POST", headers }, (response) => resolve(response.statusCode));
      request.on("error", reject).end("grant_type=client_credentials");
    });
    expect(status).toBe(400);
    expect((await ask(good)).status).toBe(200);
  });

  it("S-144 takes a proof once, also where it is sent fifty times at once", async () => {
    const proof = await prove();
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(proof)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ body }) => body["error"] === "invalid_dpop_proof")).toHaveLength(49);
    app.clock.shift = 30_000;
    expect((await ask(proof)).status).toBe(400);
    // another key's identifier is another one
    const jti = "one-and-the-same";
    expect((await ask(await prove({ claims: { jti } }))).status).toBe(200);
    expect((await ask(await prove({ claims: { jti } }, other))).status).toBe(200);
  });

  it("refuses a client registered for bound tokens without a proof", async () => {
    const { status, body } = await ask(undefined, "bound");
    expect([status, body["error"]]).toEqual([400, "invalid_dpop_proof"]);
    expect((await ask(await prove(), "bound")).body.token_type).toBe("DPoP");
  });

  it("S-114 takes no proof for a token and no token for a proof", async () => {
    const { body } = await signIn(portal.clientId, null);
    for (const token of [body.access_token, body.refresh_token, body.id_token]) {
      expect((await ask(token)).body["error"]).toBe("invalid_dpop_proof");
    }
    expect(await introspect(app.url, await prove())).toEqual({ active: false });
  });
});

describe("nonces", () => {
  const fapi = async (proof: string) => {
    const form = { grant_type: "client_credentials", ...(await withAssertion(clientKey, "fapi", app.url)) };
    return answer(await postForm(tokenUrl(), form, { dpop: proof }));
  };

  it("come with every answer to a proof, and are not asked of ordinary clients", async () => {
    for (const response of [await ask(await prove()), await ask("no proof")]) {
      expect(response.headers.get("dpop-nonce")).toMatch(/^[A-Za-z0-9_-]{43}$/);
    }
    expect((await ask(undefined)).headers.get("dpop-nonce")).toBeNull();
  });

  it("S-143 must be ours where there is one", async () => {
    const { headers } = await ask(await prove());
    const nonce = headers.get("dpop-nonce") ?? "";
    expect((await ask(await prove({ nonce }))).status).toBe(200);
    for (const wrong of ["x", `${nonce.slice(0, -1)}!`, "", 7, null]) {
      const refused = await ask(await prove({ claims: { nonce: wrong } }));
      expect([refused.status, refused.body["error"]]).toEqual([400, "use_dpop_nonce"]);
      expect(refused.headers.get("dpop-nonce")).toBe(nonce);
    }
  });

  it("S-143 are needed with profile fapi2, are good for two and a half minutes and not for ten", async () => {
    const first = await fapi(await prove());
    expect([first.status, first.body["error"]]).toEqual([400, "use_dpop_nonce"]);
    const nonce = first.headers.get("dpop-nonce") ?? "";
    expect((await fapi(await prove({ nonce }))).status).toBe(200);
    // proof and assertion keep pace with the service's clock
    const later = async (seconds: number) => {
      app.clock.shift = seconds * 1000;
      const dpop = await prove({ nonce, claims: { iat: inSeconds(seconds) } });
      const times = { exp: inSeconds(seconds + 60), iat: inSeconds(seconds) };
      const client_assertion = await assertionOf(clientKey, "fapi", app.url, times);
      const form = { grant_type: "client_credentials", client_assertion_type: assertionType, client_assertion };
      return (await answer(await postForm(tokenUrl(), form, { dpop }))).body["error"];
    };
    expect(await later(149)).toBeUndefined();
    expect(await later(600)).toBe("use_dpop_nonce");
  });

  it("are needed at resources too, for tokens of such a client", async () => {
    const { headers } = await ask(await prove());
    const { body } = await fapi(await prove({ nonce: headers.get("dpop-nonce") ?? "" }));
    const refused = await use(body.access_token ?? "", key);
    expect([refused.status, refused.body]).toEqual([401, { error: "use_dpop_nonce" }]);
    expect(refused.headers.get("www-authenticate")).toMatch(
      /^DPoP error="use_dpop_nonce", algs="ES256 PS256 EdDSA Ed25519"$/,
    );
    const nonce = refused.headers.get("dpop-nonce") ?? "";
    // a client's own token has no openid: the proof was good, the token is not enough
    expect((await use(body.access_token ?? "", key, { nonce })).status).toBe(403);
  });
});

describe("a bound token", () => {
  it("S-145 opens a resource with its proof, and only so", async () => {
    const { body } = await signIn(portal.clientId);
    const token = body.access_token ?? "";
    expect((await use(token, key)).body).toMatchObject({ sub: account.uuid });
    const url = `${app.url}/api/users/me`;
    const dpop = await proofOf(key, "GET", url, { accessToken: token });
    expect((await fetch(url, { headers: { authorization: `DPoP ${token}`, dpop } })).status).toBe(200);

    const bearer = await answer(await fetch(userinfoUrl(), { headers: { authorization: `Bearer ${token}` } }));
    expect([bearer.status, bearer.body]).toEqual([401, { error: "Invalid Token" }]);
    expect(bearer.headers.get("www-authenticate")).toMatch(/^Bearer error="invalid_token"/);
    const withProof = {
      authorization: `Bearer ${token}`,
      dpop: await proofOf(key, "GET", userinfoUrl(), { accessToken: token }),
    };
    expect((await fetch(userinfoUrl(), { headers: withProof })).status).toBe(401);
    const inBody = await postForm(userinfoUrl(), { access_token: token });
    expect(inBody.status).toBe(401);
    const without = await answer(await fetch(userinfoUrl(), { headers: { authorization: `DPoP ${token}` } }));
    expect([without.status, without.body]).toEqual([401, { error: "Invalid Token" }]);
    expect(app.logs.filter((line) => line.includes("bound_token_without_proof")).length).toBeGreaterThanOrEqual(4);
    expect(without.headers.get("www-authenticate")).toMatch(
      /^DPoP error="invalid_token".*algs="ES256 PS256 EdDSA Ed25519"$/,
    );
  });

  it("S-145 S-143 is refused with another key, a wrong ath, method or URL, and with a used proof", async () => {
    const { body } = await signIn(portal.clientId);
    const token = body.access_token ?? "";
    const stolen = await use(token, other);
    expect([stolen.status, stolen.body]).toEqual([401, { error: "Invalid Token" }]);
    expect(app.logs.some((line) => line.includes("bound_token_with_other_key"))).toBe(true);
    const second = (await signIn(portal.clientId)).body.access_token ?? "";
    const claims: Record<string, unknown>[] = [
      { ath: undefined },
      { ath: "x" },
      { ath: claimsOf(await proofOf(key, "GET", userinfoUrl(), { accessToken: second }))["ath"] },
      { htm: "POST" },
      { htu: tokenUrl() },
      { iat: inSeconds(-300) },
    ];
    for (const wrong of claims) {
      const refused = await use(token, key, { claims: wrong });
      expect([wrong, refused.status, refused.body]).toEqual([wrong, 401, { error: "invalid_dpop_proof" }]);
      expect(refused.headers.get("www-authenticate")).toMatch(/^DPoP error="invalid_dpop_proof"/);
    }
    const dpop = await proofOf(key, "GET", userinfoUrl(), { accessToken: token });
    const twice = () => fetch(userinfoUrl(), { headers: { authorization: `DPoP ${token}`, dpop } });
    expect([(await twice()).status, (await twice()).status]).toEqual([200, 401]);
  });

  it("S-145 and an unbound one with scheme DPoP is refused", async () => {
    const { body } = await signIn(portal.clientId, null);
    expect((await use(body.access_token ?? "", key)).status).toBe(401);
    expect((await fetch(userinfoUrl(), { headers: { authorization: `Bearer ${body.access_token}` } })).status).toBe(
      200,
    );
  });

  it("that is over or revoked is so for its owner too", async () => {
    const { body } = await signIn(portal.clientId);
    const token = body.access_token ?? "";
    app.clock.shift = 121_000;
    const late = await use(token, key, { claims: { iat: inSeconds(121) } });
    expect([late.status, late.body]).toEqual([401, { error: "Token Expired" }]);
    app.clock.shift = 0;
    await postForm(`${app.url}/oauth2/revoke`, { token, client_id: portal.clientId });
    expect((await use(token, key)).body).toEqual({ error: "Invalid Token" });
  });

  it("S-145 is shown with its key by introspection, over HTTP and gRPC; Authorize refuses it unless the caller checks", async () => {
    const { body } = await signIn(portal.clientId);
    const token = body.access_token ?? "";
    const transport = internalTransport(app.grpc);
    const calls: Client<typeof IntrospectionService> = createClient(IntrospectionService, transport);
    // the first answer of a token and those that are kept
    for (let n = 0; n < 3; n++) {
      const shown = { active: true, token_type: "DPoP", cnf: { jkt: key.thumbprint } };
      expect(await introspect(app.url, token)).toMatchObject(shown);
      const message = await calls.introspect({ token });
      expect([message.tokenType, message.cnf?.jkt]).toEqual(["DPoP", key.thumbprint]);
    }
    expect(await introspect(app.url, (await signIn(portal.clientId, null)).body.access_token ?? "")).not.toHaveProperty(
      "cnf",
    );
    const decide = async (bindingChecked: boolean) => {
      const { allowed, httpStatus, error, token: shown } = await calls.authorize({ token, bindingChecked });
      return [allowed, httpStatus, error, shown?.cnf?.jkt];
    };
    expect(await decide(false)).toEqual([false, 401, "Invalid Token", undefined]);
    expect(await decide(true)).toEqual([true, 200, "", key.thumbprint]);
    const tokens = createClient(TokenService, transport);
    const issued = tokens.issueToken({
      grantType: "client_credentials",
      clientId: "bound",
      clientSecret: "the secret of bound",
    });
    await expect(issued).rejects.toThrow(/bound to a key/);
  });

  it("S-145 does not authenticate a caller of the internal API: no proof comes there", async () => {
    const { body } = await ask(await prove(), "bound");
    for (const scheme of ["Bearer", "DPoP"]) {
      const url = `${app.internalUrl}/auth.v1.IntrospectionService/Introspect`;
      const response = await postJson(url, { token: "x" }, { authorization: `${scheme} ${body.access_token}` });
      expect([scheme, response.status]).toEqual([scheme, 401]);
    }
  });
});

describe("refresh tokens and codes", () => {
  const refreshed = async (clientId: string, token: string, by: TestKey | null): Promise<Answer> => {
    const headers: Record<string, string> = by === null ? {} : { dpop: await prove({}, by) };
    const form: Record<string, string> = { grant_type: "refresh_token", refresh_token: token };
    if (clientId === "web") headers["authorization"] = basicOf("web", "the secret of web");
    else form["client_id"] = clientId;
    return answer(await postForm(tokenUrl(), form, headers));
  };

  it("S-145 a public client's refresh token is good only with its key", async () => {
    const { body } = await signIn("bound-web");
    const token = body.refresh_token ?? "";
    const stolen = await refreshed("bound-web", token, other);
    expect([stolen.status, stolen.body["error"]]).toEqual([401, "invalid_grant"]);
    const without = await refreshed("bound-web", token, null);
    expect([without.status, without.body["error"]]).toEqual([400, "invalid_dpop_proof"]);
    const next = await refreshed("bound-web", token, key);
    expect([next.status, next.body.token_type]).toEqual([200, "DPoP"]);
    expect(next.body.refresh_token).not.toBe(token);
    expect(claimsOf(next.body.access_token ?? "")["cnf"]).toEqual({ jkt: key.thumbprint });
    const portals = (await signIn(portal.clientId)).body.refresh_token ?? "";
    expect((await refreshed(portal.clientId, portals, null)).body["error"]).toBe("invalid_grant");
  });

  it("S-090 a confidential client with a key keeps its refresh token, and may change the key", async () => {
    const { body } = await signIn("web");
    const token = body.refresh_token ?? "";
    for (const by of [key, key, other]) {
      const next = await refreshed("web", token, by);
      expect([next.status, next.body.refresh_token]).toEqual([200, token]);
      expect(claimsOf(next.body.access_token ?? "")["cnf"]).toEqual({ jkt: by.thumbprint });
    }
    // without a key it is rotated as ever, and then the old one is not good for a key either
    const rotated = await refreshed("web", token, null);
    expect(rotated.body.refresh_token).not.toBe(token);
    app.clock.shift = 11_000;
    const dpop = await prove({ claims: { iat: inSeconds(11) } });
    const headers = { authorization: basicOf("web", "the secret of web"), dpop };
    const old = await postForm(tokenUrl(), { grant_type: "refresh_token", refresh_token: token }, headers);
    expect([old.status, await old.json()]).toMatchObject([400, { error: "invalid_grant" }]);
    const family = rotated.body.refresh_token ?? "";
    const ended = await postForm(
      tokenUrl(),
      { grant_type: "refresh_token", refresh_token: family },
      {
        authorization: headers.authorization,
      },
    );
    expect(ended.status).toBe(400);
  });

  it("S-145 dpop_jkt binds the code to a key", async () => {
    const extra = { dpop_jkt: key.thumbprint };
    for (const by of [other, null]) {
      const refused = await signIn(portal.clientId, by, extra);
      expect([refused.status, refused.body["error"]]).toEqual([400, "invalid_grant"]);
    }
    expect((await signIn(portal.clientId, key, extra)).status).toBe(200);
    const { location } = await getCode(app.url, account, { extra: { dpop_jkt: "short" } });
    expect(location.searchParams.get("error")).toBe("invalid_request");
  });

  it("S-145 a proof with a pushed request binds its code, and must agree with dpop_jkt", async () => {
    const push = async (by: TestKey, more: Record<string, string> = {}) => {
      const { verifier, challenge } = pkce();
      const form = {
        response_type: "code",
        client_id: portal.clientId,
        redirect_uri: portal.redirectUri,
        code_challenge: challenge,
        code_challenge_method: "S256",
        ...more,
      };
      const dpop = await proofOf(by, "POST", `${app.url}/oauth2/par`);
      return { verifier, ...(await answer(await postForm(`${app.url}/oauth2/par`, form, { dpop }))) };
    };
    const refused = await push(key, { dpop_jkt: other.thumbprint });
    expect([refused.status, refused.body["error"]]).toEqual([400, "invalid_dpop_proof"]);
    for (const [by, more] of [
      [key, {}],
      [key, { dpop_jkt: key.thumbprint }],
    ] as const) {
      const { body, verifier, status } = await push(by, more);
      expect(status).toBe(201);
      const extra = { request_uri: String(body["request_uri"]) };
      const { code } = await getCode(app.url, account, { extra });
      expect((await redeem(app.url, code, verifier)).status).toBe(400);
      const form = { grant_type: "authorization_code", code, code_verifier: verifier, client_id: portal.clientId };
      expect((await postForm(tokenUrl(), form, { dpop: await prove({}, other) })).status).toBe(400);
      expect((await postForm(tokenUrl(), form, { dpop: await prove() })).status).toBe(200);
    }
  });
});

describe("browsers and metadata", () => {
  it("let a page read the nonce and send a proof", async () => {
    const response = await fetch(tokenUrl(), {
      method: "POST",
      headers: { origin: "http://localhost:3000", dpop: "x", "content-type": "application/x-www-form-urlencoded" },
      body: "grant_type=client_credentials",
    });
    expect(response.headers.get("access-control-expose-headers")).toContain("dpop-nonce");
  });

  it("C-53 C-54 take a proof by the name Ed25519 of RFC 9864, made at a fraction of a second", async () => {
    const ed = await makeKey("EdDSA");
    for (const alg of ["EdDSA", "Ed25519"]) {
      const claims = { iat: inSeconds(0) - 0.5 };
      const { status, body } = await ask(await proofOf(ed, "POST", tokenUrl(), { header: { alg }, claims }));
      expect([alg, status, body["token_type"]]).toEqual([alg, 200, "DPoP"]);
    }
  });

  it("S-121 name the algorithms", async () => {
    const response = await fetch(`${app.url}/.well-known/oauth-authorization-server`);
    expect(await response.json()).toMatchObject({
      dpop_signing_alg_values_supported: ["ES256", "PS256", "EdDSA", "Ed25519"],
    });
  });
});
