import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import * as client from "openid-client";
import { AuthError } from "../../../src/errors.ts";
import { withdrawConsent } from "../../../src/oauth/authorization/consents.ts";
import { addClient, disableClient, removeClient } from "../../../src/oauth/clients/clients.ts";
import type { OAuthContext } from "../../../src/oauth/context.ts";
import { setUserDisabled } from "../../../src/users/users.ts";
import { type Deployment, onSqlite, waitForEvent } from "../../support/deployment.ts";
import {
  type Account,
  acceptedUntil,
  claimsOf,
  hiddenFields,
  introspectSettled,
  postForm,
  refresh,
  signUp,
  TestBrowser,
  unescapeHtml,
} from "../../support/flow.ts";

const grant = "urn:ietf:params:oauth:grant-type:device_code";
const scope = "openid profile email read";
const clients = [
  { client_id: "tv", client_name: "TV <b>&</b> Co", grant_types: [grant, "refresh_token"], scope },
  {
    client_id: "radio",
    grant_types: [grant],
    scope: "openid",
    first_party: true,
    resources: ["https://radio.example"],
  },
  { client_id: "printer", client_secret: "printer-secret", grant_types: [grant], scope: "read auth.introspect" },
];

interface Started {
  device_code: string;
  user_code: string;
  verification_uri: string;
  verification_uri_complete: string;
  expires_in: number;
  interval: number;
}

describe("the device authorization grant", () => {
  let d: Deployment;
  beforeAll(async () => {
    d = await onSqlite({}, clients);
  });
  afterAll(() => d.close());

  function context(): OAuthContext {
    const [app] = d.apps;
    if (app === undefined) throw new Error("nothing runs");
    return app.context;
  }
  const ask = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    postForm(`${d.url}/oauth2/device_authorization`, form, headers);
  const start = async (form: Record<string, string> = {}) =>
    (await (await ask({ client_id: "tv", ...form })).json()) as Started;
  const poll = (code: string, clientId = "tv") =>
    postForm(`${d.url}/oauth2/token`, { grant_type: grant, device_code: code, client_id: clientId });
  const errorOf = async (answering: Promise<Response>) => {
    const response = await answering;
    return [response.status, ((await response.json()) as { error: string }).error];
  };

  async function signedIn(account?: Account): Promise<TestBrowser> {
    const { email, password } = account ?? (await signUp(d.url));
    const browser = new TestBrowser({ "user-agent": "a browser" });
    await browser.submit(`${d.url}/login`, { email, password });
    return browser;
  }
  /** Types a code in, as far as the confirmation page. */
  const type = (browser: TestBrowser, code: string) => browser.submit(`${d.url}/device`, { user_code: code });
  async function decide(browser: TestBrowser, code: string, decision: "allow" | "deny"): Promise<Response> {
    const page = await (await type(browser, code)).text();
    return browser.post(`${d.url}/device/decision`, { ...hiddenFields(page), decision });
  }
  async function approved(account: Account): Promise<Started & { browser: TestBrowser }> {
    const started = await start();
    const browser = await signedIn(account);
    expect((await decide(browser, started.user_code, "allow")).status).toBe(200);
    return { ...started, browser };
  }
  async function withShift<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
    d.shift(milliseconds);
    try {
      return await work();
    } finally {
      d.shift(0);
    }
  }

  it("S-147 answers a device with two codes, where to type one in, and how often to ask (RFC 8628 3.2)", async () => {
    const response = await ask({ client_id: "tv", scope: "openid read" });
    expect(response.status).toBe(200);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const started = (await response.json()) as Started;
    expect(started).toMatchObject({ verification_uri: `${d.url}/device`, expires_in: 600, interval: 5 });
    expect(started.device_code).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(started.user_code).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
    expect(started.verification_uri_complete).toBe(`${d.url}/device?user_code=${started.user_code}`);
    for (const path of ["openid-configuration", "oauth-authorization-server"]) {
      const metadata = (await (await fetch(`${d.url}/.well-known/${path}`)).json()) as Record<string, unknown>;
      expect(metadata["device_authorization_endpoint"]).toBe(`${d.url}/oauth2/device_authorization`);
      expect(metadata["grant_types_supported"]).toContain(grant);
    }
  });

  it("S-147 refuses clients without the grant, and scopes that the client may not have", async () => {
    expect(await errorOf(ask({ client_id: "portal-client" }))).toEqual([400, "unauthorized_client"]);
    expect(await errorOf(ask({ client_id: "nobody" }))).toEqual([401, "invalid_client"]);
    expect(await errorOf(ask({ client_id: "printer" }))).toEqual([401, "invalid_client"]);
    expect(await errorOf(ask({ client_id: "tv", scope: "write" }))).toEqual([400, "invalid_scope"]);
    expect(await errorOf(ask({ client_id: "tv", resource: "https://radio.example" }))).toEqual([400, "invalid_target"]);
    const printer = { authorization: `Basic ${Buffer.from("printer:printer-secret").toString("base64")}` };
    expect(await errorOf(ask({ scope: "auth.introspect" }, printer))).toEqual([400, "invalid_scope"]);
    expect((await ask({}, printer)).status).toBe(200);
    expect((await fetch(`${d.url}/oauth2/device_authorization`)).status).toBe(405);
  });

  it("S-147 issues tokens after the user allowed it, once, and writes the login event", async () => {
    const account = await signUp(d.url);
    const { device_code: code, user_code: userCode } = await start();
    expect(await errorOf(poll(code))).toEqual([400, "authorization_pending"]);
    const done = await decide(await signedIn(account), userCode, "allow");
    expect(await done.text()).toContain("Your device is connected");
    const response = await poll(code);
    expect(response.status).toBe(200);
    const tokens = (await response.json()) as Record<string, string>;
    expect(tokens).toMatchObject({ token_type: "Bearer", expires_in: 120, scope });
    const access = tokens["access_token"] ?? "";
    expect(claimsOf(access)).toMatchObject({ sub: account.uuid, client_id: "tv", aud: "tv" });
    expect(claimsOf(tokens["id_token"] ?? "")).toMatchObject({ sub: account.uuid, aud: "tv" });
    expect((await introspectSettled(d.url, access))["active"]).toBe(true);
    expect((await refresh(d.url, tokens["refresh_token"] ?? "", { client_id: "tv" })).status).toBe(200);
    await waitForEvent(d, ({ topic, key }) => topic === "user-login" && key === account.uuid);
    expect(await errorOf(poll(code))).toEqual([400, "invalid_grant"]);
  });

  it("S-147 gives one of ten redemptions at once", async () => {
    const { device_code: code } = await approved(await signUp(d.url));
    const answers = await Promise.all(Array.from({ length: 10 }, () => poll(code)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array.from({ length: 9 }, () => 400)]);
  });

  it("S-147 tells a device that polls too fast to slow down, by five more seconds each time", async () => {
    const { device_code: code } = await start();
    expect(await errorOf(poll(code))).toEqual([400, "authorization_pending"]);
    expect(await errorOf(poll(code))).toEqual([400, "slow_down"]);
    // 10 seconds from there on, less the second that a poll may be early
    expect(await withShift(6_000, () => errorOf(poll(code)))).toEqual([400, "slow_down"]);
    expect(await withShift(6_000 + 13_000, () => errorOf(poll(code)))).toEqual([400, "slow_down"]);
    expect(await withShift(6_000 + 13_000 + 21_000, () => errorOf(poll(code)))).toEqual([400, "authorization_pending"]);
  });

  it("C-57 takes polls that come exactly as often as the device was told, though some arrive a little early", async () => {
    const { device_code: code } = await start();
    let shift = 0;
    for (const sinceLast of [5_000, 5_000, 4_200, 5_400, 4_900]) {
      shift += sinceLast;
      expect([shift, await withShift(shift, () => errorOf(poll(code)))]).toEqual([
        shift,
        [400, "authorization_pending"],
      ]);
    }
  });

  it("S-147 tells a device that its user did not allow it, and that its code expired", async () => {
    const denied = await start();
    const page = await decide(await signedIn(), denied.user_code, "deny");
    expect(await page.text()).toContain("The device was not connected");
    expect(await errorOf(poll(denied.device_code))).toEqual([400, "access_denied"]);
    const late = await start();
    expect(await withShift(601_000, () => errorOf(poll(late.device_code)))).toEqual([400, "expired_token"]);
    const opener = await signedIn();
    expect((await withShift(601_000, () => type(opener, late.user_code))).status).toBe(400);
  });

  it("S-147 gives a code to the client that asked for it alone", async () => {
    const { device_code: code } = await approved(await signUp(d.url));
    expect(await errorOf(poll(code, "radio"))).toEqual([400, "invalid_grant"]);
    expect(await errorOf(poll("x".repeat(43)))).toEqual([400, "invalid_grant"]);
    expect(await errorOf(poll(""))).toEqual([400, "invalid_request"]);
    expect((await poll(code)).status).toBe(200);
  });

  it("S-147 an account that typed in ten wrong codes has to wait, whatever code comes next", async () => {
    const account = await signUp(d.url);
    const [browser, other] = [await signedIn(account), await signedIn(account)];
    const { user_code: right } = await start();
    expect((await type(browser, right)).status).toBe(200);
    for (let n = 0; n < 10; n++) {
      const page = await type(n % 2 === 0 ? browser : other, "BCDF-GHJK");
      expect(page.status).toBe(400);
      expect(await page.text()).toContain("There is no such code");
    }
    const closed = await type(browser, right);
    expect(closed.status).toBe(429);
    expect(Number(closed.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await closed.text()).toContain("too many attempts");
    expect((await type(await signedIn(), (await start()).user_code)).status).toBe(200);
  });

  it("S-147 counts no code that could not be looked up", async () => {
    const browser = await signedIn();
    const { user_code: right } = await start();
    const away = jest
      .spyOn(context().store.deviceCodes, "open")
      .mockRejectedValue(new AuthError("unavailable", "away"));
    for (let press = 0; press < 12; press++) expect((await type(browser, right)).status).toBe(503);
    away.mockRestore();
    expect((await type(browser, right)).status).toBe(200);
  });

  it("S-147 takes a code as people type it, and nothing else", async () => {
    const browser = await signedIn();
    const { user_code: code } = await start();
    // as a Japanese keyboard types it
    const wide = [...code].map((each) => String.fromCodePoint((each.codePointAt(0) ?? 0) + 0xfee0)).join("");
    const spaced = ` ${code.replace("-", " ")} `;
    for (const typed of [code.toLowerCase(), code.replace("-", ""), spaced, wide, code.replace("-", "ー")]) {
      const page = await type(browser, typed);
      expect(page.status).toBe(200);
      expect(await page.text()).toContain(code);
    }
    for (const typed of ["", "AEIO-UAEI", `${code}B`, "<script>", "B".repeat(5_000)]) {
      const page = await type(browser, typed);
      expect(page.status).toBe(400);
      expect(await page.text()).not.toContain("<script>");
    }
  });

  it("S-148 shows client and scopes before the decision, and warns of codes that others sent", async () => {
    const browser = await signedIn();
    const { user_code: code, device_code: device, verification_uri_complete: complete } = await start();
    const form = await (await browser.get(complete)).text();
    expect(form).toContain(`value="${code}"`);
    expect(await errorOf(poll(device))).toEqual([400, "authorization_pending"]);
    const page = await (await browser.submit(complete, { user_code: code })).text();
    for (const text of ["TV &lt;b&gt;&amp;&lt;/b&gt; Co", code, "read your data", "127.0.0.1", "If someone sent you"]) {
      expect(page).toContain(text);
    }
    // opening it decided nothing
    expect(await withShift(6_000, () => errorOf(poll(device)))).toEqual([400, "authorization_pending"]);
  });

  it("keeps its code for another language", async () => {
    const browser = await signedIn();
    const { user_code: code, device_code: device } = await start();
    const page = await (await type(browser, code)).text();
    const linkOf = (pattern: RegExp) =>
      new URL((pattern.exec(page)?.[1] ?? "").replaceAll("&amp;", "&"), `${d.url}/device/x`).href;
    const german = linkOf(/href="([^"]*language=de)"/);
    expect(await (await browser.get(new URL(new URL(german).search, `${d.url}/device`).href)).text()).toContain(
      `value="${code}"`,
    );
    expect(await errorOf(poll(device))).toEqual([400, "authorization_pending"]);
  });

  it("S-148 answers 403 to a session that decides about a code another one opened", async () => {
    const account = await signUp(d.url);
    const { user_code: code, device_code: device } = await start();
    const owner = await signedIn(account);
    const page = await (await type(owner, code)).text();
    for (const browser of [await signedIn(), await signedIn(account)]) {
      const opened = await type(browser, code);
      expect(opened.status).toBe(403);
      expect(await opened.text()).not.toContain("TV ");
      // its own form, made for a code of its own, does not decide about this one; nor does the owner's form
      const own = hiddenFields(await (await type(browser, (await start()).user_code)).text());
      for (const fields of [{ ...own, user_code: code }, hiddenFields(page)]) {
        expect((await browser.post(`${d.url}/device/decision`, { ...fields, decision: "allow" })).status).toBe(403);
      }
    }
    expect(await errorOf(poll(device))).toEqual([400, "authorization_pending"]);
    const allowed = await owner.post(`${d.url}/device/decision`, { ...hiddenFields(page), decision: "allow" });
    expect(allowed.status).toBe(200);
    expect((await withShift(6_000, () => poll(device))).status).toBe(200);
  });

  it("lets another account decide in the place of the one that had opened the code, and no other browser", async () => {
    const [first, second] = [await signUp(d.url), await signUp(d.url)];
    const { user_code: code, device_code: device } = await start();
    const browser = await signedIn(first);
    const old = browser.cookies.get("auth_session") ?? "";
    const page = await (await type(browser, code)).text();
    const other = unescapeHtml(/href="([^"]*account=other[^"]*)"/.exec(page)?.[1] ?? "");
    expect((await type(await signedIn(), code)).status).toBe(403);
    const after = await browser.submit(d.url + other, { email: second.email, password: second.password });
    const back = `${d.url}${after.headers.get("location")}`;
    expect(await (await browser.get(back)).text()).toContain(`value="${code}"`);
    const confirm = await (await browser.submit(back, { user_code: code })).text();
    expect([unescapeHtml(confirm).includes(second.email), confirm.includes(code)]).toEqual([true, true]);
    // the first one's form, in a tab that stayed open, decides no more
    const stale = new TestBrowser();
    stale.cookies.set("auth_session", old);
    const late = await stale.post(`${d.url}/device/decision`, { ...hiddenFields(page), decision: "deny" });
    expect(late.status).toBe(403);
    const allowed = await browser.post(`${d.url}/device/decision`, { ...hiddenFields(confirm), decision: "allow" });
    expect(allowed.status).toBe(200);
    const { access_token: token } = (await (await poll(device)).json()) as { access_token: string };
    expect(await introspectSettled(d.url, token)).toMatchObject({ active: true, sub: second.uuid });
  });

  it("S-043 comes back to the device page after a login, with the code, and to nowhere else", async () => {
    const { verification_uri_complete: complete, user_code: code } = await start();
    const account = await signUp(d.url);
    const browser = new TestBrowser();
    const first = await browser.get(
      `${complete}&continue=https%3A%2F%2Fevil.example&request=https%3A%2F%2Fevil.example`,
    );
    const login = first.headers.get("location") ?? "";
    expect(login).toMatch(/^\/login\?request=v1\.[\w-]+$/);
    const after = await browser.submit(`${d.url}${login}`, { email: account.email, password: account.password });
    const back = after.headers.get("location") ?? "";
    expect(back).toMatch(/^\/device\?request=v1\.[\w-]+$/);
    expect(await (await browser.get(`${d.url}${back}`)).text()).toContain(`value="${code}"`);
    // a request of a client is no device page, whatever it is called
    expect((await browser.get(`${d.url}/consent${back.slice("/device".length)}`)).status).toBe(403);
  });

  it.each([
    [
      "the session is logged out",
      ({ browser }: { browser: TestBrowser }) => browser.submit(`${d.url}/connect/logout`, {}),
    ],
    [
      "the user is disabled",
      ({ account }: { account: { uuid: string } }) => setUserDisabled(context(), account.uuid, true),
    ],
    [
      "the consent is withdrawn",
      ({ account }: { account: { uuid: string } }) => withdrawConsent(context(), account.uuid, "tv"),
    ],
  ] as const)("S-147 an allowed code and its tokens end when %s", async (_name, cause) => {
    const account = await signUp(d.url);
    const waiting = await approved(account);
    const used = await start();
    await decide(waiting.browser, used.user_code, "allow");
    const { access_token: access } = (await (await poll(used.device_code)).json()) as { access_token: string };
    expect((await introspectSettled(d.url, access))["active"]).toBe(true);
    await cause({ browser: waiting.browser, account });
    expect(await errorOf(poll(waiting.device_code))).toEqual([400, "access_denied"]);
    expect((await introspectSettled(d.url, access))["active"]).toBe(false);
  });

  it("draws a QR code of any well-formed code, looked up nowhere, and of nothing else", async () => {
    const response = await fetch(`${d.url}/device/qr.svg?user_code=BCDF-GHJK`);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/^image\/svg\+xml/);
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    const svg = await response.text();
    expect(svg).toMatch(/^<svg /);
    expect(svg).not.toMatch(/<script|on\w+=/);
    for (const wrong of ["", "AEIO-UAEI", "BCDF-GHJKL", "https://evil.example"]) {
      const refused = await fetch(`${d.url}/device/qr.svg?user_code=${encodeURIComponent(wrong)}`);
      expect(refused.status).toBe(400);
    }
  });

  it("openid-client signs a device in", async () => {
    const account = await signUp(d.url);
    const config = await client.discovery(new URL(d.url), "radio", undefined, client.None(), {
      execute: [client.allowInsecureRequests],
    });
    const response = await client.initiateDeviceAuthorization(config, {
      scope: "openid",
      resource: "https://radio.example",
    });
    await decide(await signedIn(account), response.user_code, "allow");
    const tokens = await client.pollDeviceAuthorizationGrant(config, { ...response, interval: 0.1 });
    expect(tokens.claims()?.sub).toBe(account.uuid);
    expect(tokens.refresh_token).toBeUndefined();
    expect(claimsOf(tokens.access_token)["aud"]).toEqual([
      "https://radio.example",
      expect.stringMatching(/\/userinfo$/),
    ]);
  });

  it("S-147 ends with its client", async () => {
    const started = (await (await ask({ client_id: "printer", client_secret: "x" })).json()) as { error?: string };
    expect(started.error).toBe("invalid_client");
    const { device_code: code } = await start({ client_id: "radio" });
    await disableClient(context(), "radio");
    expect(await errorOf(poll(code, "radio"))).toEqual([401, "invalid_client"]);
  });

  it("C-84 is over once its client was removed, also where another one has its id by now", async () => {
    const tv = await context().store.clients.find("tv");
    if (tv === null) throw new Error("no client tv");
    const add = () => addClient(context(), { clientId: "set", metadata: tv.metadata, clientSecret: null });
    await add();
    const { user_code: code } = await start({ client_id: "set" });
    const account = await signUp(d.url);
    const browser = await signedIn(account);
    await removeClient(context(), "set");
    await acceptedUntil(async () => (await context().clients.find("set")) !== null, 1_000);
    await add();
    const typed = await type(browser, code);
    expect([typed.status, (await typed.text()).includes('name="decision"')]).toEqual([400, false]);
  });
});
