import { request as httpRequest } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { hashOf } from "../../src/hashes.ts";
import { disableClient } from "../../src/oauth/clients.ts";
import { setUserDisabled } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  getCode,
  introspect,
  introspectSettled,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  type Tokens,
} from "../support/flow.ts";
import { rowsOf } from "../support/sqlite.ts";

const web = { clientId: "web", redirectUri: "https://web.example/cb", scope: "openid" };
const spare = { clientId: "spare", redirectUri: "https://spare.example/cb", scope: "openid" };
const clients = [web, spare].map(({ clientId, redirectUri, scope }) => ({
  client_id: clientId,
  redirect_uris: [redirectUri],
  scope,
  first_party: true,
  ...(clientId === "web" ? { client_secret: "the secret of web" } : {}),
}));
const webBasic = { authorization: `Basic ${btoa("web:the+secret+of+web")}` };
const formType = "application/x-www-form-urlencoded";

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  account = await signUp(app.url);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const endpoint = () => `${app.url}/oauth2/token`;
const outcome = async (answering: Response | Promise<Response>) => {
  const response = await answering;
  return [response.status, ((await response.json()) as { error?: string }).error];
};
const invalidGrant = [400, "invalid_grant"];
/** The parameters of a valid exchange. */
async function exchange(): Promise<Record<string, string>> {
  const { code, verifier } = await getCode(app.url, account);
  return {
    grant_type: "authorization_code",
    code,
    code_verifier: verifier,
    client_id: portal.clientId,
    redirect_uri: portal.redirectUri,
  };
}
const codeRow = (code: string) =>
  rowsOf<{ redeemed_at: number | null; wrong_verifiers: number }>(
    app,
    "SELECT redeemed_at, wrong_verifiers FROM oauth2_authorization_code WHERE code_hash = ?",
    hashOf(code),
  )[0];
const untouched = { redeemed_at: null, wrong_verifiers: 0 };

function send(headers: Record<string, string | string[]>, body: string): Promise<{ status: number; error: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(endpoint(), { method: "POST", headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, error: JSON.parse(text).error }));
    });
    request.on("error", reject).end(body);
  });
}

describe("the body of a code exchange", () => {
  it("S-055 is read as form or JSON, in any case; of any other type its code is not even looked up", async () => {
    const parameters = await exchange();
    const form = new URLSearchParams(parameters).toString();
    const json = JSON.stringify(parameters);
    const boundary = "----x";
    const parts = Object.entries(parameters).map(
      ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    );
    const refused: [Record<string, string | string[]>, string][] = [
      [{}, form],
      [{ "content-type": "" }, form],
      [{ "content-type": "text/plain" }, form],
      [{ "content-type": "text/plain" }, json],
      [{ "content-type": `multipart/form-data; boundary=${boundary}` }, `${parts.join("")}--${boundary}--\r\n`],
      // white space before a header's value is HTTP's: this is JSON, and a form is none
      [{ "content-type": " application/json" }, form],
      [{ "content-type": "application/json\ta" }, json],
      [{ "content-type": "application/json garbage" }, json],
      [{ "content-type": "application/json;charset=utf-7" }, json],
      [{ "content-type": "application/jsonx" }, json],
      [{ "content-type": [formType, "application/json"] }, form],
      [{ "content-type": [formType, formType] }, form],
      [{ "content-type": `${formType}, application/json` }, form],
      [{ "content-type": `${formType};charset=utf-7` }, form],
      [{ "content-type": `${formType};charset=utf-16` }, form],
      [{ "content-type": formType, "content-encoding": "gzip" }, form],
      [{ "content-type": formType, "content-encoding": "identity" }, form],
    ];
    for (const [headers, body] of refused) {
      const { status, error } = await send(headers, body);
      expect([headers, [400, 415].includes(status), error]).toEqual([headers, true, "invalid_request"]);
      expect([headers, codeRow(parameters["code"] ?? "")]).toEqual([headers, untouched]);
    }
    expect((await send({ "content-type": formType.toUpperCase() }, form)).status).toBe(200);
    const other = JSON.stringify(await exchange());
    expect((await send({ "content-type": "Application/JSON; charset=UTF-8" }, other)).status).toBe(200);
  });

  it("S-056 is judged as JSON the way it is as a form, from the same origins, and no metadata speak of it", async () => {
    const changes: Record<string, string | undefined>[] = [
      {},
      { grant_type: undefined },
      { grant_type: "password" },
      { client_id: undefined },
      { client_id: "nobody" },
      { client_id: "web" },
      { client_secret: "x" },
      { code: undefined },
      { code: "" },
      { code: "a\0b" },
      { code: "unknown" },
      { code_verifier: "short" },
      { code_verifier: pkce().verifier },
      { redirect_uri: "http://localhost:3000/other" },
      { "code[]": "x" },
    ];
    for (const change of changes) {
      const both = [];
      for (const post of [postForm, postJson]) {
        const given = Object.entries({ ...(await exchange()), ...change }).filter(([, value]) => value !== undefined);
        both.push(await outcome(post(endpoint(), Object.fromEntries(given) as Record<string, string>)));
      }
      expect([change, both[1]]).toEqual([change, both[0]]);
    }
    for (const value of [1, true, null, ["a"], { a: "b" }]) {
      const answer = await outcome(postJson(endpoint(), { ...(await exchange()), scope: value }));
      expect([value, ...answer]).toEqual([value, 400, "invalid_request"]);
    }
    for (const origin of ["https://evil.example", "http://localhost:3000"]) {
      const answer = await postJson(endpoint(), await exchange(), { origin });
      const echoed = origin === "http://localhost:3000" ? origin : null;
      expect(answer.headers.get("access-control-allow-origin")).toBe(echoed);
    }
    for (const name of ["openid-configuration", "oauth-authorization-server"]) {
      expect(await (await fetch(`${app.url}/.well-known/${name}`)).text()).not.toMatch(/json"|content.type/i);
    }
  });

  it("S-057 is where code, secret and token stand: in the query they are not seen, and not used up", async () => {
    const { code = "", ...rest } = await exchange();
    expect(await outcome(postForm(`${endpoint()}?code=${code}`, rest))).toEqual([400, "invalid_request"]);
    expect(codeRow(code)).toEqual(untouched);
    const tokens = (await (await postForm(endpoint(), { ...rest, code })).json()) as Tokens;
    const query = new URLSearchParams({ token: tokens.access_token, client_id: portal.clientId });
    const revoke = await outcome(postForm(`${app.url}/oauth2/revoke?${query}`, { client_id: portal.clientId }));
    expect(revoke).toEqual([400, "invalid_request"]);
    expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
    const secret = new URLSearchParams({ client_id: "web", client_secret: "the secret of web" });
    const own = { grant_type: "refresh_token", refresh_token: "x" };
    expect(await outcome(postForm(`${endpoint()}?${secret}`, own))).toEqual([400, "invalid_request"]);
    expect(await outcome(postForm(`${endpoint()}?${secret}`, { ...own, client_id: "web" }))).toEqual([
      401,
      "invalid_client",
    ]);
  });
});

describe("the proof key of a code", () => {
  it("S-066 must come with the code: without it, or with an empty one, there is no token", async () => {
    const { code_verifier: verifier = "", ...rest } = await exchange();
    for (const post of [postForm, postJson]) {
      expect(await outcome(post(endpoint(), rest))).toEqual([400, "invalid_grant"]);
      expect(await outcome(post(endpoint(), { ...rest, code_verifier: "" }))).toEqual([400, "invalid_grant"]);
    }
    expect((await postForm(endpoint(), { ...rest, code_verifier: verifier })).status).toBe(200);
  });

  it("S-067 is refused with a code that was asked for without one", async () => {
    const parameters = { ...(await exchange()), code: "asked-for-without-a-challenge" };
    const { authorizations } = app.context.store;
    const asked = await authorizations.findCode(hashOf((await exchange())["code"] ?? ""));
    if (asked === null) throw new Error("no code");
    // no request gets such a code any more
    await authorizations.createCode({ ...asked, codeHash: hashOf(parameters.code), codeChallenge: "" }, null);
    expect(await outcome(postForm(endpoint(), parameters))).toEqual([400, "invalid_request"]);
    const { code_verifier: _, ...without } = parameters as Record<string, string>;
    expect(await outcome(postForm(endpoint(), without))).toEqual([400, "invalid_grant"]);
    expect(codeRow(parameters["code"] ?? "")).toEqual(untouched);
  });

  it("S-068 has 43 to 128 characters of its alphabet: anything else is refused before it is compared", async () => {
    const parameters = await exchange();
    const refused: [string, number][] = [
      ["a".repeat(42), 400],
      ["a".repeat(129), 400],
      [`${"a".repeat(42)} `, 400],
      [`${"a".repeat(21)} ${"a".repeat(21)}`, 400],
      [`${"a".repeat(43)}\0`, 400],
      [`${"a".repeat(43)}\n`, 400],
      [`${"a".repeat(42)}é`, 400],
      [`${"a".repeat(42)}+`, 400],
      ["a".repeat(60_000), 400],
      ["a".repeat(1_000_000), 413],
    ];
    for (const [code_verifier, status] of refused) {
      const answer = await outcome(postForm(endpoint(), { ...parameters, code_verifier }));
      expect([code_verifier.slice(0, 50), ...answer]).toEqual([code_verifier.slice(0, 50), status, "invalid_request"]);
    }
    // a compared one that was wrong would count
    expect(codeRow(parameters["code"] ?? "")).toEqual(untouched);
    expect((await postForm(endpoint(), parameters)).status).toBe(200);
  });
});

describe("a code", () => {
  it("S-069 is worth nothing to another client, and still good for its own", async () => {
    const parameters = await exchange();
    const stolen = { ...parameters, client_id: spare.clientId };
    expect(await outcome(postForm(endpoint(), stolen))).toEqual(invalidGrant);
    expect(await outcome(postForm(endpoint(), { ...stolen, redirect_uri: spare.redirectUri }))).toEqual(invalidGrant);
    const { client_id: _, ...rest } = parameters;
    expect(await outcome(postForm(endpoint(), rest, webBasic))).toEqual(invalidGrant);
    expect((await postForm(endpoint(), parameters)).status).toBe(200);
  });

  it("S-070 is refused with another redirect URI; without one PKCE stands in for it (OAuth 2.1 section 10.2)", async () => {
    const parameters = await exchange();
    for (const redirect_uri of [
      "http://localhost:3000/callback/",
      "http://localhost:3000/callback?x=1",
      "http://127.0.0.1:3000/callback",
      "HTTP://localhost:3000/callback",
      "https://evil.example/",
    ]) {
      const answer = await outcome(postForm(endpoint(), { ...parameters, redirect_uri }));
      expect([redirect_uri, ...answer]).toEqual([redirect_uri, ...invalidGrant]);
    }
    const { redirect_uri: _, ...without } = parameters;
    expect((await postForm(endpoint(), without)).status).toBe(200);
  });

  it("S-071 ends with its user, and with its client", async () => {
    const leaving = await signUp(app.url);
    const { code, verifier } = await getCode(app.url, leaving);
    await setUserDisabled(app.context, leaving.uuid, true);
    expect(await outcome(redeem(app.url, code, verifier))).toEqual(invalidGrant);
    await setUserDisabled(app.context, leaving.uuid, false);
    expect(await outcome(redeem(app.url, code, verifier))).toEqual(invalidGrant);
    const ofSpare = await getCode(app.url, account, spare);
    const form = { client_id: spare.clientId, redirect_uri: spare.redirectUri };
    await disableClient(app.context, spare.clientId);
    expect(await outcome(redeem(app.url, ofSpare.code, ofSpare.verifier, form))).toEqual([401, "invalid_client"]);
  });

  it("S-072 is not taken from a public client that does not say who it is", async () => {
    const { client_id: _, ...parameters } = await exchange();
    expect(await outcome(postForm(endpoint(), parameters))).toEqual([400, "invalid_request"]);
    expect(await outcome(postForm(endpoint(), { ...parameters, client_id: "" }))).toEqual([400, "invalid_request"]);
    const basic = { authorization: `Basic ${btoa(`${portal.clientId}:`)}` };
    expect(await outcome(postForm(endpoint(), parameters, basic))).toEqual([401, "invalid_client"]);
    expect((await postForm(endpoint(), { ...parameters, client_id: portal.clientId })).status).toBe(200);
  });

  it("S-062 S-064 takes its tokens with it when it is replayed 3 s or 30 s later, but only by who could have redeemed it", async () => {
    for (const later of [3_000, 30_000]) {
      const { code, verifier } = await getCode(app.url, account, web);
      const form = { client_id: "web", redirect_uri: web.redirectUri };
      const valid = { grant_type: "authorization_code", code, code_verifier: verifier, ...form };
      const tokens = (await (await postForm(endpoint(), valid, webBasic)).json()) as Tokens;
      expect(await outcome(postForm(endpoint(), valid, webBasic))).toEqual(invalidGrant);
      app.clock.shift = later;
      const { client_id: _, ...unnamed } = valid;
      const wrongVerifier = { ...valid, code_verifier: pkce().verifier };
      expect(await outcome(postForm(endpoint(), wrongVerifier, webBasic))).toEqual(invalidGrant);
      expect(await outcome(postForm(endpoint(), { ...valid, client_id: portal.clientId }))).toEqual(invalidGrant);
      expect(await outcome(postForm(endpoint(), valid))).toEqual([401, "invalid_client"]);
      expect(await outcome(postForm(endpoint(), unnamed))).toEqual([400, "invalid_request"]);
      expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
      expect(await outcome(postForm(endpoint(), valid, webBasic))).toEqual(invalidGrant);
      expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
      const renewal = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
      expect(await outcome(postForm(endpoint(), renewal, webBasic))).toEqual([401, "invalid_grant"]);
      app.clock.shift = 0;
    }
  });
});

describe("an answer of the token endpoint", () => {
  it("S-060 holds what was granted and no more, and nobody may store it", async () => {
    for (const [scope, also] of [
      ["openid profile", ["id_token"]],
      ["profile", []],
    ] as const) {
      const { code, verifier } = await getCode(app.url, account, { scope });
      const response = await redeem(app.url, code, verifier);
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
      expect(response.headers.get("cache-control")).toBe("no-store");
      const body = (await response.json()) as object;
      const members = ["access_token", "expires_in", "refresh_token", "scope", "token_type", ...also];
      expect(Object.keys(body).sort()).toEqual(members.sort());
      expect(body).toMatchObject({ token_type: "Bearer", expires_in: 120, scope });
    }
  });

  it("S-061 names a registered error and nothing of the inside, whatever was wrong", async () => {
    const parameters = await exchange();
    const { client_id: _, ...noClient } = parameters;
    const json = { "content-type": "application/json" };
    const raw = (body: string, headers: Record<string, string> = { "content-type": formType }) =>
      fetch(endpoint(), { method: "POST", body, headers });
    const wrong: [number, string, () => Promise<Response>][] = [
      [400, "invalid_request", () => postForm(endpoint(), {})],
      [400, "unsupported_grant_type", () => postForm(endpoint(), { ...parameters, grant_type: "password" })],
      [400, "unauthorized_client", () => postForm(endpoint(), { ...parameters, grant_type: "client_credentials" })],
      [401, "invalid_client", () => postForm(endpoint(), { ...parameters, client_id: "nobody" })],
      [401, "invalid_client", () => postForm(endpoint(), noClient, { authorization: `Basic ${btoa("web:x")}` })],
      [401, "invalid_client", () => postForm(endpoint(), parameters, { authorization: "Basic %" })],
      [400, "invalid_grant", () => postForm(endpoint(), { ...parameters, code: "' OR 1=1 --" })],
      [400, "invalid_grant", () => postForm(endpoint(), { ...parameters, code: "x".repeat(60_000) })],
      [400, "invalid_request", () => postForm(endpoint(), { ...parameters, code: "\0" })],
      [400, "invalid_request", () => raw("code=%ff")],
      [400, "invalid_request", () => raw("{", json)],
      [400, "invalid_request", () => raw('{"code":{"toString":1}}', json)],
      [400, "invalid_dpop_proof", () => postForm(endpoint(), parameters, { dpop: "x" })],
      [401, "invalid_grant", () => refresh(app.url, "x")],
      [413, "invalid_request", () => raw("x".repeat(70_000))],
      [415, "invalid_request", () => raw("x", { "content-type": "text/plain" })],
    ];
    const inside = /\bat .+:\d+|node:|\/src\/|select |insert |sqlite|oauth2_|127\.0\.0\.1|localhost|error:/i;
    for (const [status, error, send] of wrong) {
      const response = await send();
      const text = await response.text();
      const body = JSON.parse(text) as { error: string; error_description: string };
      expect([response.status, body.error]).toEqual([status, error]);
      expect(Object.keys(body)).toEqual(["error", "error_description"]);
      expect(body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
      expect(text).not.toMatch(inside);
      expect(response.headers.get("content-type")).toMatch(/^application\/json/);
      expect(response.headers.get("cache-control")).toBe("no-store");
    }
  });
});
