import { readdirSync, readFileSync } from "node:fs";
import type { BrowserContext, Page } from "playwright-core";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { requestDeletion } from "../../src/users/deletion.ts";
import type { TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import type { ClientServer } from "../support/browser.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
import { type Account, authorizeUrl, getTokens, postForm, signUp, TestBrowser, uniqueEmail } from "../support/flow.ts";
import { addPasskey, signInWithPasskey } from "../support/passkeys.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";

const t = MESSAGES.en;
const a = ACCOUNT_MESSAGES.en;
const f = FACTOR_MESSAGES.en;
const folder = new URL("../../src/http/pages/", import.meta.url);
export const APPLICATION = "Photo Album";
const newPassword = "another horse battery";

/** Where a browser is. */
export interface Place {
  readonly url: URL;
  readonly heading: string;
  readonly text: string;
  readonly links: readonly string[];
}

export type End = (place: Place, at: World) => boolean;

/** One browser profile and its user. */
export interface Run {
  readonly context: BrowserContext;
  readonly account: Account & { readonly uuid: string };
  /** What the user types in or opens, the same in every tab. */
  readonly typed: Record<string, string>;
}

export interface World {
  readonly app: TestApp;
  readonly client: ClientServer;
}

export interface Entry {
  /** Once for a profile: who is signed in, and what there is. */
  prepare?(world: World, run: Run): Promise<void>;
  /** Opens the page that has the button. */
  open(page: Page, world: World, run: Run): Promise<unknown>;
  fill?(page: Page, run: Run): Promise<unknown>;
  readonly button: string;
  /** Where one press leads. */
  readonly end: End;
  /** What else a later press may lead to: a page that says what happened. */
  readonly later?: readonly End[];
  /** The press is answered by a file: the page stays. */
  readonly stays?: boolean;
  /** The page carries the request of an application, which a page that says what happened then names. */
  readonly isOfApplication?: boolean;
  /** Sessions that the user has at the end. */
  readonly sessions?: number;
}

/** The buttons of every form of every page, as the templates have them. */
export function buttonsOfPages(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".eta"))
    .flatMap((name) => {
      const template = readFileSync(new URL(name, folder), "utf8");
      const forms = [
        ...template.matchAll(
          /<form[^>]*? action="<%= (?:it\.(?:path|withRequest)\()?"?([^")]+?)"?\)? %>"[\s\S]*?<\/form>/g,
        ),
      ];
      if (forms.length !== template.split("<form").length - 1) throw new Error(`a form of ${name} is not understood`);
      return forms.flatMap(([form, action]) =>
        [...form.matchAll(/<button[^>]*>/g)].map(([button]) => {
          const value = / value="([^"]*)"/.exec(button)?.[1];
          return [name.replace(".eta", ""), action, ...(value === undefined ? [] : [value])].join(" ");
        }),
      );
    })
    .sort();
}

/** The buttons of passkeys that the pages' forms include. */
export function passkeyButtonsOfPages(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".eta") && readFileSync(new URL(name, folder), "utf8").includes('"./passkey"'))
    .map((name) => name.replace(".eta", ""))
    .sort();
}

const titled =
  (title: string, link?: string): End =>
  ({ heading, links }) =>
    heading === title && (link === undefined || links.includes(link));
const atClient =
  (path: string, parameter?: string): End =>
  ({ url }, { client }) =>
    url.origin === client.origin &&
    url.pathname === path &&
    (parameter === undefined || url.searchParams.has(parameter));

/** The page that refuses a form that is out of date: it says why, and leads on by name. */
export function outOfDate(isOfApplication: boolean): End {
  return ({ heading, text, links }) =>
    heading === t.errorTitle &&
    text.includes(t.errors["form"] ?? "") &&
    links.includes(isOfApplication ? t.continueTo(APPLICATION) : t.continue);
}

/** Signs the profile in as this user. */
export async function signIn({ app }: World, { context }: Pick<Run, "context">, account: Account): Promise<void> {
  const browser = new TestBrowser();
  await browser.submit(`${app.url}/login`, account as unknown as Record<string, string>);
  const cookies = [...browser.cookies].map(([name, value]) => ({ name, value, url: app.url }));
  await context.addCookies(cookies);
}

const request = ({ app, client }: World, clientId: string, extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, { clientId, redirectUri: `${client.origin}/${clientId}`, scope: "openid profile", extra });

async function startDevice({ app }: World, run: Run): Promise<void> {
  const answer = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
  run.typed["code"] = ((await answer.json()) as { user_code: string }).user_code;
}

const signedIn = (world: World, run: Run) => signIn(world, run, run.account);
const typeCode = (page: Page, { typed }: Run) => page.locator("#user_code").fill(typed["code"] ?? "");

const consent = (decision: string, end: End): Entry => ({
  prepare: signedIn,
  open: (page, world) => page.goto(request(world, "album")),
  button: `button[value="${decision}"]`,
  end,
  isOfApplication: true,
});

const deviceDecision = (decision: string, title: string): Entry => ({
  prepare: async (world, run) => {
    await signedIn(world, run);
    await startDevice(world, run);
  },
  open: async (page, { app }, run) => {
    await page.goto(`${app.url}/device`);
    await typeCode(page, run);
    await page.locator("button").click();
    await page.locator("button[name=decision]").first().waitFor();
  },
  button: `button[value="${decision}"]`,
  end: titled(title),
  later: [titled(t.deviceTitle)],
});

/** Gives the user an authenticator app, and signs the profile in with it. */
async function withApp(world: World, run: Run): Promise<void> {
  const secret = await giveApp(world.app, run.account.uuid);
  const { browser, form } = await firstStep(world.app.url, run.account);
  await browser.post(`${world.app.url}/login/second-factor`, { ...form, code: codeOf(secret, world.app.clock.now()) });
  const cookies = [...browser.cookies].map(([name, value]) => ({ name, value, url: world.app.url }));
  await run.context.addCookies(cookies);
}

const security = (page: Page, { app }: World) => page.goto(`${app.url}/account/security`);

/** Each button as `buttonsOfPages` names it. */
export const ENTRIES: Readonly<Record<string, Entry>> = {
  "login /login": {
    open: (page, world) => page.goto(request(world, "own")),
    fill: async (page, { account }) => {
      await page.locator("#email").fill(account.email);
      await page.locator("#password").fill(account.password);
    },
    button: 'form[action$="/login"] button[type=submit]',
    end: atClient("/own", "code"),
    isOfApplication: true,
    sessions: 1,
  },
  "signup /signup": {
    open: async (page, world) => {
      await page.goto(request(world, "own"));
      await page.getByRole("link", { name: t.signUp }).click();
      await page.locator("#nickname").waitFor();
    },
    fill: async (page, { typed }) => {
      typed["email"] ??= uniqueEmail();
      await page.locator("#email").fill(typed["email"]);
      await page.locator("#nickname").fill("Ann");
      await page.locator("#password").fill(newPassword);
    },
    button: 'form[action$="/signup"] button[type=submit]',
    end: atClient("/own", "code"),
    isOfApplication: true,
  },
  "consent /consent allow": consent("allow", atClient("/album", "code")),
  "consent /consent deny": consent("deny", atClient("/album", "error")),
  "select-account /select-account": {
    prepare: signedIn,
    open: (page, world) => page.goto(request(world, "own", { prompt: "select_account" })),
    button: 'form[action$="/select-account"] button',
    end: atClient("/own", "code"),
    isOfApplication: true,
  },
  "client-form it.action": {
    prepare: signedIn,
    open: (page, world) => page.goto(request(world, "own", { response_mode: "form_post" })),
    button: "form button",
    end: atClient("/own"),
  },
  "device /device": {
    prepare: async (world, run) => {
      await signedIn(world, run);
      await startDevice(world, run);
    },
    open: (page, { app }) => page.goto(`${app.url}/device`),
    fill: typeCode,
    button: 'form[action$="/device"] button',
    end: titled(t.deviceConfirmTitle),
    later: [({ text }) => text.includes(t.errors["device_elsewhere"] ?? "")],
  },
  "device-confirm it.action allow": deviceDecision("allow", t.deviceAllowedTitle),
  "device-confirm it.action deny": deviceDecision("deny", t.deviceDeniedTitle),
  "reset-request /password-reset": {
    open: (page, { app }) => page.goto(`${app.url}/password-reset`),
    fill: (page, { account }) => page.locator("#email").fill(account.email),
    button: 'form[action$="/password-reset"] button',
    end: titled(t.resetSentTitle),
  },
  "reset-password /password-reset/confirm": {
    prepare: async ({ app }, run) => {
      run.typed["link"] = `${app.url}/password-reset?token=${await resetTokenFor(app, run.account.email)}`;
    },
    open: (page, _world, { typed }) => page.goto(typed["link"] ?? ""),
    fill: (page) => page.locator("#password").fill(newPassword),
    button: 'form[action$="/confirm"] button',
    end: titled(t.resetDoneTitle),
    later: [({ text, links }) => text.includes(t.errors["reset_token_invalid"] ?? "") && links.includes(t.resetAgain)],
  },
  "verify-email /verify-email": {
    prepare: async ({ app }, run) => {
      const sent = () =>
        eventsOf(app).find(({ topic, key }) => topic === "user-email-verification" && key === run.account.uuid);
      run.typed["link"] = (await until(sent)).event.payload["verificationUrl"] ?? "";
    },
    open: (page, _world, { typed }) => page.goto(typed["link"] ?? ""),
    button: 'form[action$="/verify-email"] button',
    end: titled(a.verify.doneTitle),
  },
  "verify-email-send /verify-email/send": {
    open: (page, { app }) => page.goto(`${app.url}/verify-email`),
    fill: (page, { account }) => page.locator("#email").fill(account.email),
    button: 'form[action$="/verify-email/send"] button',
    end: ({ text }) => text.includes(a.verify.askedAfter) || text.includes(a.verify.sentAfter),
  },
  "logout /connect/logout": {
    isOfApplication: true,
    prepare: signedIn,
    open: (page, { app, client }) => {
      const query = new URLSearchParams({ client_id: "own", post_logout_redirect_uri: `${client.origin}/bye` });
      return page.goto(`${app.url}/connect/logout?${query}`);
    },
    button: 'form[action$="/connect/logout"] button',
    end: atClient("/bye"),
    later: [titled(t.loggedOutTitle, t.continueTo(APPLICATION))],
    sessions: 0,
  },
  "account /account/sessions/end": {
    prepare: async (world, run) => {
      await signIn(world, { context: { addCookies: async () => {} } as unknown as BrowserContext }, run.account);
      await signedIn(world, run);
    },
    open: (page, { app }) => page.goto(`${app.url}/`),
    button: 'form[action$="/account/sessions/end"] button',
    end: titled(t.homeSignedIn),
    sessions: 1,
  },
  "change-password /account/password": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/password`),
    fill: async (page, { account }) => {
      await page.locator("#current_password").fill(account.password);
      await page.locator("#password").fill(newPassword);
    },
    button: 'form[action$="/account/password"] button',
    end: ({ heading, text }) => heading === t.homeSignedIn && text.includes(t.changePasswordDone),
    later: [({ text }) => text.includes(t.currentPasswordWrong), titled(t.homeSignedIn)],
    sessions: 1,
  },
  "account-profile /account/profile": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/profile`),
    fill: (page) => page.locator("#name").fill("Ann Example"),
    button: 'form[action$="/account/profile"] button',
    end: ({ text }) => text.includes(a.profile.saved),
  },
  "account-email /account/email": {
    prepare: async (world, run) => {
      await signedIn(world, run);
      run.typed["next"] = uniqueEmail();
    },
    open: (page, { app }) => page.goto(`${app.url}/account/email`),
    fill: async (page, { account, typed }) => {
      await page.locator("#email").fill(typed["next"] ?? "");
      await page.locator("#current_password").fill(account.password);
    },
    button: 'form[action$="/account/email"] button',
    end: ({ text }) => text.includes(a.address.waitingAfter),
  },
  "account-data /account/export": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/data`),
    button: 'form[action$="/account/export"] button',
    end: titled(a.data.title),
    stays: true,
  },
  "account-data /account/delete": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/data`),
    fill: (page, { account }) => page.locator("#current_password").fill(account.password),
    button: 'form[action$="/account/delete"] button',
    end: titled(a.data.closedTitle),
    later: [titled(t.signIn)],
    sessions: 0,
  },
  "account-restore /account/restore": {
    prepare: async ({ app }, { account }) => {
      await requestDeletion(app.context, account.uuid);
    },
    open: async (page, { app }, { account }) => {
      await page.goto(`${app.url}/login`);
      await page.locator("#email").fill(account.email);
      await page.locator("#password").fill(account.password);
      await page.locator('form[action$="/login"] button[type=submit]').click();
      await page.locator('form[action$="/account/restore"]').waitFor();
    },
    button: 'form[action$="/account/restore"] button',
    end: titled(a.data.keepAgain),
    later: [titled(t.signIn)],
    sessions: 0,
  },
  "second-factor /login/second-factor": {
    prepare: async ({ app }, { account, typed }) => {
      typed["secret"] = await giveApp(app, account.uuid);
    },
    open: async (page, world, { account }) => {
      await page.goto(request(world, "own"));
      await page.locator("#email").fill(account.email);
      await page.locator("#password").fill(account.password);
      await page.locator('form[action$="/login"] button[type=submit]').click();
      await page.locator("#code").waitFor();
    },
    fill: (page, { typed }) => {
      typed["code"] ??= codeOf(typed["secret"] ?? "", Date.now());
      return page.locator("#code").fill(typed["code"]);
    },
    button: 'form[action$="/second-factor"] button',
    end: atClient("/own", "code"),
    // the answer to a password is not kept for the way back: the user starts over
    later: [titled(t.deviceTitle)],
    isOfApplication: true,
  },
  "confirm /account/security/confirm": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/security/confirm`),
    fill: (page, { account }) => page.locator("#password").fill(account.password),
    button: 'form[action$="/confirm"] button',
    end: titled(f.securityTitle),
    sessions: 1,
  },
  "totp /account/security/totp": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/account/security/totp`),
    fill: async (page, run) => {
      const secret = ((await page.locator("code").textContent()) ?? "").replaceAll(" ", "");
      await page.locator("#code").fill(codeOf(secret, Date.now()));
      run.typed["secret"] = secret;
    },
    button: 'form[action$="/totp"] button',
    end: ({ heading, text }) => heading === f.securityTitle && text.includes(f.totpAdded),
    // who goes back finds that there is one
    later: [({ text }) => text.includes(f.totpExists)],
    sessions: 1,
  },
  "factor-remove /account/security/totp/remove": {
    prepare: withApp,
    open: (page, { app }) => page.goto(`${app.url}/account/security/totp/remove`),
    button: 'form[action$="/totp/remove"] button',
    end: ({ heading, text }) => heading === f.securityTitle && text.includes(f.totpRemoved),
    // who goes back finds that there is none to remove
    later: [titled(f.securityTitle)],
  },
  "factor-remove /account/security/passkeys/remove": {
    prepare: async (world, run) => {
      const authenticator = new Authenticator(world.app.url);
      const bases = [world.app.url, world.app.url] as const;
      const browser = new TestBrowser();
      await browser.submit(`${world.app.url}/login`, run.account as unknown as Record<string, string>);
      await addPasskey(bases, browser, authenticator);
      const owner = await signInWithPasskey(bases, authenticator);
      const cookies = [...owner.browser.cookies].map(([name, value]) => ({ name, value, url: world.app.url }));
      await run.context.addCookies(cookies);
    },
    open: async (page, world) => {
      await security(page, world);
      // in another tab it may be gone already
      const link = page.locator('a[href*="/passkeys/remove"]');
      if ((await link.count()) > 0) await link.click();
    },
    button: 'form[action$="/passkeys/remove"] button',
    end: ({ heading, text }) => heading === f.securityTitle && text.includes(f.passkeyRemoved),
    later: [titled(f.securityTitle)],
  },
  "security /account/security/passkeys/name": {
    prepare: async ({ app }, run) => {
      const browser = new TestBrowser();
      await browser.submit(`${app.url}/login`, run.account as unknown as Record<string, string>);
      await addPasskey([app.url, app.url], browser, new Authenticator(app.url));
      const cookies = [...browser.cookies].map(([name, value]) => ({ name, value, url: app.url }));
      await run.context.addCookies(cookies);
    },
    open: security,
    button: 'form[action$="/passkeys/name"] button',
    end: ({ heading, text }) => heading === f.securityTitle && text.includes(f.passkeyRenamed),
  },
  "recovery-codes /account/security/recovery-codes": {
    prepare: withApp,
    open: async (page, world) => {
      const button = 'form[action$="/recovery-codes"] button';
      const makeIn = async (tab: Page) => {
        await security(tab, world);
        await tab.locator(button).click();
        await tab.locator(".codes").waitFor();
      };
      await makeIn(page);
      // once others took their place, its form makes none
      const other = await page.context().newPage();
      await makeIn(other);
      await other.close();
      await page.reload();
      await page.locator(button).waitFor();
    },
    button: 'form[action$="/recovery-codes"] button',
    end: titled(f.codesTitle),
    // the answer to a form is not kept for the way back: the user starts over
    later: [titled(t.deviceTitle)],
  },
  "security /account/security/recovery-codes": {
    prepare: withApp,
    open: security,
    button: 'form[action$="/recovery-codes"] button',
    end: titled(f.codesTitle),
  },
  "account /account/sign-out-everywhere": {
    prepare: signedIn,
    open: (page, { app }) => page.goto(`${app.url}/`),
    button: 'form[action$="/account/sign-out-everywhere"] button',
    end: titled(t.loggedOutTitle),
    later: [titled(t.homeSignedOut)],
    sessions: 0,
  },
  "account /account/applications/remove": {
    prepare: async (world, run) => {
      await signedIn(world, run);
      const redirectUri = `${world.client.origin}/own`;
      await getTokens(world.app.url, run.account, { clientId: "own", redirectUri, scope: "openid" });
      await signIn(world, run, run.account);
    },
    open: (page, { app }) => page.goto(`${app.url}/`),
    button: 'form[action$="/account/applications/remove"] button',
    end: titled(t.homeSignedIn),
  },
};

/** A page with a button that asks for a passkey or makes one. */
export interface PasskeyEntry {
  /** The profile has a passkey. */
  readonly asks: boolean;
  /** The profile keeps the session in which it made that. */
  readonly staysSignedIn?: boolean;
  open(page: Page, world: World, run: Run): Promise<unknown>;
  readonly end: End;
}

/** Each page with such a button. */
export const PASSKEY_ENTRIES: Readonly<Record<string, PasskeyEntry>> = {
  login: {
    asks: true,
    open: (page, world) => page.goto(request(world, "own")),
    end: atClient("/own", "code"),
  },
  signup: {
    asks: false,
    open: async (page, world) => {
      await page.goto(request(world, "own", { prompt: "create" }));
      await page.locator("#email").fill(uniqueEmail());
      await page.locator("#nickname").fill("Ann");
    },
    end: atClient("/own", "code"),
  },
  "second-factor": {
    asks: true,
    open: async (page, world, { account }) => {
      await page.goto(request(world, "own"));
      await page.locator("#email").fill(account.email);
      await page.locator("#password").fill(account.password);
      await page.locator('form[action*="/login"] button[type=submit]').click();
      await page.getByText(f.stepIntro).waitFor();
    },
    end: atClient("/own", "code"),
  },
  confirm: {
    asks: true,
    staysSignedIn: true,
    open: (page, { app }) => page.goto(`${app.url}/account/security/confirm`),
    end: titled(f.securityTitle),
  },
  "passkey-add": {
    asks: false,
    open: async (page, world, run) => {
      await signedIn(world, run);
      await page.goto(`${world.app.url}/account/security/passkeys`);
      await page.locator("#name").fill("Laptop");
    },
    end: ({ heading, text }) => heading === f.securityTitle && text.includes(f.passkeyAdded),
  },
};

/** Gives the device of this page a passkey of the profile's user. */
export async function makePasskey(page: Page, world: World, run: Run): Promise<void> {
  await PASSKEY_ENTRIES["passkey-add"]?.open(page, world, run);
  await page.locator("button[data-passkey]").click();
  await page.getByText(f.passkeyAdded).waitFor();
}

export async function newRun({ app }: World, context: BrowserContext): Promise<Run> {
  return { context, account: await signUp(app.url), typed: {} };
}
