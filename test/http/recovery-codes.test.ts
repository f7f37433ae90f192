import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { LANGUAGES } from "../../src/config/languages.ts";
import { UNKNOWN_ASKER } from "../../src/events.ts";
import { removeTotp } from "../../src/factors/factors.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { codeOf, confirmAgain, firstStep, giveApp } from "../support/factors.ts";
import { type Account, hiddenFields, signUp, type TestBrowser } from "../support/flow.ts";
import { eventsOf, until } from "../support/resets.ts";

const path = "/account/security/recovery-codes";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

/** A browser that just signed in with an app. */
async function withApp() {
  const account = await signUp(app.url);
  const secret = await giveApp(app, account.uuid);
  const { browser, form } = await firstStep(app.url, account);
  await browser.post(`${app.url}/login/second-factor`, { ...form, code: codeOf(secret, app.clock.now()) });
  return { account, browser, secret };
}

/** The form of the security page. */
async function openForm(browser: TestBrowser): Promise<Record<string, string>> {
  const html = await (await browser.get(`${app.url}/account/security`)).text();
  return formIn(html);
}

function formIn(html: string): Record<string, string> {
  return hiddenFields(/action="[^"]+recovery-codes">([\s\S]*?)<\/form>/.exec(html)?.[1] ?? "");
}

async function press(browser: TestBrowser, form: Record<string, string>) {
  const answer = await browser.post(app.url + path, form);
  const html = await answer.text();
  return { answer, html, codes: [...html.matchAll(/<code>([a-z2-9-]+)<\/code>/g)].map(([, code = ""]) => code) };
}

async function opens(account: Account, code: string): Promise<boolean> {
  const { browser, form } = await firstStep(app.url, account);
  return (await browser.post(`${app.url}/login/second-factor`, { ...form, code })).status === 303;
}

const told = (account: { uuid: string }) =>
  eventsOf(app)
    .filter(({ topic, key }) => topic === "user-security" && key === account.uuid)
    .map(({ event }) => event.payload["kind"]);

describe("recovery codes", () => {
  it("are the same ten where the button is pressed twice, at once or again, and the owner is told once", async () => {
    const { account, browser } = await withApp();
    const form = await openForm(browser);
    const [first, second] = await Promise.all([press(browser, form), press(browser, form)]);
    app.clock.shift += 50_000;
    const third = await press(browser, form);
    expect(new Set(first.codes).size).toBe(10);
    expect(second.codes).toEqual(first.codes);
    expect(third.codes).toEqual(first.codes);
    expect(await opens(account, first.codes[0] ?? "")).toBe(true);
    // a code that was used since is still one of the list
    expect((await press(browser, form)).codes).toEqual(first.codes);
    await until(() => told(account).includes("RECOVERY_CODE_USED") || undefined);
    expect(told(account).filter((kind) => kind === "RECOVERY_CODES_MADE")).toHaveLength(1);
  });

  it("are shown once: a form that is sent later, or after another one, replaces none and says so", async () => {
    const { account, browser } = await withApp();
    const form = await openForm(browser);
    const { codes } = await press(browser, form);
    app.clock.shift += 61_000;
    const later = await press(browser, form);
    expect([later.answer.status, later.codes]).toEqual([200, []]);
    expect(later.html).toContain(FACTOR_MESSAGES.en.codesShown);
    expect(await opens(account, codes[0] ?? "")).toBe(true);
    // the page has a way to make new ones
    const next = await press(browser, formIn(later.html));
    expect(next.codes).toHaveLength(10);
    expect(next.codes).not.toContain(codes[1]);
    expect((await press(browser, form)).codes).toEqual([]);
    expect([await opens(account, codes[1] ?? ""), await opens(account, next.codes[1] ?? "")]).toEqual([false, true]);
  });

  it("are replaced by who was told that they would be", async () => {
    const { browser } = await withApp();
    const page = async () => (await browser.get(`${app.url}/account/security`)).text();
    expect(await page()).not.toContain(FACTOR_MESSAGES.en.codesReplace);
    await press(browser, await openForm(browser));
    expect(await page()).toContain(FACTOR_MESSAGES.en.codesReplace);
  });

  it("are other ones for each form and each account, whatever its form is called", async () => {
    const [one, two] = [await withApp(), await withApp()];
    const form = await openForm(one.browser);
    const same = { ...(await openForm(two.browser)), form: form["form"] ?? "" };
    const lists = [await press(one.browser, form), await press(two.browser, same)];
    lists.push(await press(one.browser, await openForm(one.browser)));
    expect(new Set(lists.flatMap(({ codes }) => codes)).size).toBe(30);
  });

  it("are not made once the last factor is gone, which the page says, and their page can be loaded again", async () => {
    const { account, browser } = await withApp();
    const form = await openForm(browser);
    expect((await browser.get(app.url + path)).headers.get("location")).toBe("/account/security");
    await removeTotp(app.context, account.uuid, { asker: UNKNOWN_ASKER });
    const { answer } = await press(browser, form);
    const to = new URL(answer.headers.get("location") ?? "", app.url);
    expect(await (await browser.get(to.href)).text()).toContain(FACTOR_MESSAGES.en.factorGone);
  });

  it("are not made without a fresh sign-in", async () => {
    const { account, browser, secret } = await withApp();
    const form = await openForm(browser);
    app.clock.shift += 10 * 60_000;
    const { answer } = await press(browser, form);
    expect(answer.headers.get("location")).toBe("/account/security/confirm");
    expect(told(account)).not.toContain("RECOVERY_CODES_MADE");
    await confirmAgain(app.url, browser, { password: account.password, code: codeOf(secret, app.clock.now()) });
    expect((await press(browser, await openForm(browser))).codes).toHaveLength(10);
  });

  it.each([...LANGUAGES])("say in %s that they were shown", async (language) => {
    const { browser } = await withApp();
    Object.assign(browser.headers, { "accept-language": language });
    const form = await openForm(browser);
    await press(browser, form);
    app.clock.shift += 61_000;
    expect((await press(browser, form)).html).toContain(FACTOR_MESSAGES[language].codesShown);
  });
});
