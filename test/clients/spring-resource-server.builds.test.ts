import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, getCode, getTokens, postForm, signUp, type Tokens } from "../support/flow.ts";
import { makeKey, proofOf, type TestKey } from "../support/keys.ts";
import { registerAsIn } from "./how-to.ts";
import { cache, hasMaven, make, programs, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const redirectUri = "http://127.0.0.1/callback";
const resource = "https://api.example.test";
const client = { redirect_uris: [redirectUri], scope: "openid profile read", first_party: true, resources: [resource] };
const clients = [
  { ...client, client_id: "es256", access_token_typ: "JWT" },
  { ...client, client_id: "rs256", access_token_typ: "JWT", access_token_signed_response_alg: "RS256" },
  { ...client, client_id: "at-jwt" },
];

/** What each API is told of tokens beside `issuer-uri`. */
const settings = {
  issuer: {},
  audience: { SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_AUDIENCES: resource },
  atJwt: { SPRING_PROFILES_ACTIVE: "at-jwt", AUDIENCE: resource },
  dpop: { SPRING_PROFILES_ACTIVE: "at-jwt,dpop", AUDIENCE: resource },
  // asks the service instead
  opaque: { SPRING_PROFILES_ACTIVE: "opaque" },
};
type Api = keyof typeof settings;

const withMaven: (name: string, work: () => Promise<void>) => void = hasMaven()
  ? it
  : (name) => skip(name, "Java 17 and Maven");

describe("an API in Java", () => {
  let app: TestApp;
  let account: Account & { uuid: string };
  const running = new Map<Api, Awaited<ReturnType<typeof startProgram>>>();

  beforeAll(async () => {
    if (!hasMaven()) return;
    await make(join(programs, "spring-resource-server"), "mvn", "-q", "-B", "package");
    app = await startApp({}, clients);
    account = await signUp(app.url);
    const command = ["java", "-jar", join(cache, "spring-resource-server/resource-server.jar")];
    const addresses = { "https://auth.example.com": app.url, "https://orders.example.com": resource };
    const secret = await registerAsIn("spring-boot-api", app, addresses);
    const introspection = {
      SPRING_SECURITY_OAUTH2_RESOURCESERVER_OPAQUETOKEN_INTROSPECTION_URI: `${app.url}/oauth2/introspect`,
      CLIENT_SECRET: secret,
    };
    const ports = await freePorts(Object.keys(settings).length);
    for (const [name, env] of Object.entries(settings)) {
      const port = ports.pop();
      const common = { PORT: `${port}`, ISSUER: app.url, ...(name === "opaque" ? introspection : {}) };
      const api = await startProgram(command, `http://127.0.0.1:${port}`, { ...common, ...env });
      running.set(name as Api, api);
    }
  }, 10 * minutes);
  afterAll(async () => {
    for (const api of running.values()) await api.close();
    await app?.close();
  });

  const tokensOf = (clientId: string, extra: Record<string, string> = {}) =>
    getTokens(app.url, account, { clientId, redirectUri, scope: "openid read", extra });
  const call = (api: Api, token: string) =>
    fetch(running.get(api)?.url ?? "", { headers: { authorization: `Bearer ${token}` } });
  const callerOf = async (api: Api, token: string) => {
    const response = await call(api, token);
    return [response.status, response.status === 200 ? ((await response.json()) as { subject: string }).subject : null];
  };
  const refusalOf = async (api: Api, token: string) => {
    const response = await call(api, token);
    return `${response.status} ${response.headers.get("www-authenticate")}`;
  };
  const changed = (token: string) => {
    const [header, payload, signature = ""] = token.split(".");
    return `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
  };

  for (const clientId of ["es256", "rs256"]) {
    const alg = clientId.toUpperCase();
    withMaven(
      `Spring Boot takes the ${alg} token of a client with access_token_typ JWT by its issuer, a changed one not`,
      async () => {
        const { access_token } = await tokensOf(clientId);
        const response = await call("issuer", access_token);
        expect(response.status).toBe(200);
        expect(await response.json()).toMatchObject({
          subject: account.uuid,
          authorities: expect.arrayContaining(["SCOPE_openid", "SCOPE_read"]),
        });
        expect(await refusalOf("issuer", changed(access_token))).toMatch(/^401 Bearer error="invalid_token"/);
      },
    );
  }

  withMaven("Spring Boot refuses the at+jwt of every other client, by the issuer alone", async () => {
    const { access_token } = await tokensOf("at-jwt");
    expect(await refusalOf("issuer", access_token)).toMatch(/^401 Bearer error="invalid_token".*\btyp\b/);
  });

  withMaven("Spring Boot refuses an ID token by its audience, and takes it where it was told of none", async () => {
    const { access_token, id_token } = await tokensOf("es256", { resource });
    expect(await callerOf("audience", access_token)).toEqual([200, account.uuid]);
    expect(await refusalOf("audience", id_token)).toMatch(/^401 Bearer error="invalid_token".*\baud\b/);
    expect(await callerOf("issuer", id_token)).toEqual([200, account.uuid]);
  });

  withMaven("Spring Boot takes an at+jwt with createAtJwtValidator, and nothing else", async () => {
    const { access_token, id_token } = await tokensOf("at-jwt", { resource });
    expect(await callerOf("atJwt", access_token)).toEqual([200, account.uuid]);
    const elsewhere = (await tokensOf("at-jwt")).access_token;
    const otherType = (await tokensOf("es256", { resource })).access_token;
    for (const other of [changed(access_token), id_token, elsewhere, otherType]) {
      expect(await refusalOf("atJwt", other)).toMatch(/^401 Bearer error="invalid_token"/);
    }
  });

  withMaven("Spring Boot asks about each token with opaquetoken, and refuses it from its revocation on", async () => {
    const { access_token, refresh_token } = await tokensOf("at-jwt", { resource });
    const response = await call("opaque", access_token);
    expect(await response.json()).toMatchObject({
      subject: account.uuid,
      authorities: expect.arrayContaining(["SCOPE_openid", "SCOPE_read"]),
    });
    const elsewhere = (await tokensOf("at-jwt")).access_token;
    for (const bad of [changed(access_token), elsewhere]) {
      expect(await refusalOf("opaque", bad)).toMatch(/^401 Bearer error="invalid_token"/);
    }
    await postForm(`${app.url}/oauth2/revoke`, { token: refresh_token, client_id: "at-jwt" });
    expect(await refusalOf("opaque", access_token)).toMatch(/^401 Bearer error="invalid_token"/);
    expect(await callerOf("atJwt", access_token)).toEqual([200, account.uuid]);
  });

  /** A token that only the holder of the key may use (RFC 9449), as the client `at-jwt` gets it. */
  const boundToken = async (key: TestKey) => {
    const clientId = "at-jwt";
    const extra = { resource };
    const { code, verifier } = await getCode(app.url, account, { clientId, redirectUri, scope: "openid read", extra });
    const url = `${app.url}/oauth2/token`;
    const answer = await postForm(
      url,
      {
        grant_type: "authorization_code",
        code,
        redirect_uri: redirectUri,
        client_id: clientId,
        code_verifier: verifier,
      },
      { dpop: await proofOf(key, "POST", url) },
    );
    const tokens = (await answer.json()) as Tokens;
    expect([answer.status, tokens.token_type]).toEqual([200, "DPoP"]);
    return tokens.access_token;
  };
  const callWithProof = (api: Api, accessToken: string, proof: string) =>
    fetch(running.get(api)?.url ?? "", { headers: { authorization: `DPoP ${accessToken}`, dpop: proof } });

  withMaven("Spring Boot with dPoP takes a bound token with its proof, once, and no other", async () => {
    const [key, other] = await Promise.all([makeKey(), makeKey()]);
    const accessToken = await boundToken(key);
    const url = `${running.get("dpop")?.url}/`;
    const proof = await proofOf(key, "GET", url, { accessToken });
    const answer = await callWithProof("dpop", accessToken, proof);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ subject: account.uuid });

    const wrong = {
      replayed: proof,
      "of another key": await proofOf(other, "GET", url, { accessToken }),
      "for another method": await proofOf(key, "POST", url, { accessToken }),
      "for another address": await proofOf(key, "GET", `${url}else`, { accessToken }),
      "for another token": await proofOf(key, "GET", url, { accessToken: `${accessToken}a` }),
      old: await proofOf(key, "GET", url, { accessToken, claims: { iat: 1 } }),
    };
    for (const [kind, each] of Object.entries(wrong)) {
      const refused = await callWithProof("dpop", accessToken, each);
      expect([kind, refused.status, refused.headers.get("www-authenticate")]).toEqual([
        kind,
        401,
        expect.stringMatching(/^DPoP error="invalid_dpop_proof"/),
      ]);
    }
    const changedToken = changed(accessToken);
    const ofChanged = await proofOf(key, "GET", url, { accessToken: changedToken });
    const refused = await callWithProof("dpop", changedToken, ofChanged);
    expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([
      401,
      expect.stringMatching(/^DPoP error="invalid_token"/),
    ]);
  });

  withMaven("Spring Boot with dPoP takes a bound token not as a Bearer token, and others still", async () => {
    const accessToken = await boundToken(await makeKey());
    expect(await refusalOf("dpop", accessToken)).toMatch(/^401 Bearer error="invalid_token"/);
    expect(await callerOf("dpop", (await tokensOf("at-jwt", { resource })).access_token)).toEqual([200, account.uuid]);
    const without = await fetch(running.get("dpop")?.url ?? "", { headers: { authorization: `DPoP ${accessToken}` } });
    expect([without.status, without.headers.get("www-authenticate")]).toEqual([
      401,
      expect.stringMatching(/^DPoP error="invalid_request", error_description="DPoP proof is missing or invalid."/),
    ]);
  });

  withMaven("Spring Boot without dPoP takes a bound token in neither way", async () => {
    const key = await makeKey();
    const accessToken = await boundToken(key);
    for (const api of ["atJwt", "opaque"] as const) {
      const proof = await proofOf(key, "GET", `${running.get(api)?.url}/`, { accessToken });
      expect((await callWithProof(api, accessToken, proof)).status).toBe(401);
      expect(await refusalOf(api, accessToken)).toMatch(/^401 Bearer error="invalid_token"/);
    }
  });
});
