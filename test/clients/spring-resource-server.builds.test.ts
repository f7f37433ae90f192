import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, getTokens, postForm, signUp } from "../support/flow.ts";
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
    const secret = await registerAsIn("Spring Boot API", app, addresses);
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
});
