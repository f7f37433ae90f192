import { createHmac } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { exportSPKI } from "jose";
import { freePorts, startApp, type TestApp } from "../../support/app.ts";
import { getTokens, introspect, portal, postForm, postJson, refresh, signUp } from "../../support/flow.ts";
import {
  assertionOf,
  assertionType,
  inSeconds,
  listen,
  makeKey,
  type TestKey,
  withAssertion,
} from "../../support/keys.ts";

const algs = ["ES256", "PS256", "EdDSA", "RS256"] as const;

describe("private_key_jwt", () => {
  const keys = {} as Record<(typeof algs)[number], TestKey>;
  let app: TestApp;
  let second: TestKey;
  let stranger: TestKey;
  beforeAll(async () => {
    for (const alg of algs) keys[alg] = await makeKey(alg);
    second = await makeKey("ES256", "second");
    stranger = await makeKey("ES256", keys.ES256.jwk.kid);
    const common = { grant_types: ["client_credentials"], scope: "read auth.introspect" };
    const keyed = (client_id: string, more: object = {}) => {
      const jwks = { keys: [...algs.map((alg) => keys[alg].jwk), second.jwk] };
      return { client_id, token_endpoint_auth_method: "private_key_jwt", jwks, ...common, ...more };
    };
    app = await startApp({}, [
      keyed("keyed"),
      keyed("other"),
      keyed("guessed"),
      keyed("device", { grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], scope: "openid" }),
      keyed("only-ps256", { token_endpoint_auth_signing_alg: "PS256" }),
      keyed("without-kid", { jwks: { keys: [{ ...second.bare }, { ...keys.ES256.bare }] } }),
      { client_id: "secretive", client_secret: "a secret of the client", ...common },
    ]);
  });
  afterEach(() => {
    app.clock.shift = 0;
  });
  afterAll(() => app.close());

  async function ask(assertion: string, more: Record<string, string> = {}, base = app.url): Promise<string> {
    const form = {
      grant_type: "client_credentials",
      client_assertion_type: assertionType,
      client_assertion: assertion,
    };
    const response = await postForm(`${base}/oauth2/token`, { ...form, ...more });
    const body = (await response.json()) as { error?: string };
    if (response.status === 200) return "ok";
    if (body.error === "invalid_client") expect(response.status).toBe(401);
    return body.error ?? "no error code";
  }
  const asked = async (claims: object, header: object = {}, key = keys.ES256) =>
    ask(await assertionOf(key, "keyed", app.url, { ...claims }, { ...header }));

  it.each(algs)("S-099 authenticates a client by an assertion signed with %s", async (alg) => {
    expect(await asked({}, {}, keys[alg])).toBe("ok");
  });

  it("S-099 takes header typ as drafts and libraries write it, and no other", async () => {
    for (const typ of ["JWT", "client-authentication+jwt"]) expect(await asked({}, { typ })).toBe("ok");
    for (const typ of ["at+jwt", "dpop+jwt", "rt+jwt", "logout+jwt", ""]) {
      expect(await asked({}, { typ })).toBe("invalid_client");
    }
  });

  const endpoints = ["/oauth2/token", "/oauth2/par"];

  it.each(endpoints)(
    "S-099 takes the URL of %s as audience, where OpenID Connect clients name it, and logs it",
    async (path) => {
      const before = app.logs.length;
      expect(await asked({ aud: app.url + path })).toBe("ok");
      const line = app.logs.slice(before).find((each) => each.includes("should be the issuer"));
      expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: "keyed", aud: app.url + path });
      // only for whoever has the key
      expect(await asked({ aud: app.url + path }, {}, stranger)).toBe("invalid_client");
    },
  );

  it("S-099 S-154 refuses endpoints as audience with STRICT_ASSERTION_AUDIENCE and from FAPI clients, and says what the audience must be", async () => {
    const common = { grant_types: ["client_credentials"], scope: "read", jwks: { keys: [keys.ES256.jwk] } };
    const fapi = { client_id: "fapi", profile: "fapi2", ...common };
    const keyed = { client_id: "keyed", token_endpoint_auth_method: "private_key_jwt", ...common };
    const strict = await startApp({ STRICT_ASSERTION_AUDIENCE: "1" }, [keyed]);
    const lenient = await startApp({}, [fapi]);
    try {
      for (const [{ url }, clientId] of [
        [strict, "keyed"],
        [lenient, "fapi"],
      ] as const) {
        for (const path of endpoints) {
          const assertion = await assertionOf(keys.ES256, clientId, url, { aud: url + path });
          const form = { grant_type: "client_credentials", client_assertion_type: assertionType };
          const answer = await postForm(`${url}/oauth2/token`, { ...form, client_assertion: assertion });
          expect([path, answer.status, await answer.json()]).toEqual([
            path,
            401,
            { error: "invalid_client", error_description: expect.stringContaining(url) },
          ]);
        }
      }
      expect(await ask(await assertionOf(keys.ES256, "keyed", strict.url), {}, strict.url)).toBe("ok");
    } finally {
      await strict.close();
      await lenient.close();
    }
  });

  it("S-099 refuses every other audience, and lists", async () => {
    const wrong = [
      `${app.url}/oauth2/introspect`,
      `${app.url}/oauth2/token/`,
      [`${app.url}/oauth2/token`],
      `${app.url}/`,
      [app.url],
      [app.url, "https://other.example"],
      "https://other.example",
      undefined,
      null,
    ];
    for (const aud of wrong) expect([aud, await asked({ aud })]).toEqual([aud, "invalid_client"]);
  });

  it("S-099 S-111 refuses a wrong time, issuer, subject or identifier", async () => {
    const wrong: Record<string, unknown>[] = [
      { exp: undefined },
      { exp: String(inSeconds(60)) },
      { exp: -1 },
      { exp: inSeconds(0) },
      { exp: inSeconds(-30) },
      { exp: inSeconds(330) },
      { exp: inSeconds(3_600) },
      { nbf: inSeconds(61) },
      { iat: inSeconds(61) },
      { iat: "now" },
      { iss: "other" },
      { sub: "other" },
      { iss: undefined },
      { sub: undefined },
      { iss: ["keyed"] },
      { jti: undefined },
      { jti: "" },
      { jti: 7 },
    ];
    for (const claims of wrong) expect([claims, await asked(claims)]).toEqual([claims, "invalid_client"]);
    // whoever the request names beside it: nobody becomes another client
    const assertion = await assertionOf(keys.ES256, "keyed", app.url);
    expect(await ask(assertion, { client_id: "other" })).toBe("invalid_client");
    expect(await ask(assertion, { client_id: "keyed" })).toBe("ok");
  });

  it("C-54 takes times with a fraction of a second", async () => {
    expect(await asked({ exp: inSeconds(60) + 0.5, iat: inSeconds(0) - 0.25, nbf: inSeconds(0) - 0.75 })).toBe("ok");
  });

  it("C-53 takes an assertion whose alg is the name Ed25519 of RFC 9864, as one whose alg is EdDSA", async () => {
    for (const alg of ["EdDSA", "Ed25519"]) expect([alg, await asked({}, { alg }, keys.EdDSA)]).toEqual([alg, "ok"]);
  });

  it("S-112 S-150 takes nbf and iat 8 s ahead", async () => {
    expect(await asked({ nbf: inSeconds(8), iat: inSeconds(8) })).toBe("ok");
    expect(await asked({ exp: inSeconds(299) })).toBe("ok");
  });

  it("S-100 takes an assertion once, also where it is sent fifty times at once, until it is over", async () => {
    const assertion = await assertionOf(keys.ES256, "keyed", app.url);
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(assertion)));
    expect(answers.filter((answer) => answer === "ok")).toHaveLength(1);
    expect(answers.filter((answer) => answer === "invalid_client")).toHaveLength(49);
    app.clock.shift = 30_000;
    expect(await ask(assertion)).toBe("invalid_client");
    // the identifier is the client's own: another one may use the same
    const jti = "one-and-the-same";
    expect(await asked({ jti })).toBe("ok");
    expect(await ask(await assertionOf(keys.ES256, "other", app.url, { jti }))).toBe("ok");
  });

  it("S-100 knows after a failed try with the wrong key that the identifier was not used", async () => {
    const jti = "not-used-up";
    expect(await asked({ jti }, {}, stranger)).toBe("invalid_client");
    expect(await asked({ jti })).toBe("ok");
  });

  it("S-099 S-105 refuses none, secrets made of public keys, and algorithms that the key or the client does not have", async () => {
    const now = { iss: "keyed", sub: "keyed", aud: app.url, exp: inSeconds(60) };
    const part = (json: object) => Buffer.from(JSON.stringify(json)).toString("base64url");
    const claims = (jti: string) => part({ ...now, jti });
    for (const alg of ["none", "None", "nOnE", "", undefined, ["ES256"]]) {
      expect(await ask(`${part({ alg })}.${claims(`a${alg}`)}.`)).toBe("invalid_client");
      expect(await ask(`${part({ alg })}.${claims(`b${alg}`)}.AAAA`)).toBe("invalid_client");
    }
    const { jwk } = keys.ES256;
    const secrets = [JSON.stringify(jwk), String(jwk.x), Buffer.from(String(jwk.x), "base64url")];
    for (const secret of [...secrets, await exportSPKI(await publicKeyOf(keys.RS256))]) {
      for (const [alg, hash] of Object.entries({ HS256: "sha256", HS384: "sha384", HS512: "sha512" })) {
        const input = `${part({ alg, kid: jwk.kid })}.${claims("h")}`;
        const mac = createHmac(hash, secret).update(input).digest("base64url");
        expect(await ask(`${input}.${mac}`)).toBe("invalid_client");
      }
    }
    expect(await asked({}, {}, await makeKey("ES384", jwk.kid))).toBe("invalid_client");
    expect(await asked({}, { kid: keys.RS256.jwk.kid })).toBe("invalid_client");
    const only = (key: TestKey) => assertionOf(key, "only-ps256", app.url);
    expect(await ask(await only(keys.PS256))).toBe("ok");
    for (const alg of ["ES256", "RS256", "EdDSA"] as const) {
      expect(await ask(await only(keys[alg]))).toBe("invalid_client");
    }
  });

  it("S-106 S-107 refuses keys that the assertion contains or points to, and fetches none of them", async () => {
    const listener = await listen((_request, response) => response.end(JSON.stringify({ keys: [stranger.jwk] })));
    try {
      const headers: Record<string, unknown>[] = [
        { jwk: stranger.bare },
        { jwk: stranger.bare, kid: undefined },
        { jku: `${listener.url}/jwks` },
        { x5u: `${listener.url}/cert` },
        { kid: "../../etc/passwd" },
        { kid: "' OR 1=1" },
        { kid: `${listener.url}/jwks` },
        { kid: "x".repeat(5_000) },
        { kid: "x".repeat(40_000) },
      ];
      for (const header of headers) expect(await asked({}, header, stranger)).toBe("invalid_client");
      // not even beside the right signature
      for (const header of [{ jwk: stranger.bare }, { jku: listener.url }, { b64: true }]) {
        expect(await asked({}, header)).toBe("invalid_client");
      }
      const crit = `${(await assertionOf(keys.ES256, "keyed", app.url)).split(".").slice(1).join(".")}`;
      const head = Buffer.from(JSON.stringify({ alg: "ES256", crit: ["exp"], exp: 1 })).toString("base64url");
      expect(await ask(`${head}.${crit}`)).toBe("invalid_client");
      expect(listener.connections()).toBe(0);
    } finally {
      listener.close();
    }
  });

  it("S-108 S-109 S-110 S-115 refuses everything but exactly one signed JWT", async () => {
    const good = await assertionOf(keys.ES256, "keyed", app.url);
    const [head = "", body = "", tail = ""] = good.split(".");
    const wrong = [
      "",
      "x",
      "..",
      `${head}.${body}`,
      `${head}.${body}.`,
      `${head}.${body}.${Buffer.alloc(64).toString("base64url")}`,
      `${head}.${body}.${tail.slice(0, -2)}`,
      `${good}A`,
      `${good}=`,
      `${good} `,
      `${good}\n`,
      `${head}. ${body}.${tail}`,
      `${head}.${body}.${tail}.a.b`,
      JSON.stringify({ protected: head, payload: body, signature: tail }),
      `${good}~`,
      "a".repeat(60_000),
    ];
    for (const assertion of wrong) {
      expect([assertion.slice(0, 40), await ask(assertion)]).toEqual([assertion.slice(0, 40), "invalid_client"]);
    }
    for (let length = 1; length < good.length; length += 37) {
      expect(await ask(good.slice(0, length))).toBe("invalid_client");
    }
    const twice = await signText(
      keys.ES256,
      `{"iss":"keyed","sub":"other","sub":"keyed","aud":"${app.url}","jti":"twice","exp":${inSeconds(60)}}`,
    );
    expect(await ask(twice)).toBe("invalid_client");
    const once = await signText(
      keys.ES256,
      `{ "iss":"keyed", "sub":"keyed", "aud":"${app.url}", "jti":"o\\u006ece", "exp":${inSeconds(60)}}`,
    );
    expect(await ask(once)).toBe("ok");
    expect(await ask(good)).toBe("ok");
  });

  it("S-114 refuses access, refresh and ID tokens as assertions, and assertions as tokens", async () => {
    const tokens = await getTokens(app.url, await signUp(app.url));
    for (const token of [tokens.access_token, tokens.refresh_token, tokens.id_token]) {
      for (const client_id of ["keyed", portal.clientId])
        expect(await ask(token, { client_id })).toBe("invalid_client");
    }
    const assertion = await assertionOf(keys.ES256, "keyed", app.url);
    expect(await introspect(app.url, assertion)).toEqual({ active: false });
    const userinfo = await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${assertion}` } });
    expect([userinfo.status, await userinfo.json()]).toEqual([401, { error: "Invalid Token" }]);
    expect((await refresh(app.url, assertion)).status).toBe(401);
  });

  it("S-094 refuses an assertion together with a secret", async () => {
    const assertion = await assertionOf(keys.ES256, "keyed", app.url);
    expect(await ask(assertion, { client_secret: "x" })).toBe("invalid_request");
    const form = { grant_type: "client_credentials", ...(await withAssertion(keys.ES256, "keyed", app.url)) };
    const authorization = `Basic ${Buffer.from("keyed:x").toString("base64")}`;
    for (const path of ["token", "revoke", "introspect"]) {
      const response = await postForm(`${app.url}/oauth2/${path}`, { ...form, token: "x" }, { authorization });
      expect([response.status, await response.json()]).toMatchObject([400, { error: "invalid_request" }]);
    }
  });

  it("S-096 refuses a method the client is not registered for, and half an assertion", async () => {
    const token = (form: Record<string, string>, headers: Record<string, string> = {}) =>
      postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials", ...form }, headers);
    const basic = { authorization: `Basic ${Buffer.from("keyed:").toString("base64")}` };
    const assertion = await assertionOf(keys.ES256, "keyed", app.url);
    const refused = await Promise.all([
      token({ client_id: "keyed" }),
      token({ client_id: "keyed", client_secret: "x" }),
      token({}, basic),
      token({ client_id: "keyed", client_assertion: assertion }),
      token({ client_id: "keyed", client_assertion_type: assertionType }),
      token({ client_id: "keyed", client_assertion_type: "urn:x", client_assertion: assertion }),
      token(await withAssertion(keys.ES256, portal.clientId, app.url)),
      token(await withAssertion(keys.ES256, "secretive", app.url)),
      token(await withAssertion(keys.ES256, "nobody", app.url)),
    ]);
    const bodies = await Promise.all(refused.map((response) => response.json()));
    expect(refused.map(({ status }) => status)).toEqual(refused.map(() => 401));
    for (const body of bodies) {
      expect(body).toEqual({ error: "invalid_client", error_description: "client authentication failed" });
    }
  });

  it("lets kid select the key, and finds it without", async () => {
    expect(await asked({}, {}, second)).toBe("ok");
    expect(await asked({}, { kid: "second" })).toBe("invalid_client");
    expect(await asked({}, { kid: undefined })).toBe("ok");
    expect(await asked({}, { kid: undefined }, stranger)).toBe("invalid_client");
    const without = (key: TestKey, kid?: string) => assertionOf(key, "without-kid", app.url, {}, { kid });
    expect(await ask(await without(keys.ES256))).toBe("ok");
    expect(await ask(await without(second))).toBe("ok");
    expect(await ask(await without(second, "second"))).toBe("invalid_client");
  });

  it("S-095 serves introspection, revocation and client credentials of one standing authorization", async () => {
    const token = async () => {
      const form = { grant_type: "client_credentials", ...(await withAssertion(keys.ES256, "keyed", app.url)) };
      const response = await postForm(`${app.url}/oauth2/token`, form);
      return (await response.json()) as { access_token: string };
    };
    const own = await token();
    const again = await token();
    const ask = async (token: string) => {
      const form = { token, ...(await withAssertion(keys.ES256, "keyed", app.url)) };
      return (await (await postForm(`${app.url}/oauth2/introspect`, form)).json()) as Record<string, unknown>;
    };
    const first = await ask(own.access_token);
    expect(first).toMatchObject({ active: true, client_id: "keyed", sub: "keyed" });
    expect(await ask(again.access_token)).toMatchObject({ active: true, sid: first["sid"] });
    const form = { token: own.access_token, ...(await withAssertion(keys.ES256, "keyed", app.url)) };
    expect((await postForm(`${app.url}/oauth2/revoke`, form)).status).toBe(200);
    expect(await ask(own.access_token)).toEqual({ active: false });
    const device = await withAssertion(keys.ES256, "device", app.url);
    expect((await postForm(`${app.url}/oauth2/device_authorization`, device)).status).toBe(200);
    for (const path of ["token", "introspect", "revoke", "par", "device_authorization"]) {
      const response = await postForm(`${app.url}/oauth2/${path}`, {
        client_id: "keyed",
        grant_type: "client_credentials",
        token: "x",
      });
      expect([response.status, await response.json()]).toMatchObject([401, { error: "invalid_client" }]);
    }
  });

  it("S-096 ends a secret when its client changes to keys, on the internal listener too", async () => {
    const client = { client_id: "moving", grant_types: ["client_credentials"], scope: "auth.introspect" };
    const authorization = `Basic ${Buffer.from("moving:the secret of moving").toString("base64")}`;
    const ask = async (at: TestApp) => {
      const url = `${at.internalUrl}/auth.v1.IntrospectionService/Introspect`;
      return (await postJson(url, { token: "x" }, { authorization })).status;
    };
    const before = await startApp({}, [{ ...client, client_secret: "the secret of moving" }]);
    expect(await ask(before)).toBe(200);
    await before.close();
    const jwks = { keys: [keys.ES256.jwk] };
    const env = { DATABASE_URL: before.env["DATABASE_URL"] ?? "" };
    const after = await startApp(env, [{ ...client, token_endpoint_auth_method: "private_key_jwt", jwks }]);
    expect(await ask(after)).toBe(401);
    await after.close();
  });

  it("S-097 counts failed assertions: the two hundred and first of a minute is 429", async () => {
    const assertion = await assertionOf(stranger, "guessed", app.url);
    const statuses: string[] = [];
    for (let n = 0; n < 201; n++) statuses.push(await ask(assertion));
    expect(new Set(statuses.slice(0, 200))).toEqual(new Set(["invalid_client"]));
    expect(statuses[200]).toBe("temporarily_unavailable");
    expect(await asked({})).toBe("ok");
  });

  it("S-121 metadata names the method and its algorithms", async () => {
    const response = await fetch(`${app.url}/.well-known/oauth-authorization-server`);
    const metadata = (await response.json()) as Record<string, string[]>;
    for (const endpoint of ["token", "introspection", "revocation"]) {
      expect(metadata[`${endpoint}_endpoint_auth_methods_supported`]).toContain("private_key_jwt");
      expect(metadata[`${endpoint}_endpoint_auth_signing_alg_values_supported`]).toEqual([...algs, "Ed25519"]);
    }
  });
});

async function publicKeyOf(key: TestKey) {
  const { importJWK } = await import("jose");
  return (await importJWK(key.jwk, key.alg)) as Parameters<typeof exportSPKI>[0];
}

/** A JWT of exactly this text. */
async function signText(key: TestKey, text: string): Promise<string> {
  const { CompactSign } = await import("jose");
  return new CompactSign(Buffer.from(text))
    .setProtectedHeader({ alg: key.alg, kid: key.jwk.kid ?? "" })
    .sign(key.privateKey);
}

describe("jwks_uri", () => {
  let app: TestApp;
  let key: TestKey;
  let next: TestKey;
  let published: TestKey[];
  let answer: "keys" | "away" | "redirect" | "10 MB" | "slow" | "no JSON" | "with private part" | "with a mark" =
    "keys";
  let host: Awaited<ReturnType<typeof listen>>;
  let target: Awaited<ReturnType<typeof listen>>;
  let guarded: Awaited<ReturnType<typeof listen>>;
  beforeAll(async () => {
    key = await makeKey();
    next = await makeKey();
    published = [key];
    const keySet = () => JSON.stringify({ keys: published.map(({ jwk }) => jwk) });
    target = await listen((_request, response) => response.end(keySet()));
    guarded = await listen((_request, response) => response.end(keySet()));
    host = await listen((_request, response) => {
      const body = keySet();
      if (answer === "keys") response.setHeader("cache-control", "max-age=120").end(body);
      else if (answer === "away") response.writeHead(503).end(body);
      else if (answer === "redirect") response.writeHead(302, { location: target.url }).end(body);
      else if (answer === "10 MB") response.end(`${body.slice(0, -1)},"x":"${"y".repeat(10_000_000)}"}`);
      else if (answer === "slow") response.write(body);
      else if (answer === "no JSON") response.end("<html>");
      else if (answer === "with a mark") response.end(`\uFEFF${body}`);
      else response.end(JSON.stringify({ keys: [{ ...key.jwk, d: "AAAA" }] }));
    });
    const remote = (client_id: string, jwks_uri: string) => ({
      client_id,
      jwks_uri,
      token_endpoint_auth_method: "private_key_jwt",
      grant_types: ["client_credentials"],
      scope: "read",
    });
    const kinds = [
      "set-back",
      "rotating",
      "storm",
      "redirect",
      "large",
      "slow",
      "html",
      "private",
      "stale",
      "mixed",
      "marked",
      "away",
    ];
    const [nobody] = await freePorts(1);
    app = await startApp({ OUTBOUND_ALLOWED_HOSTS: `${host.host},127.0.0.1:${nobody}` }, [
      remote("nobody", `http://127.0.0.1:${nobody}/jwks`),
      ...kinds.map((kind) => remote(kind, `${host.url}/${kind}`)),
      remote("loopback", `${guarded.url}/jwks`),
      remote("loopback-tls", `https://${guarded.host}/jwks`),
      remote("localhost-tls", `https://localhost:${new URL(guarded.url).port}/jwks`),
      remote("link-local", "https://169.254.169.254/latest/jwks"),
    ]);
  });
  afterEach(() => {
    app.clock.shift = 0;
    answer = "keys";
    published = [key];
  });
  afterAll(async () => {
    await app.close();
    for (const each of [host, target, guarded]) each.close();
  });

  async function ask(clientId: string, by: TestKey, header: Record<string, unknown> = {}): Promise<number> {
    // the assertion's times follow the service's, which these tests move
    const exp = inSeconds(60) + Math.floor(app.clock.shift / 1000);
    const assertion = await assertionOf(by, clientId, app.url, { exp, iat: undefined }, header);
    const form = {
      grant_type: "client_credentials",
      client_assertion_type: assertionType,
      client_assertion: assertion,
    };
    return (await postForm(`${app.url}/oauth2/token`, form)).status;
  }

  it("C-55 takes the usable key of a set that has others of unknown kinds", async () => {
    const unknown = { kty: "AKP", alg: "ML-DSA-44", kid: "new", pub: "AAAA" };
    published = [{ ...key, jwk: unknown as unknown as TestKey["jwk"] }, key];
    expect(await ask("mixed", key)).toBe(200);
  });

  it("C-67 takes a set with a byte order mark, as a metadata document", async () => {
    answer = "with a mark";
    expect(await ask("marked", key)).toBe(200);
  });

  it("fetches the keys once, again for a key it does not know, and again when they are old", async () => {
    const before = host.connections();
    expect(await Promise.all([1, 2, 3].map(() => ask("rotating", key)))).toEqual([200, 200, 200]);
    expect(host.connections() - before).toBe(1);
    published = [next];
    expect(await ask("rotating", next)).toBe(401);
    app.clock.shift = 5_100;
    expect(await ask("rotating", next)).toBe(200);
    expect(await ask("rotating", key)).toBe(401);
    expect(host.connections() - before).toBe(2);
    app.clock.shift = 5_100 + 121_000;
    expect(await ask("rotating", next)).toBe(200);
    expect(host.connections() - before).toBe(3);
  });

  it("S-101 asks the host once in five seconds, whatever key identifiers come", async () => {
    expect(await ask("storm", key)).toBe(200);
    const before = host.connections();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => ask("storm", next, { kid: `guess-${n}` })));
    expect(new Set(answers)).toEqual(new Set([401]));
    app.clock.shift = 5_100;
    await Promise.all(Array.from({ length: 30 }, (_, n) => ask("storm", next, { kid: `more-${n}` })));
    expect(host.connections() - before).toBe(1);
  });

  it("fetches a key that it does not know though the database's clock was set back since it fetched the others", async () => {
    expect(await ask("set-back", key)).toBe(200);
    published = [next];
    app.clock.shift = -600_000;
    expect(await ask("set-back", next)).toBe(200);
  });

  it("uses the last keys for an hour while their host is away", async () => {
    expect(await ask("stale", key)).toBe(200);
    answer = "away";
    app.clock.shift = 1_000_000;
    expect(await ask("stale", key)).toBe(200);
    app.clock.shift = 3_700_000;
    expect(await ask("stale", key)).toBe(503);
    answer = "keys";
    app.clock.shift = 3_710_000;
    expect(await ask("stale", key)).toBe(200);
  });

  it("a client is not refused for good while the host of its keys is away, nor are its tries counted", async () => {
    answer = "away";
    for (let n = 0; n < 300; n++) expect(await ask("away", key)).toBe(503);
    // nothing listens there
    expect(await ask("nobody", key)).toBe(503);
    answer = "keys";
    app.clock.shift = 5_100;
    expect(await ask("away", key)).toBe(200);
    // a key that may have been published meanwhile
    answer = "away";
    app.clock.shift = 10_300;
    expect(await ask("away", next)).toBe(503);
    expect(await ask("away", key)).toBe(200);
    answer = "keys";
    published = [next];
    app.clock.shift = 15_500;
    expect(await ask("away", next)).toBe(200);
    expect(await ask("away", key)).toBe(401);
  });

  it.each([
    ["redirect", "redirect"],
    ["10 MB", "large"],
    ["slow", "slow"],
    ["no JSON", "html"],
    ["with private part", "private"],
  ] as const)("S-101 uses no key of an answer that is: %s", async (kind, clientId) => {
    answer = kind;
    const before = target.connections();
    const from = performance.now();
    expect(await ask(clientId, key)).toBe(401);
    expect(performance.now() - from).toBeLessThan(10_000);
    expect(target.connections()).toBe(before);
    answer = "keys";
    expect(await ask(clientId, key)).toBe(401);
    app.clock.shift = 5_100;
    expect(await ask(clientId, key)).toBe(200);
  });

  it.each(["loopback", "loopback-tls", "localhost-tls", "link-local"])(
    "S-101 does not fetch keys from %s: the listener sees no connection",
    async (clientId) => {
      expect(await ask(clientId, key)).toBe(401);
      expect(guarded.connections()).toBe(0);
      expect(app.logs.some((line) => line.includes(clientId) && line.includes("key set was not fetched"))).toBe(true);
    },
  );

  it("signs with a key that only a stranger knows: never accepted", async () => {
    expect(await ask("rotating", await makeKey("ES256", key.jwk.kid))).toBe(401);
  });
});
