import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { LANGUAGES } from "../../src/config/languages.ts";
import { resetFactors } from "../../src/factors/factors.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { giveApp } from "../support/factors.ts";
import { hiddenFields, type TestBrowser, unescapeHtml } from "../support/flow.ts";
import { addPasskey, newPasskeyOwner, signUpWithPasskey } from "../support/passkeys.ts";

const path = "/account/security";
const namePath = `${path}/passkeys/name`;
const f = FACTOR_MESSAGES.en;

let app: TestApp;
let bases: [string, string];
beforeAll(async () => {
  app = await startApp();
  bases = [app.url, app.url];
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const pageOf = async (browser: TestBrowser, query = "") =>
  unescapeHtml(await (await browser.get(app.url + path + query)).text());
/** The forms beside the passkeys, in the page's order. */
async function nameForms(browser: TestBrowser): Promise<Record<string, string>[]> {
  const html = await (await browser.get(app.url + path)).text();
  return [...html.matchAll(/passkeys\/name">([\s\S]*?)<\/form>/g)].map(([, form = ""]) => hiddenFields(form));
}
const namesOf = async (uuid: string) => (await app.context.store.factors.find(uuid)).passkeys.map(({ name }) => name);

describe("a passkey's name", () => {
  it("is changed beside it, however long ago its owner signed in, and the page says so", async () => {
    const { account, browser } = await newPasskeyOwner(bases, new Authenticator(app.url));
    await addPasskey(bases, browser, new Authenticator(app.url), { name: "Key ring" });
    app.clock.shift += 3_600_000;
    const [, second] = await nameForms(browser);
    const answer = await browser.post(app.url + namePath, { ...second, name: "  Blue <b>key</b> " });
    expect([answer.status, answer.headers.get("location")]).toEqual([303, `${path}?done=passkeyRenamed`]);
    const page = await pageOf(browser, "?done=passkeyRenamed");
    expect(page).toContain(f.passkeyRenamed);
    expect(page).toContain("<bdi>Blue <b>key</b></bdi>");
    expect(await namesOf(account.uuid)).toEqual(["Phone", "Blue <b>key</b>"]);
    // the page of the form is gone: its address leads to the page that has it
    expect((await browser.get(app.url + namePath)).headers.get("location")).toBe(path);
  });

  it.each(["", " ", "\u3164", "a\u202eb", "x".repeat(51)])(
    "is never %j: what was typed stays, with what is wrong",
    async (name) => {
      const { account, browser } = await newPasskeyOwner(bases, new Authenticator(app.url));
      await addPasskey(bases, browser, new Authenticator(app.url), { name: "Key ring" });
      const [first] = await nameForms(browser);
      const answer = await browser.post(app.url + namePath, { ...first, name });
      const html = await answer.text();
      expect(answer.status).toBe(400);
      expect(html.match(/<details open>/g)).toHaveLength(1);
      expect(html).toContain(f.passkeyNameWrong);
      if (name !== "") expect(html).toContain(`value="${name}"`);
      expect(await namesOf(account.uuid)).toEqual(["Phone", "Key ring"]);
    },
  );

  it("is changed by the form of this passkey and this account alone", async () => {
    const { account, browser } = await newPasskeyOwner(bases, new Authenticator(app.url));
    await addPasskey(bases, browser, new Authenticator(app.url), { name: "Key ring" });
    const other = await newPasskeyOwner(bases, new Authenticator(app.url));
    const [first = {}, second = {}] = await nameForms(browser);
    const [foreign = {}] = await nameForms(other.browser);
    const swapped = { ...first, passkey: second["passkey"] ?? "", name: "Mine" };
    expect((await browser.post(app.url + namePath, swapped)).status).toBe(403);
    expect((await other.browser.post(app.url + namePath, { ...first, name: "Mine" })).status).toBe(403);
    expect((await browser.post(app.url + namePath, { ...foreign, name: "Mine" })).status).toBe(403);
    expect(await namesOf(account.uuid)).toEqual(["Phone", "Key ring"]);
    expect(await namesOf(other.account.uuid)).toEqual(["Phone"]);
  });

  it("of a passkey that was removed meanwhile is not changed, which the page says", async () => {
    const { account, browser } = await newPasskeyOwner(bases, new Authenticator(app.url));
    const [form = {}] = await nameForms(browser);
    await resetFactors(app.context, account.uuid);
    const to = (await browser.post(app.url + namePath, { ...form, name: "Late" })).headers.get("location") ?? "";
    expect(await pageOf(browser, to.slice(path.length))).toContain(f.factorGone);
  });
});

describe("an account without a password", () => {
  it.each([...LANGUAGES])(
    "reads in %s what is true for it: no code follows a password that there is not",
    async (language) => {
      const texts = FACTOR_MESSAGES[language];
      const passwordless = await signUpWithPasskey(bases, new Authenticator(app.url));
      const { browser } = await newPasskeyOwner(bases, new Authenticator(app.url));
      for (const each of [browser, passwordless.browser]) Object.assign(each.headers, { "accept-language": language });
      const [own, other] = [await pageOf(passwordless.browser), await pageOf(browser)];
      expect([own.includes(texts.totpNoneNoPassword), own.includes(texts.codesNoneNoPassword)]).toEqual([true, true]);
      expect([own.includes(texts.totpNone), own.includes(texts.codesNone)]).toEqual([false, false]);
      expect([other.includes(texts.totpNone), other.includes(texts.codesNone)]).toEqual([true, true]);
      expect([other.includes(texts.totpNoneNoPassword), other.includes(texts.codesNoneNoPassword)]).toEqual([
        false,
        false,
      ]);
    },
  );

  it("is told what its codes are for, what its app's removal changes, and how it gets a password", async () => {
    const { email, browser } = await signUpWithPasskey(bases, new Authenticator(app.url));
    const uuid = (await app.context.store.users.findByEmail(email))?.uuid ?? "";
    await giveApp(app, uuid);
    const codes =
      /recovery-codes">([\s\S]*?)<\/form>/.exec(await (await browser.get(app.url + path)).text())?.[1] ?? "";
    await browser.post(`${app.url}${path}/recovery-codes`, hiddenFields(codes));
    expect(await pageOf(browser)).toContain(f.codesUseNoPassword);
    const removal = unescapeHtml(await (await browser.get(`${app.url}${path}/totp/remove`)).text());
    expect(removal).toContain(f.removeTotpTextNoPassword);
    expect(removal).not.toContain(f.removeTotpText);
    const kept = await pageOf(browser, "?refused=passkeyKept");
    expect(kept).toContain(f.passkeyKept);
    expect(kept).toContain('href="/password-reset"');
  });
});
