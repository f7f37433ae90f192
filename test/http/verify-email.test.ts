import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  hiddenFields,
  postForm,
  postJson,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { eventsOf, until } from "../support/resets.ts";

const [t, a] = [MESSAGES.en, ACCOUNT_MESSAGES.en.verify];
const client = { clientId: "strict", redirectUri: "https://strict.example/cb", scope: "openid" };

let app: TestApp;
beforeAll(async () => {
  const strict = { client_id: "strict", client_name: "Strict Bank", redirect_uris: [client.redirectUri] };
  const tv = { client_id: "strict-tv", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"] };
  const demanding = { scope: "openid", first_party: true, require_verified_email: true };
  app = await startApp({}, [
    { ...strict, ...demanding },
    { ...tv, ...demanding },
  ]);
});
afterAll(() => app.close());

const linksTo = (email: string) =>
  eventsOf(app)
    .filter(({ topic, event }) => topic === "user-email-verification" && event.payload["email"] === email)
    .map(({ event }) => event.payload["verificationUrl"] ?? "");
const linkTo = ({ email }: { email: string }, index = 0) => until(() => linksTo(email)[index]);
const textOf = async (answer: Response) => [answer.status, await answer.text()] as const;
const locationOf = (answer: Response) => new URL(answer.headers.get("location") ?? "", app.url);
const confirm = async (browser: TestBrowser, link: string) =>
  browser.post(`${app.url}/verify-email`, hiddenFields(await (await browser.get(link)).text()));
const typed = ({ email, password }: Account) => ({ email, password });

describe("the page of a verification link", () => {
  it("asks for a press, so that a program that opens it uses nothing up", async () => {
    const account = await signUp(app.url);
    const link = await linkTo(account);
    for (let n = 0; n < 3; n++) {
      const scanner = await fetch(link, { method: n === 0 ? "HEAD" : "GET" });
      expect(scanner.status).toBe(200);
    }
    const browser = new TestBrowser();
    const [status, page] = await textOf(await browser.get(link));
    expect([status, page.includes(a.title), page.includes(account.email)]).toEqual([200, true, true]);
    const pressed = await Promise.all([confirm(browser, link), confirm(browser, link)]);
    for (const answer of pressed) expect(await textOf(answer)).toEqual([200, expect.stringContaining(a.doneTitle)]);
    expect(await textOf(await browser.get(link))).toEqual([200, expect.stringContaining(a.doneTitle)]);
  });

  it("says what became of a link that is replaced, unknown, or for an address that another account has by now", async () => {
    const account = await signUp(app.url);
    const old = await linkTo(account);
    await postJson(`${app.url}/api/users/email-verification`, { email: account.email });
    await linkTo(account, 1);
    const browser = new TestBrowser();
    expect(await textOf(await browser.get(old))).toEqual([400, expect.stringContaining(a.bad.replaced)]);
    const unknown = `${app.url}/verify-email?token=${"x".repeat(43)}`;
    expect(await textOf(await browser.get(unknown))).toEqual([400, expect.stringContaining(a.bad.unknown)]);
    expect((await textOf(await browser.get(`${app.url}/verify-email?token=`)))[0]).toBeLessThan(500);
  });

  it("sends another link, and says the same for an address without an account", async () => {
    const account = await signUp(app.url);
    const pages: string[] = [];
    for (const email of [account.email, uniqueEmail()]) {
      const answer = await new TestBrowser().submit(`${app.url}/verify-email`, { email });
      const [status, page] = await textOf(answer);
      expect(status).toBe(200);
      pages.push(page.replaceAll(email, "EMAIL").replace(/value="[^"]{20,}"/g, ""));
    }
    expect(pages[0]).toBe(pages[1]);
    await linkTo(account, 1);
  });
});

describe("a client that wants a verified address", () => {
  it("gets its code once the address is verified: the page leads back to it by name", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const login = locationOf(await browser.get(authorizeUrl(app.url, client)));
    const step = await browser.submit(login.href, typed(account));
    const waiting = locationOf(step);
    expect(waiting.pathname).toBe("/verify-email");
    const [, page] = await textOf(await browser.get(waiting.href));
    expect(page).toContain(a.needed("Strict Bank"));
    expect(page).toContain(t.continueTo("Strict Bank"));
    // too early: back to the same page
    const early = await browser.get(`${app.url}/login?request=${waiting.searchParams.get("request")}`);
    expect(locationOf(early).pathname).toBe("/verify-email");
    const silent = await browser.get(authorizeUrl(app.url, { ...client, extra: { prompt: "none" } }));
    expect(locationOf(silent).searchParams.get("error")).toBe("interaction_required");

    const [, done] = await textOf(await confirm(browser, await linkTo(account)));
    expect(done).toContain(t.continueTo("Strict Bank"));
    const back = await browser.get(waiting.href);
    const answer = await browser.get(locationOf(back).href);
    expect(locationOf(answer).href).toMatch(/^https:\/\/strict\.example\/cb\?code=/);
  });

  it("says that nothing was confirmed yet to who goes on, and has a way to another account and one back", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const login = locationOf(await browser.get(authorizeUrl(app.url, client)));
    const waiting = locationOf(await browser.submit(login.href, typed(account)));
    const [, page] = await textOf(await browser.get(waiting.href));
    expect(page).not.toContain(a.stillOpen);
    const href = (text: string) => {
      const [, found = ""] = new RegExp(`href="([^"]+)"[^>]*>${text}<`).exec(page) ?? [];
      return new URL(found.replaceAll("&amp;", "&"), app.url).href;
    };
    const [, again] = await textOf(await browser.get(href(t.continueTo("Strict Bank"))));
    expect(again).toContain(a.stillOpen);
    const other = await signUp(app.url);
    const next = await browser.submit(href(t.notYou.replace("?", "\\?")), typed(other));
    expect(locationOf(next).pathname).toBe("/verify-email");
    expect((await textOf(await browser.get(locationOf(next).href)))[1]).toContain(other.email);
    const back = locationOf(await browser.get(href(t.cancelTo("Strict Bank"))));
    expect([back.origin, back.searchParams.get("error")]).toEqual(["https://strict.example", "access_denied"]);
  });

  it("keeps the code of a device whose client wants it, and comes back to the device page with it", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, typed(account));
    const asked = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "strict-tv" });
    const { user_code: code } = (await asked.json()) as { user_code: string };
    const shown = await (await browser.submit(`${app.url}/device`, { user_code: code })).text();
    const allow = { ...hiddenFields(shown), decision: "allow" };
    const waiting = locationOf(await browser.post(`${app.url}/device/decision`, allow));
    expect(waiting.pathname).toBe("/verify-email");
    const [, page] = await textOf(await browser.get(waiting.href));
    expect([page.includes(account.email), page.includes(t.continue)]).toEqual([true, true]);
    const [, done] = await textOf(await confirm(browser, await linkTo(account)));
    const href = new RegExp(`href="([^"]+)">${t.continue}<`).exec(done)?.[1] ?? "";
    const device = locationOf(await browser.get(new URL(href.replaceAll("&amp;", "&"), app.url).href));
    expect(device.pathname).toBe("/device");
    expect(await (await browser.get(device.href)).text()).toContain(`value="${code}"`);
    expect((await browser.post(`${app.url}/device/decision`, allow)).status).toBe(200);
  });

  it("leaves other clients alone", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const login = locationOf(await browser.get(authorizeUrl(app.url)));
    const step = await browser.submit(login.href, typed(account));
    expect(locationOf(step).searchParams.get("code")).not.toBeNull();
  });
});
