import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { duringCall } from "../../../src/call.ts";
import { AuthError } from "../../../src/errors.ts";
import { refreshFromDocument } from "../../../src/oauth/clients/client-documents.ts";
import { disableClient, removeClient } from "../../../src/oauth/clients/clients.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  acceptedUntil,
  authorizeUrl,
  claimsOf,
  getCode,
  introspect,
  pkce,
  postForm,
  redeem,
  signUp,
  TestBrowser,
  type Tokens,
} from "../../support/flow.ts";
import { listen } from "../../support/keys.ts";

const redirectUri = "https://agent.example/cb";

describe("a client whose id is the URL of its metadata", () => {
  let app: TestApp;
  let host: Awaited<ReturnType<typeof listen>>;
  let document: Record<string, unknown>;
  let status = 200;
  let contentType = "application/json";
  let before = "";
  /** The document at a path of the host, which changes as tests say. */
  const idOf = (path: string) => `${host.url}/${path}`;
  beforeAll(async () => {
    host = await listen((request, response) => {
      const json = {
        client_id: `${host.url}${request.url}`,
        client_name: "Agent",
        redirect_uris: [redirectUri],
        ...document,
      };
      response.writeHead(status, { "content-type": contentType, "cache-control": "max-age=120" });
      response.end(before + JSON.stringify(json));
    });
    const bank = { client_id: "bank", client_name: "Ada's Bank", redirect_uris: ["https://bank.example/cb"] };
    app = await startApp({ CLIENT_ID_DOCUMENTS: "1", OUTBOUND_ALLOWED_HOSTS: host.host }, [bank]);
  });
  afterEach(() => {
    document = {};
    status = 200;
    contentType = "application/json";
    before = "";
    app.clock.shift = 0;
  });
  afterAll(async () => {
    await app.close();
    host.close();
  });

  const ask = (clientId: string, at = app) =>
    new TestBrowser().get(authorizeUrl(at.url, { clientId, redirectUri, scope: "openid profile" }));
  /** Of the page that refuses: no client is known that could be told. */
  const refusalOf = async (clientId: string) => {
    const answer = await ask(clientId);
    return [answer.status, answer.headers.get("location")];
  };

  it("C-67 signs a user in, who sees the host and that the name is not verified", async () => {
    const clientId = idOf("agent.json");
    const account = await signUp(app.url);
    const { verifier, challenge } = pkce();
    const options = { clientId, redirectUri, scope: "openid profile", challenge };
    const { location, browser } = await getCode(app.url, account, options);
    const page = await (await browser.get(location.href)).text();
    expect(page).toContain(`Agent (${host.host})`);
    expect(page).toContain("Its name is not verified");
    const answer = await browser.submit(location.href, { decision: "allow" });
    const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const response = await redeem(app.url, code, verifier, { client_id: clientId, redirect_uri: redirectUri });
    const { access_token: token = "" } = (await response.json()) as Record<string, string>;
    expect(claimsOf(token)["client_id"]).toBe(clientId);
    expect(host.connections()).toBe(1);
  });

  it("C-67 is not known where the operator does not allow it, and metadata says which", async () => {
    const closed = await startApp({ OUTBOUND_ALLOWED_HOSTS: host.host });
    try {
      expect((await ask(idOf("closed.json"), closed)).status).toBe(400);
      const named = async (at: TestApp) =>
        ((await (await fetch(`${at.url}/.well-known/oauth-authorization-server`)).json()) as Record<string, unknown>)[
          "client_id_metadata_document_supported"
        ];
      expect([await named(app), await named(closed)]).toEqual([true, undefined]);
    } finally {
      await closed.close();
    }
  });

  it.each([
    ["another client_id", { client_id: "https://other.example/agent.json" }],
    ["a secret", { token_endpoint_auth_method: "client_secret_basic" }],
    ["a client_secret", { client_secret: "x" }],
    ["a grant for operators", { grant_types: ["client_credentials"] }],
    ["an internal scope", { scope: "auth.introspect" }],
    ["first_party", { first_party: true }],
    ["the name of another", { client_name: "ADAS BANK" }],
    ["the name of another, in other letters", { client_name: "Аdа's Ваnк™" }],
    ["a word for verified", { client_name: "Agent (verified)" }],
    ["another host in its name", { client_name: "Agent (agent.example)" }],
    ["no redirect URI", { redirect_uris: [] }],
    ["no redirect URI that is one here", { redirect_uris: ["agent://cb", "javascript:alert(1)"] }],
    ["no code among its answers", { response_types: ["token"] }],
    ["a private key", { jwks: { keys: [{ kty: "oct", k: "c2VjcmV0" }] } }],
    ["6 KB", { client_uri: `https://agent.example/${"x".repeat(1_900)}`, "x-a": "y".repeat(4_500) }],
  ])("C-67 is refused with a document that has %s", async (name, json) => {
    document = json;
    expect(await refusalOf(idOf(`refused-${encodeURIComponent(name)}`))).toEqual([400, null]);
  });

  it.each([
    ["answers of other flows", { response_types: ["code", "code id_token", "token"] }],
    ["grants of other servers", { grant_types: ["authorization_code", "implicit", "urn:example:grant"] }],
    [
      "members of other servers",
      { software_statement: "a.b.c", client_id_issued_at: 1, userinfo_signed_response_alg: "RS256" },
    ],
    [
      "values of other servers",
      { id_token_signed_response_alg: "EdDSA", subject_type: "pairwise", logo_uri: "http://logo.example/" },
    ],
    ["empty members", { scope: "", logo_uri: "", tos_uri: "" }],
    ["redirect URIs that are none here", { redirect_uris: ["agent://cb", "http://agent.example/cb", 7, redirectUri] }],
  ])("C-67 is taken with a document that has %s", async (name, json) => {
    document = json;
    const answer = await ask(idOf(`taken-${encodeURIComponent(name)}`));
    expect([answer.status, answer.headers.get("location")]).toEqual([302, expect.stringMatching(/^\/login\?/)]);
  });

  it("C-67 is taken with a byte order mark, and at a URL with a query", async () => {
    before = "\ufeff";
    expect((await ask(idOf("mark.json"))).status).toBe(302);
    expect((await ask(idOf("agent.json?version=2"))).status).toBe(302);
  });

  it("C-67 is led back to the port on which the program listens, which its document cannot name", async () => {
    document = { redirect_uris: ["http://localhost/callback", "http://127.0.0.1/callback"] };
    const clientId = idOf("program.json");
    const at = (redirectUri: string) =>
      new TestBrowser().get(authorizeUrl(app.url, { clientId, redirectUri, scope: "openid" }));
    expect((await at("http://localhost:51234/callback")).status).toBe(302);
    expect((await at("http://127.0.0.1:51234/callback")).status).toBe(302);
    expect((await at("http://localhost:51234/elsewhere")).status).toBe(400);
  });

  it("C-67 is sent to none of the redirect URIs that were left out", async () => {
    document = { redirect_uris: ["agent://cb", redirectUri] };
    const url = authorizeUrl(app.url, { clientId: idOf("left-out.json"), redirectUri: "agent://cb", scope: "openid" });
    const answer = await new TestBrowser().get(url);
    expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
  });

  it("C-67 is refused where its host sends it as something else than JSON", async () => {
    const types = ["text/html", "text/plain", "application/jsonp", "text/json", "application/json-seq"];
    for (const [n, type] of types.entries()) {
      contentType = type;
      expect([type, await refusalOf(idOf(`type-${n}.json`))]).toEqual([type, [400, null]]);
    }
    for (const [n, type] of ["Application/JSON; charset=utf-8", "application/oauth-client+json"].entries()) {
      contentType = type;
      expect([type, (await ask(idOf(`json-${n}.json`))).status]).toEqual([type, 302]);
    }
  });

  it("C-67 is refused where the host does not answer with it, and is asked again a minute later", async () => {
    status = 404;
    expect(await refusalOf(idOf("late.json"))).toEqual([400, null]);
    status = 200;
    expect(await refusalOf(idOf("late.json"))).toEqual([400, null]);
    app.clock.shift = 61_000;
    expect((await ask(idOf("late.json"))).headers.get("location")).toMatch(/^\/login\?/);
  });

  it("C-67 is asked for again when the database's clock was set back since", async () => {
    status = 404;
    expect(await refusalOf(idOf("set-back.json"))).toEqual([400, null]);
    status = 200;
    app.clock.shift = -600_000;
    expect((await ask(idOf("set-back.json"))).headers.get("location")).toMatch(/^\/login\?/);
  });

  it("C-67 is neither taken nor refused while its host is away, and works as soon as that is back", async () => {
    const gone = await listen((_request, response) => response.end());
    gone.close();
    const aways = { 500: idOf("away-500.json"), 429: idOf("away-429.json"), none: `${gone.url}/agent.json` };
    const at = await startApp({ CLIENT_ID_DOCUMENTS: "1", OUTBOUND_ALLOWED_HOSTS: `${host.host},${gone.host}` });
    try {
      for (const [how, clientId] of Object.entries(aways)) {
        status = Number(how) || 200;
        for (const time of ["first", "again"]) {
          const page = await ask(clientId, at);
          expect([how, time, page.status]).toEqual([how, time, 503]);
          expect(Number(page.headers.get("retry-after"))).toBeGreaterThan(0);
        }
        const refresh = { grant_type: "refresh_token", refresh_token: "x", client_id: clientId };
        const answer = await postForm(`${at.url}/oauth2/token`, refresh);
        expect([how, answer.status, answer.headers.get("retry-after")]).toEqual([how, 503, expect.any(String)]);
      }
      status = 200;
      at.clock.shift = 6_000;
      expect((await ask(aways[500], at)).headers.get("location")).toMatch(/^\/login\?/);
    } finally {
      await at.close();
    }
  });

  it("C-67 is not refused where its document could not be stored, and works a moment later", async () => {
    const clientId = idOf("unsaved.json");
    const away = jest
      .spyOn(app.context.store.clients, "create")
      .mockRejectedValueOnce(new AuthError("unavailable", "away", { retryAfter: 1 }));
    for (const time of ["first", "again"]) {
      const page = await ask(clientId);
      expect([time, page.status, page.headers.get("retry-after")]).toEqual([time, 503, expect.any(String)]);
    }
    away.mockRestore();
    app.clock.shift = 6_000;
    expect((await ask(clientId)).headers.get("location")).toMatch(/^\/login\?/);
  });

  it("C-67 is known to those who wait for its document though the first of them hangs up", async () => {
    const clientId = idOf("hung-up.json");
    const gone = () => {
      throw new Error("hung up");
    };
    let ended = false;
    const first = duringCall(
      () => (ended ? gone() : undefined),
      () => refreshFromDocument(app.context, clientId),
    );
    ended = true;
    await Promise.all([first, refreshFromDocument(app.context, clientId)]);
    expect((await ask(clientId)).status).toBe(302);
  });

  it("C-67 follows its document by its max-age, keeps the last one while the host is away, and ends when the operator disables it", async () => {
    const clientId = idOf("changing.json");
    const isServed = async () => (await ask(clientId)).status === 302;
    expect(await isServed()).toBe(true);
    document = { redirect_uris: ["https://agent.example/other"] };
    expect(await isServed()).toBe(true);
    app.clock.shift = 121_000;
    expect(await isServed()).toBe(false);
    document = {};
    app.clock.shift = 242_000;
    expect(await isServed()).toBe(true);
    status = 500;
    app.clock.shift = 363_000;
    expect(await isServed()).toBe(true);
    await disableClient(app.context, clientId);
    expect(await isServed()).toBe(false);
  });

  it("C-67 is refused, and its tokens are, as soon as the operator allows such clients no longer", async () => {
    const clientId = idOf("turned-off.json");
    const first = await startApp({ CLIENT_ID_DOCUMENTS: "1", OUTBOUND_ALLOWED_HOSTS: host.host });
    const options = { clientId, redirectUri, scope: "openid" };
    const { location, browser, verifier } = await getCode(first.url, await signUp(first.url), options);
    const allowed = await browser.submit(location.href, { decision: "allow" });
    const code = new URL(allowed.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const form = { client_id: clientId, redirect_uri: redirectUri };
    const answer = await postForm(`${first.url}/oauth2/token`, {
      ...{ ...form, grant_type: "authorization_code", code, code_verifier: verifier },
    });
    const { access_token, refresh_token } = (await answer.json()) as Tokens;
    expect((await introspect(first.url, access_token))["active"]).toBe(true);
    const { env } = first;
    await first.close();

    const second = await startApp({ ...env, CLIENT_ID_DOCUMENTS: "0" });
    expect((await ask(clientId, second)).status).toBe(400);
    expect((await introspect(second.url, access_token))["active"]).toBe(false);
    const refreshed = await postForm(`${second.url}/oauth2/token`, {
      ...{ grant_type: "refresh_token", client_id: clientId, refresh_token },
    });
    expect(refreshed.status).toBe(401);
    await second.close();

    const third = await startApp({ ...env, CLIENT_ID_DOCUMENTS: "1" });
    expect((await ask(clientId, third)).status).toBe(302);
    await third.close();
  });

  it("C-67 comes back at its next request after the operator removed it, however long its document may be kept", async () => {
    const clientId = idOf("removed.json");
    expect((await ask(clientId)).status).toBe(302);
    await removeClient(app.context, clientId);
    await acceptedUntil(async () => (await app.context.clients.find(clientId)) !== null, 1_000);
    expect((await ask(clientId)).status).toBe(302);
    await removeClient(app.context, clientId);
    await acceptedUntil(async () => (await app.context.clients.find(clientId)) !== null, 1_000);
    status = 404;
    expect(await refusalOf(clientId)).toEqual([400, null]);
    status = 200;
    expect(await refusalOf(clientId)).toEqual([400, null]);
  });

  it("C-67 fetches nothing for ids that are no such URL, or that the outbound guard refuses", async () => {
    const before = host.connections();
    for (const path of ["", "?b=c", "a#b", "a/../b", "%61/./b", "x".repeat(200)]) {
      expect([path, ...(await refusalOf(`${host.url}/${path}`))]).toEqual([path, expect.any(Number), null]);
    }
    for (const url of [
      "https://169.254.169.254/agent.json",
      "http://agent.example/agent.json",
      "https://localhost/a",
    ]) {
      expect([url, ...(await refusalOf(url))]).toEqual([url, 400, null]);
    }
    const form = { grant_type: "refresh_token", refresh_token: "x", client_id: "https://127.0.0.1/agent.json" };
    expect((await postForm(`${app.url}/oauth2/token`, form)).status).toBe(401);
    expect(host.connections()).toBe(before);
  });
});
