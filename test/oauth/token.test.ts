import { request as httpRequest } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hashOf } from "../../src/crypto/hashes.ts";
import { toUnavailable } from "../../src/database/faults.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  getCode,
  introspect,
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
const once = { clientId: "once", redirectUri: "https://once.example/cb", scope: "openid" };
const clients = [
  {
    client_id: web.clientId,
    client_secret: "the secret of web",
    redirect_uris: [web.redirectUri],
    scope: web.scope,
    first_party: true,
  },
  {
    client_id: once.clientId,
    redirect_uris: [once.redirectUri],
    grant_types: ["authorization_code"],
    scope: once.scope,
    first_party: true,
  },
];
const formType = "application/x-www-form-urlencoded";

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  account = await signUp(app.url);
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => app.close());

const endpoint = () => `${app.url}/oauth2/token`;
const outcome = async (answering: Response | Promise<Response>) => {
  const response = await answering;
  return [response.status, ((await response.json()) as { error?: string }).error];
};
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

describe("an answer of the token endpoint", () => {
  it("S-060 contains only what was granted, and forbids caching", async () => {
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

  it("S-060 holds no refresh token for a client that was not granted refreshing", async () => {
    const { code, verifier } = await getCode(app.url, account, once);
    const form = { client_id: once.clientId, redirect_uri: once.redirectUri };
    const response = await redeem(app.url, code, verifier, form);
    expect(response.status).toBe(200);
    const members = ["access_token", "expires_in", "id_token", "scope", "token_type"];
    expect(Object.keys((await response.json()) as object).sort()).toEqual(members);
    expect(await outcome(refresh(app.url, "x", form))).toEqual([400, "unauthorized_client"]);
  });

  it("S-061 answers every fault with a registered error and no internal details", async () => {
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
    for (const [status, error, send] of wrong) await expectError(await send(), status, error);
  });

  it("S-061 says no more of a failure of its own, of a store that is away or of too many attempts", async () => {
    const parameters = await exchange();
    const fault = new Error("connect ECONNREFUSED 10.0.0.1:3306 SELECT * FROM users");
    for (const [status, error, thrown] of [
      [500, "server_error", fault],
      [503, "temporarily_unavailable", toUnavailable(fault)],
    ] as const) {
      jest.spyOn(app.context.store.authorizations, "findCodeWithUser").mockRejectedValueOnce(thrown);
      await expectError(await postForm(endpoint(), parameters), status, error);
    }
    expect((await postForm(endpoint(), parameters)).status).toBe(200);
    for (const _ of [1, 2]) await expectError(await refresh(app.url, "y"), 401, "invalid_grant");
    await expectError(await refresh(app.url, "y"), 429, "invalid_grant");
    const guess = () =>
      postForm(endpoint(), { grant_type: "refresh_token" }, { authorization: `Basic ${btoa("web:x")}` });
    let refused = await guess();
    for (let n = 0; n < 300 && refused.status === 401; n++) refused = await guess();
    await expectError(refused, 429, "temporarily_unavailable");
  });

  const inside =
    /\bat .+:\d+|node:|\/src\/|select |insert |sqlite|oauth2_|\d+\.\d+\.\d+\.\d+|ECONN|:3306|users|localhost|error:/i;
  async function expectError(response: Response, status: number, error: string): Promise<void> {
    const text = await response.text();
    const body = JSON.parse(text) as { error: string; error_description: string };
    expect([response.status, body.error]).toEqual([status, error]);
    expect(Object.keys(body)).toEqual(["error", "error_description"]);
    expect(body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
    expect(text).not.toMatch(inside);
    expect(JSON.stringify([...response.headers])).not.toMatch(inside);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.has("retry-after")).toBe([429, 503].includes(status));
  }
});
