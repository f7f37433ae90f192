import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { addClient } from "../../../src/oauth/clients/clients.ts";
import { createInitialAccessToken } from "../../../src/oauth/clients/registration.ts";
import { readClientRegistration } from "../../../src/store/client-metadata.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  authorizeUrl,
  claimsOf,
  getCode,
  pkce,
  postForm,
  postJson,
  redeem,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";

type Json = Record<string, unknown>;

const redirectUri = "https://agent.example/cb";
const resource = "https://mcp.example/mcp";
/** As the official SDK registers. */
const agent = {
  client_name: "An agent",
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "none",
  scope: "openid profile",
};

/** @param own what the registration was answered with */
function replace(own: Record<string, string>, json: Json): Promise<Response> {
  return fetch(own["registration_client_uri"] ?? "", {
    method: "PUT",
    headers: { authorization: `Bearer ${own["registration_access_token"]}`, "content-type": "application/json" },
    body: JSON.stringify({ ...agent, client_id: own["client_id"], ...json }),
  });
}

describe("registration without an initial access token", () => {
  let app: TestApp;
  beforeAll(async () => {
    const bank = { client_id: "bank", client_name: "Ada's Bank", redirect_uris: ["https://bank.example/cb"] };
    const shop = { client_id: "shop", client_name: "Third Shop", redirect_uris: ["https://shop.example/cb"] };
    const route = { client_id: "route", client_name: "Route 66", redirect_uris: ["https://route.example/cb"] };
    app = await startApp({ OPEN_REGISTRATION: "1", RESOURCES: resource }, [bank, shop, route]);
  });
  afterAll(() => app.close());

  const register = (json: Json, headers: Record<string, string> = {}) =>
    postJson(`${app.url}/oauth2/register`, { ...agent, ...json }, headers);
  const outcome = async (answering: Promise<Response>) => {
    const response = await answering;
    const { error, error_description: description } = (await response.json()) as Json;
    return [response.status, error, description];
  };
  const registered = async (json: Json = {}) => (await (await register(json)).json()) as Record<string, string>;

  it("C-67 is refused unless the operator has opened it", async () => {
    const closed = await startApp();
    try {
      expect((await postJson(`${closed.url}/oauth2/register`, agent)).status).toBe(401);
    } finally {
      await closed.close();
    }
    // a token that is sent is checked
    expect((await register({}, { authorization: "Bearer nonsense" })).status).toBe(401);
  });

  it("C-67 gives a client that registered itself a token for a server-wide resource, after a consent page that says it is unverified", async () => {
    const { client_id: clientId = "" } = await registered();
    const account = await signUp(app.url);
    const { verifier, challenge } = pkce();
    const options = { clientId, redirectUri, scope: "openid profile", challenge, extra: { resource } };
    const { location, browser } = await getCode(app.url, account, options);
    expect(location.pathname).toBe("/consent");
    const page = await (await browser.get(location.href)).text();
    expect(page).toContain("Its name is not verified");
    expect(page).toContain("<strong>https://agent.example</strong>");
    const answer = await browser.submit(location.href, { decision: "allow" });
    const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const response = await redeem(app.url, code, verifier, {
      client_id: clientId,
      redirect_uri: redirectUri,
      resource,
    });
    const { access_token: token = "" } = (await response.json()) as Record<string, string>;
    expect([claimsOf(token)["aud"]].flat()).toContain(resource);
  });

  it("C-67 says so before anybody types a password, on the pages that sign in and sign up, and where an account is chosen", async () => {
    const { client_id: clientId = "" } = await registered();
    const browser = new TestBrowser();
    const open = async (extra: Record<string, string>) => {
      const url = authorizeUrl(app.url, { clientId, redirectUri, scope: "openid", extra });
      const step = await browser.get(url);
      return (await browser.get(new URL(step.headers.get("location") ?? "", app.url).href)).text();
    };
    expect(await open({})).toContain("Its name is not verified");
    expect(await open({ prompt: "create" })).toContain("Its name is not verified");
    const { email, password } = await signUp(app.url);
    await browser.submit(`${app.url}/login?account=other`, { email, password });
    expect(await open({ prompt: "select_account" })).toMatch(/<h1>Choose an account[\s\S]*Its name is not verified/);
  });

  it("C-67 shows no warning for a client of the operator", async () => {
    const account = await signUp(app.url);
    const options = { clientId: "bank", redirectUri: "https://bank.example/cb", scope: "openid" };
    const login = await new TestBrowser().get(authorizeUrl(app.url, options));
    const url = new URL(login.headers.get("location") ?? "", app.url);
    expect(await (await new TestBrowser().get(url.href)).text()).not.toContain("not verified");
    const { location, browser } = await getCode(app.url, account, options);
    expect(await (await browser.get(location.href)).text()).not.toContain("not verified");
  });

  it.each([
    [{ grant_types: ["urn:ietf:params:oauth:grant-type:device_code"] }, "grant_types"],
    [{ grant_types: ["client_credentials"], token_endpoint_auth_method: "client_secret_basic" }, "grant_types"],
    [{ first_party: true }, "first_party"],
    [{ resources: ["https://other.example"] }, "resources"],
    [{ scope: "openid auth.introspect" }, "scope"],
    [{ contacts: ["x".repeat(9_000)] }, "8192 bytes"],
  ])("C-67 keeps what only an operator may allow from it: %j", async (json, named) => {
    expect(await outcome(register(json))).toEqual([400, "invalid_client_metadata", expect.stringContaining(named)]);
  });

  it("C-67 gives a program that asks for every grant those that are open, and says so", async () => {
    const asked = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];
    const answer = (await (await register({ grant_types: asked })).json()) as Json;
    expect(answer["grant_types"]).toEqual(["authorization_code", "refresh_token"]);
  });

  it("C-67 lets a client take no other grants and no other name afterwards", async () => {
    const own = await registered();
    const put = (json: Json) => replace(own, json);
    expect((await put({ client_name: "Another agent" })).status).toBe(200);
    expect((await put({ client_name: "Adas bank" })).status).toBe(400);
    expect((await put({ grant_types: ["urn:ietf:params:oauth:grant-type:device_code"] })).status).toBe(400);
  });

  it("C-67 lets a client take no other grants after open registration was turned off", async () => {
    const first = await startApp({ OPEN_REGISTRATION: "1" });
    const own = (await (await postJson(`${first.url}/oauth2/register`, agent)).json()) as Record<string, string>;
    const { env } = first;
    await first.close();

    const second = await startApp({ ...env, OPEN_REGISTRATION: "0" });
    const grants = ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"];
    const put = (json: Json) => replace(own, json);
    expect((await put({ grant_types: grants })).status).toBe(400);
    expect((await put({ client_name: "Another agent" })).status).toBe(200);
    await second.close();
  });

  it("C-67 does not give a client the name of the operator's, however it is written, with or without a token", async () => {
    const { token } = await createInitialAccessToken(app.context, { uses: 10, expiresIn: 60 });
    const names = [
      "Ada's Bank",
      "ADAS BANK",
      "Ada’s  Bánk",
      "Аdа's Ваnк",
      "Ad\u200ba's Bank",
      "ＡＤＡ’Ｓ ＢＡＮＫ",
      "bank",
      "Bank",
      "Account",
      "auth-Servlce",
      "\u202eknaB s'adA",
      "\u2067Ada's Bank\u2069",
    ];
    for (const client_name of names) {
      for (const headers of [{}, { authorization: `Bearer ${token}` }]) {
        const answer = await outcome(register({ client_name }, headers));
        expect([client_name, ...answer]).toEqual([
          client_name,
          400,
          "invalid_client_metadata",
          expect.stringContaining("client_name"),
        ]);
      }
    }
    for (const client_name of ["Ada's Banking", "Eva's Bank", "다른 앱", "!!!"]) {
      expect([client_name, (await register({ client_name })).status]).toEqual([client_name, 201]);
    }
    // the same program on another machine
    expect((await register({ client_name: "Eva's Bank" })).status).toBe(201);
  });

  it.each([
    ["signs after it", ["Third Shop™", "Third Shop®", "Third Shopᵀᴹ", "Third Shop²", "Third Shop |"]],
    [
      "letters of other scripts",
      ["Тhird Ѕhор", "ᎢᎻᎥᎡᎠ Ꮪhop", "ꓔꓧꓲꓣꓓ ꓢꓧꓳꓑ", "Third Shοp", "ᴛʜɪʀᴅ ꜱʜᴏᴘ", "ⓉⒽⒾⓇⒹ Shop", "🅃hird Shop"],
    ],
    ["strokes through letters", ["Third Shøp", "Thirđ Shop", "Ŧhird Shop"]],
    ["digits for letters", ["Th1rd Sh0p", "Th|rd Shop", "Third Sh٥p", "Third Sh۵p"]],
    ["digits of other scripts", ["Route ٦٦", "Route ६६", "Route ６６"]],
  ])("C-67 does not give a client the name of the operator's with %s (UTS 39)", async (_, names) => {
    for (const client_name of names) {
      const refusal = [400, "invalid_client_metadata", expect.stringContaining("name of another client")];
      expect([client_name, ...(await outcome(register({ client_name })))]).toEqual([client_name, ...refusal]);
    }
  });

  it("C-67 lets a client that registered itself say of nothing that it is verified, official, or whose host it is", async () => {
    const names = [
      ...["Notes (verified)", "VERIFIED Notes", "Оfficial Notes", "Notes ✔", "Offizielle Notizen", "Notas (oficial)"],
      ...[
        "Notes, vérifié",
        "메모 (공식)",
        "공식 메모",
        "메모 공식 앱",
        "メモ【公式】",
        "メモ公式アプリ",
        "メモ（認証済み）",
      ],
      ...[
        "Notes (notes.example)",
        "Notes [notes.example:8443]",
        "Notes （ｎｏｔｅｓ．ｅｘａｍｐｌｅ）",
        "Notes (192.0.2.1)",
      ],
    ];
    for (const client_name of names) {
      const refusal = [400, "invalid_client_metadata", expect.stringContaining("client_name: must not")];
      expect([client_name, ...(await outcome(register({ client_name })))]).toEqual([client_name, ...refusal]);
    }
  });

  it("C-67 gives honest names in the languages of the pages, and those that only have the words of others in them", async () => {
    const others = ["Third Shop", "カバン", "메모장"].map((client_name, n) => {
      return { client_id: `other-${n}`, client_name, redirect_uris: ["https://other.example/cb"] };
    });
    const one = await startApp({ OPEN_REGISTRATION: "1" }, others);
    try {
      const names = [
        ...[
          "메모 도우미",
          "수학 공식",
          "한국 쇼핑 앱",
          "カハン",
          "数学公式集",
          "非公式クライアント",
          "ノート・アプリ",
          "Das Örtliche",
        ],
        ...[
          "Müllers Straßenkarte (Köln)",
          "Diseño Gráfico S.A.",
          "Boletín de Cataluña",
          "Économie & Société",
          "L’Œil neuf",
        ],
        ...["Claude Code (v1.2)", "Notes (Node.js)", "Unofficial Reader", "Monday.com", "Third Shopper", "3rd Shop"],
      ];
      for (const client_name of names) {
        const answer = await postJson(`${one.url}/oauth2/register`, { ...agent, client_name });
        expect([client_name, answer.status]).toEqual([client_name, 201]);
      }
    } finally {
      await one.close();
    }
  });

  it("C-67 gives a client that asks for one a secret, and serves it", async () => {
    const { client_id: clientId = "", client_secret: secret } = await registered({
      token_endpoint_auth_method: "client_secret_post",
    });
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    const login = await new TestBrowser().get(authorizeUrl(app.url, { clientId, redirectUri, scope: "openid" }));
    expect(login.headers.get("location")).toMatch(/^\/login\?/);
  });

  it("C-67 lets a program in a browser register, read, change and remove itself (RFC 7591, RFC 7592)", async () => {
    // where the MCP Inspector runs
    const origin = "http://localhost:6274";
    const preflight = (url: string, method: string) =>
      fetch(url, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": method,
          "access-control-request-headers": "authorization,content-type,mcp-protocol-version",
        },
      });
    const asked = await preflight(`${app.url}/oauth2/register`, "POST");
    expect([asked.status, asked.headers.get("access-control-allow-origin")]).toEqual([204, origin]);
    const made = await register({}, { origin });
    expect([made.status, made.headers.get("access-control-allow-origin")]).toEqual([201, origin]);
    const { registration_client_uri: uri = "", registration_access_token: token } = (await made.json()) as Record<
      string,
      string
    >;
    for (const method of ["PUT", "DELETE"]) {
      const allowed = (await preflight(uri, method)).headers.get("access-control-allow-methods") ?? "";
      expect(allowed.split(/, */)).toContain(method);
    }
    const read = await fetch(uri, { headers: { origin, authorization: `Bearer ${token}` } });
    expect([read.status, read.headers.get("access-control-allow-origin")]).toEqual([200, origin]);
    const refused = await register({ client_name: "bank" }, { origin });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([400, origin]);
  });

  /** As Cursor registers. */
  const cursor = [
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "http://localhost:8787/callback",
  ];

  it("C-67 takes private-use schemes without a dot only where the operator names them, and the log says how (RFC 8252 8.4)", async () => {
    const [error, description] = (await outcome(register({ redirect_uris: cursor }))).slice(1);
    expect([error, description]).toEqual(["invalid_redirect_uri", expect.stringContaining("must contain a dot")]);
    expect(description).not.toContain("PRIVATE_URI_SCHEMES");
    const told = app.logs.filter((line) => line.includes("PRIVATE_URI_SCHEMES"));
    expect(told.map((line) => (JSON.parse(line) as Json)["schemes"])).toEqual([["cursor"]]);
  });

  it("C-67 sends an answer to a private-use scheme that the operator named, and takes no other", async () => {
    const one = await startApp({ OPEN_REGISTRATION: "1", PRIVATE_URI_SCHEMES: "Cursor,windsurf" });
    try {
      const at = (uris: string[]) => postJson(`${one.url}/oauth2/register`, { ...agent, redirect_uris: uris });
      const made = await at(cursor);
      expect(made.status).toBe(201);
      const { client_id: clientId = "" } = (await made.json()) as Record<string, string>;
      const options = { clientId, redirectUri: cursor[0] ?? "", scope: "openid" };
      const { location, browser } = await getCode(one.url, await signUp(one.url), options);
      const answer = await browser.submit(location.href, { decision: "allow" });
      expect(answer.headers.get("location")).toMatch(/^cursor:\/\/anysphere\.cursor-mcp\/oauth\/callback\?code=/);
      for (const other of ["other://cb", "javascript:alert(1)", "data:text/html,x", "cursors://x", "windsurf"]) {
        expect([other, (await at([other])).status]).toEqual([other, 400]);
      }
    } finally {
      await one.close();
    }
  });

  it("C-67 sends nothing to a private-use scheme that the operator names no longer, and the start says whose it is", async () => {
    const editor = {
      client_id: "editor",
      redirect_uris: ["windsurf://cb"],
      post_logout_redirect_uris: ["cursor://bye"],
    };
    const first = await startApp({ PRIVATE_URI_SCHEMES: "cursor,windsurf" });
    const registration = readClientRegistration(editor, false, ["cursor", "windsurf"]);
    if (Array.isArray(registration)) throw new Error(registration.join());
    await addClient(first.context, registration);
    const options = { clientId: "editor", redirectUri: "windsurf://cb", scope: "openid" };
    const user = await signUp(first.url);
    const { location, browser, verifier } = await getCode(first.url, user, options);
    const allowed = await browser.submit(location.href, { decision: "allow" });
    const code = new URL(allowed.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const { env } = first;
    await first.close();

    const back = new URLSearchParams({ client_id: "editor", post_logout_redirect_uri: "cursor://bye" });
    const logoutAt = ({ url }: TestApp) => fetch(`${url}/connect/logout?${back}`);
    const second = await startApp({ ...env, PRIVATE_URI_SCHEMES: "cursor" });
    try {
      const answer = await new TestBrowser().get(authorizeUrl(second.url, options));
      expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
      const late = await postForm(`${second.url}/oauth2/token`, {
        ...{ grant_type: "authorization_code", client_id: "editor", redirect_uri: "windsurf://cb" },
        ...{ code, code_verifier: verifier },
      });
      expect([late.status, ((await late.json()) as Json)["error"]]).toEqual([400, "invalid_grant"]);
      expect((await logoutAt(second)).status).toBe(200);
      const told = second.logs.map((line) => JSON.parse(line)).filter(({ event }) => event === "schemes_not_served");
      expect(told).toMatchObject([{ client_id: "editor", schemes: ["windsurf"] }]);
    } finally {
      await second.close();
    }
    const third = await startApp({ ...env, PRIVATE_URI_SCHEMES: "windsurf" });
    expect((await logoutAt(third)).status).toBe(400);
    await third.close();
  });

  it("C-67 counts a new name as a registration, and no other change", async () => {
    const one = await startApp({ OPEN_REGISTRATION: "1" });
    try {
      const own = (await (await postJson(`${one.url}/oauth2/register`, agent)).json()) as Record<string, string>;
      const put = async (json: Json) => (await replace(own, json)).status;
      for (let n = 1; n < 300; n++) expect([n, await put({ client_name: `Agent ${n}` })]).toEqual([n, 200]);
      expect(await put({ client_name: "Agent 300" })).toBe(429);
      expect(await put({ client_name: "Agent 299", client_uri: "https://agent.example/" })).toBe(200);
    } finally {
      await one.close();
    }
  });

  it("C-67 counts the registrations of a network", async () => {
    const one = await startApp({ OPEN_REGISTRATION: "1" });
    try {
      const statuses: number[] = [];
      // refused ones are not counted
      const wrong = () => postJson(`${one.url}/oauth2/register`, { ...agent, first_party: true });
      for (let n = 0; n < 31; n++) expect((await wrong()).status).toBe(400);
      for (let n = 0; n < 31; n++) statuses.push((await postJson(`${one.url}/oauth2/register`, agent)).status);
      expect(statuses.slice(0, 30)).toEqual(Array(30).fill(201));
      const late = await postJson(`${one.url}/oauth2/register`, agent);
      expect([statuses[30], late.status, late.headers.has("retry-after")]).toEqual([429, 429, true]);
      // an operator's token is not counted among them
      const { token } = await createInitialAccessToken(one.context, { uses: 1, expiresIn: 60 });
      const invited = await postJson(`${one.url}/oauth2/register`, agent, { authorization: `Bearer ${token}` });
      expect(invited.status).toBe(201);
    } finally {
      await one.close();
    }
  });
});
