import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type ClientServer, inBrowser, launchChromium, openProfile, startClientServer } from "../support/browser.ts";
import { codeOf } from "../support/factors.ts";
import { type Account, authorizeUrl, getTokens, postForm, signUp, uniqueEmail } from "../support/flow.ts";
import { Keyboard } from "../support/keyboard.ts";
import { eventsOf, until } from "../support/resets.ts";
import { signIn, type Visitor } from "../support/walk.ts";

const newPassword = "another horse battery";

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;
beforeAll(async () => {
  client = await startClientServer();
  app = await startApp({ LOG_LEVEL: "info" }, [
    {
      client_id: "album",
      client_name: "Photo Album",
      redirect_uris: [`${client.origin}/cb`],
      scope: "openid profile",
    },
    {
      client_id: "own",
      client_name: "Own",
      redirect_uris: [`${client.origin}/cb`],
      first_party: true,
      scope: "openid",
    },
    {
      client_id: "tv",
      client_name: "Big Screen",
      grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
      scope: "openid",
    },
  ]);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await app?.close();
  await client?.close();
});

interface Setting {
  readonly language: Language;
  readonly width: number;
  readonly scripts: "on" | "off";
}

/** Somebody at a keyboard, with an account. */
interface Person extends Visitor {
  readonly page: Page;
  readonly keys: Keyboard;
}

async function withPerson({ language, width, scripts }: Setting, work: (person: Person) => Promise<void>) {
  const profile = await openProfile(browser, {
    locale: language,
    viewport: { width, height: 800 },
    javaScriptEnabled: scripts === "on",
  });
  const { page, context } = profile;
  const keys = new Keyboard(page);
  try {
    await work({ page, context, keys, app, account: await signUp(app.url) });
    expect([profile.complaints, keys.problems]).toEqual([[], []]);
  } finally {
    await profile.close();
  }
}

const field = (page: Page, id: string) => page.locator(`#${id}`);
const link = (page: Page, name: string) => page.getByRole("link", { name, exact: true });
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const title = (page: Page, name: string) => page.getByRole("heading", { name, level: 1, exact: true }).waitFor();

async function answerOf(page: Page): Promise<URLSearchParams> {
  await page.waitForURL((url) => url.origin === client.origin);
  return new URL(page.url()).searchParams;
}

const settings: readonly Setting[] = [
  { language: "en", width: 1280, scripts: "on" },
  { language: "en", width: 1280, scripts: "off" },
  { language: "fr", width: 390, scripts: "on" },
  { language: "de", width: 390, scripts: "off" },
];

describe.each(settings)("by keyboard alone, in $language at $width px with scripts $scripts", (setting) => {
  const { language, scripts } = setting;
  const [t, a, f] = [MESSAGES[language], ACCOUNT_MESSAGES[language], FACTOR_MESSAGES[language]];
  const request = () =>
    authorizeUrl(app.url, { clientId: "album", redirectUri: `${client.origin}/cb`, scope: "openid profile" });
  const job = (name: string, work: (person: Person) => Promise<void>) =>
    inBrowser(name, () => withPerson(setting, work));

  /** From the login's page. */
  async function logIn({ page, keys }: Person, { email, password }: Pick<Account, "email" | "password">) {
    await title(page, t.signIn);
    await keys.type(field(page, "email"), email);
    await keys.type(field(page, "password"), password);
    await keys.press(button(page, t.signIn));
  }

  job("a new person signs up, confirms the address and signs out", async ({ page, keys }) => {
    const email = uniqueEmail();
    await page.goto(`${app.url}/login`);
    await keys.press(link(page, t.signUp));
    await title(page, t.signUpTitle);
    await keys.type(field(page, "email"), email);
    await keys.type(field(page, "password"), newPassword);
    await keys.type(field(page, "nickname"), "Zoë", "Shift+Tab");
    await keys.press(button(page, t.signUp), "Space");
    await title(page, t.homeSignedIn);
    const sent = () =>
      eventsOf(app).find(({ topic, event }) => topic === "user-email-verification" && event.payload["email"] === email);
    await page.goto((await until(sent)).event.payload["verificationUrl"] ?? "");
    await keys.press(button(page, a.verify.confirm), "Space");
    await title(page, a.verify.doneTitle);
    await keys.press(link(page, t.toHome));
    await title(page, t.homeSignedIn);
    await keys.press(link(page, t.signOut));
    await title(page, t.logoutTitle);
    await keys.press(button(page, t.signOut), "Space");
    await title(page, t.loggedOutTitle);
    await keys.press(link(page, t.signInAgain));
    await title(page, t.signIn);
  });

  job("a person mistypes the password, denies an application access, and allows it", async (person) => {
    const { page, keys, account } = person;
    await page.goto(request());
    await keys.to(field(page, "email"));
    const [reveal, passkey] = scripts === "on" ? [[t.showPassword], [f.passkeyUse]] : [[], []];
    const stops = await keys.rest();
    expect(stops.slice(0, 5 + reveal.length + passkey.length)).toEqual([
      t.password,
      ...reveal,
      t.signIn,
      ...passkey,
      t.forgot,
      t.signUp,
      t.cancelTo("Photo Album"),
    ]);
    await page.goto(request());
    await logIn(person, { email: account.email, password: "not the password" });
    await page.getByRole("alert").first().waitFor();
    expect(await field(page, "password").evaluate((input) => input === input.ownerDocument.activeElement)).toBe(true);
    await page.keyboard.type(account.password);
    if (scripts === "on") {
      await keys.press(button(page, t.showPassword), "Space");
      expect(await field(page, "password").inputValue()).toBe(account.password);
      expect(await field(page, "password").getAttribute("type")).toBe("text");
      await keys.to(field(page, "password"), "Shift+Tab");
    }
    await page.keyboard.press("Enter");
    await title(page, t.consentTitle);
    await keys.press(button(page, t.deny), "Space");
    expect((await answerOf(page)).get("error")).toBe("access_denied");
    await page.goto(request());
    await keys.press(button(page, t.allow));
    expect((await answerOf(page)).has("code")).toBe(true);
  });

  job("a person who forgot the password sets another", async (person) => {
    const { page, keys, account } = person;
    await page.goto(`${app.url}/login`);
    await keys.press(link(page, t.forgot));
    await title(page, t.resetTitle);
    await keys.type(field(page, "email"), account.email);
    await keys.press(button(page, t.resetSend));
    await title(page, t.resetSentTitle);
    const sent = () =>
      eventsOf(app).find(({ topic, event }) => topic === "password-reset" && event.payload["email"] === account.email);
    await page.goto((await until(sent)).event.payload["resetUrl"] ?? "");
    await keys.type(field(page, "password"), newPassword);
    await keys.press(button(page, t.resetSave), "Space");
    await title(page, t.resetDoneTitle);
    await keys.press(link(page, t.signIn));
    await logIn(person, { email: account.email, password: newPassword });
    await title(page, t.homeSignedIn);
  });

  job("a device is connected", async (person) => {
    const { page, keys, account } = person;
    const answer = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
    const { user_code: code } = (await answer.json()) as { user_code: string };
    await page.goto(`${app.url}/device`);
    await logIn(person, account);
    await title(page, t.deviceTitle);
    await keys.type(field(page, "user_code"), "BCDF-GHJK");
    await keys.press(button(page, t.continue));
    await field(page, "user_code-wrong").waitFor();
    await keys.type(field(page, "user_code"), code);
    await keys.press(button(page, t.continue), "Space");
    await title(page, t.deviceConfirmTitle);
    await keys.press(button(page, t.allow), "Space");
    await title(page, t.deviceAllowedTitle);
  });

  job("an authenticator app is set up and used, and so are recovery codes", async (person) => {
    const { page, keys, account, context } = person;
    // each code is of a step that was not used
    let later = 0;
    const nextCode = (secret: string) => codeOf(secret, app.clock.now() + 30_000 * later++);
    await signIn(person);
    await page.goto(`${app.url}/`);
    await keys.press(link(page, f.security));
    await title(page, f.securityTitle);
    await keys.press(link(page, f.totpAdd));
    await title(page, f.totpTitle);
    const secret = ((await page.locator("main code").textContent()) ?? "").replaceAll(" ", "");
    await keys.type(field(page, "code"), nextCode(secret));
    await keys.press(button(page, f.totpConfirm), "Space");
    await title(page, f.securityTitle);
    // the code that set the app up is as good as one of a sign-in
    await keys.press(button(page, f.codesMake), "Space");
    await title(page, f.codesTitle);
    const recovery = (await page.locator(".codes code").first().textContent()) ?? "";
    await keys.press(link(page, f.codesDone));
    await title(page, f.securityTitle);
    app.clock.shift += 11 * 60_000;
    await keys.press(link(page, f.removeOf(f.totp)));
    await title(page, f.confirmTitle);
    await keys.type(field(page, "password"), account.password);
    await keys.type(field(page, "code"), nextCode(secret));
    await keys.press(button(page, t.continue));
    await title(page, f.securityTitle);

    app.clock.shift += 90_000;
    for (const code of [codeOf(secret, app.clock.now()), recovery]) {
      await context.clearCookies();
      await page.goto(`${app.url}/login`);
      await logIn(person, account);
      await title(page, f.stepTitle);
      await keys.type(field(page, "code"), code);
      await keys.press(button(page, t.continue), "Space");
      await title(page, t.homeSignedIn);
    }
  });

  job("the profile, the address and the password are changed", async (person) => {
    const { page, keys, account } = person;
    await signIn(person);
    await page.goto(`${app.url}/`);
    await keys.press(link(page, a.profile.title));
    await title(page, a.profile.title);
    await keys.type(field(page, "name"), "Zoë Example");
    await keys.press(button(page, a.profile.save));
    await page.getByText(a.profile.saved).waitFor();
    await keys.press(link(page, a.sections.address));
    await title(page, a.address.title);
    await keys.type(field(page, "email"), uniqueEmail());
    await keys.type(field(page, "current_password"), account.password);
    await keys.press(button(page, a.address.send), "Space");
    await page.getByText(a.address.waitingAfter).waitFor();
    await keys.press(link(page, a.sections.password));
    await title(page, t.changePasswordTitle);
    await keys.type(field(page, "current_password"), account.password);
    await keys.type(field(page, "password"), newPassword);
    await keys.press(button(page, t.resetSave));
    await page.getByText(t.changePasswordDone).waitFor();
  });

  job("the data are downloaded; the account is closed, and kept", async (person) => {
    const { page, keys, account } = person;
    await signIn(person);
    await page.goto(`${app.url}/`);
    await keys.press(link(page, a.sections.data));
    await title(page, a.data.title);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      keys.press(button(page, a.data.export), "Space"),
    ]);
    expect(download.suggestedFilename()).toBe("account.json");
    await keys.type(field(page, "current_password"), account.password);
    await keys.press(button(page, a.data.delete));
    await title(page, a.data.closedTitle);
    await keys.press(link(page, t.backToSignIn));
    await logIn(person, account);
    await title(page, a.data.restoreTitle);
    await keys.press(button(page, a.data.keep), "Space");
    await title(page, a.data.keepAgain);
    await keys.press(link(page, t.signIn));
    await logIn(person, account);
    await title(page, t.homeSignedIn);
  });

  job("another session is ended, an application's access removed, and every session ended", async (person) => {
    const { page, keys, account } = person;
    const redirectUri = `${client.origin}/cb`;
    await getTokens(app.url, account, { clientId: "own", redirectUri, scope: "openid" });
    await signIn(person);
    await page.goto(`${app.url}/`);
    await keys.press(button(page, t.removeAccessOf("Own")));
    await page.getByText(t.applicationsNone).waitFor();
    await keys.press(button(page, t.signOutOf("test browser, 127.0.0.1")), "Space");
    await page.getByText("test browser").waitFor({ state: "detached" });
    await keys.press(button(page, t.signOutEverywhere), "Space");
    await title(page, t.loggedOutTitle);
  });

  job("the language is switched, and the application's request goes on", async (person) => {
    const { page, keys, account } = person;
    await page.goto(request());
    await keys.press(link(page, "Español"));
    await title(page, MESSAGES.es.signIn);
    await keys.type(field(page, "email"), account.email);
    await keys.type(field(page, "password"), account.password);
    await page.keyboard.press("Enter");
    await title(page, MESSAGES.es.consentTitle);
  });
});
