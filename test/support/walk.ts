import type { BrowserContext, Page } from "playwright-core";
import { UNKNOWN_ASKER } from "../../src/events.ts";
import { makeRecoveryCodes } from "../../src/factors/recovery-codes.ts";
import type { LimitRule } from "../../src/limits.ts";
import { requestDeletion } from "../../src/users/deletion.ts";
import type { TestApp } from "./app.ts";
import { Authenticator } from "./authenticator.ts";
import { codeOf, firstStep, giveApp } from "./factors.ts";
import { type Account, authorizeUrl, getTokens, postForm, postJson, TestBrowser } from "./flow.ts";
import { addPasskey, signInWithPasskey, signUpWithPasskey } from "./passkeys.ts";
import { eventsOf, resetTokenFor, until } from "./resets.ts";

/** Every page of the service, in every state that a person meets: for pictures, and for tests of all pages. */

const redirectUri = "http://127.0.0.1:3000/callback";
/** Of an application that registered itself. */
const foreignUri = "https://donaudampfschifffahrtsgesellschaft.example/callback";
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code";

/** Whom the pages are shown to, beside their account. */
export interface Visitor {
  readonly app: TestApp;
  readonly context: BrowserContext;
  /** Its own: a page may change it. */
  readonly account: Account & { readonly uuid: string };
}

/** A page in one state, and how a person gets there. */
export interface Stop {
  readonly name: string;
  /** For docs/pages.md, which shows the pages that have it. */
  readonly says?: string;
  readonly signedIn?: boolean;
  open(page: Page, visitor: Visitor): Promise<unknown>;
  /** A selector of what this state shows. */
  readonly shows: string;
}

/** The environment and the applications of a service whose pages are walked. */
export const WALKED_ENV = { LOG_LEVEL: "error", OPEN_REGISTRATION: "1" };
export const WALKED_CLIENTS = [
  {
    client_id: "album",
    client_name: "Photo Album",
    client_uri: "https://album.example/",
    policy_uri: "https://album.example/privacy",
    tos_uri: "https://album.example/terms",
    redirect_uris: [redirectUri],
    scope: "openid profile email offline_access",
  },
  {
    client_id: "shop",
    client_name: "Corner Shop",
    redirect_uris: [redirectUri],
    post_logout_redirect_uris: [redirectUri],
    first_party: true,
    scope: "openid profile",
  },
  {
    client_id: "bank",
    client_name: "Savings Bank",
    redirect_uris: [redirectUri],
    require_verified_email: true,
    scope: "openid",
  },
  { client_id: "tv", client_name: "Living Room TV", grant_types: [deviceGrant], scope: "openid" },
];

/** Opens a page as its visitor, in a tab of its own. @throws Error when the page is not in the state that it is said to show */
export async function openStop({ name, signedIn = false, open, shows }: Stop, visitor: Visitor): Promise<Page> {
  if (signedIn) await signIn(visitor);
  const page = await visitor.context.newPage();
  try {
    await open(page, visitor);
    await page.locator(shows).first().waitFor();
  } catch (error) {
    const text = await page
      .locator("body")
      .textContent({ timeout: 1_000 })
      .catch(() => null);
    throw new Error(`${name} at ${page.url()}: ${text?.slice(0, 800)}`, { cause: error });
  }
  return page;
}

/** The applications and devices that a person signed in with are named by this. */
const userAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/147.0.0.0 Safari/537.36";

/** Signs in, without a page. */
export async function signIn({ app, context, account }: Visitor): Promise<void> {
  const browser = new TestBrowser({ "user-agent": userAgent });
  await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
  await takeOver({ app, context }, browser);
}

/** The context goes on as this browser. */
function takeOver({ app, context }: Pick<Visitor, "app" | "context">, { cookies }: TestBrowser): Promise<void> {
  return context.addCookies([...cookies].map(([name, value]) => ({ name, value, url: app.url })));
}

const request = (app: TestApp, clientId: string, extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, {
    clientId,
    redirectUri,
    scope: clientId === "album" ? "openid profile email" : "openid",
    extra,
  });

async function fill(page: Page, values: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(values)) await page.locator(`[name="${name}"]`).first().fill(value);
}

/** Presses a button and waits for the page that answers. */
async function press(page: Page, button = "main button[type=submit]"): Promise<void> {
  const loaded = page.waitForEvent("load");
  await page.locator(button).first().click();
  await loaded;
}

async function send(page: Page, values: Record<string, string>): Promise<void> {
  await fill(page, values);
  await press(page);
}

/** The server checks what a browser does not let pass. */
async function sendUnchecked(page: Page, values: Record<string, string>): Promise<void> {
  await page.locator("main form").evaluateAll((forms) => {
    for (const form of forms) form.setAttribute("novalidate", "");
  });
  await send(page, values);
}

async function useUp({ app }: Visitor, rule: LimitRule, subject: string): Promise<void> {
  const { limits } = app.context;
  while ((await limits.tryTake(rule, subject)) === null);
}

/** Sends the form with an answer that no passkey gave. */
async function refusePasskey(page: Page, credential = "{}"): Promise<void> {
  const loaded = page.waitForEvent("load");
  await page.evaluate(`(() => {
    const { form, dataset } = document.querySelector("button[data-passkey]");
    for (const input of form.querySelectorAll("input")) if (input.type === "password") input.disabled = true;
    const answer = Object.assign(document.createElement("input"), { type: "hidden", name: "credential" });
    answer.value = ${JSON.stringify(credential)};
    form.append(answer);
    form.action = dataset.path;
    form.submit();
  })()`);
  await loaded;
}

async function openDevice(page: Page, { app }: Visitor): Promise<void> {
  const answer = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
  await page.goto(`${app.url}/device`);
  await send(page, { user_code: ((await answer.json()) as { user_code: string }).user_code });
}

/** An application that registered itself. @returns its client id */
async function register({ app }: Visitor): Promise<string> {
  const answer = await postJson(`${app.url}/oauth2/register`, {
    client_name: "Donaudampfschifffahrtsgesellschaft",
    token_endpoint_auth_method: "none",
    redirect_uris: [foreignUri],
  });
  const { client_id: id } = (await answer.json()) as { client_id?: string };
  if (id === undefined) throw new Error(`the registration answered ${answer.status}`);
  return id;
}

const byPassword = ({ email, password }: Account) => ({ email, password });

/** Gives the account an authenticator app, and signs in with it. */
async function signInWithApp(visitor: Visitor): Promise<void> {
  const { app, account } = visitor;
  const secret = await giveApp(app, account.uuid);
  const { browser, form } = await firstStep(app.url, account);
  await browser.post(`${app.url}/login/second-factor`, { ...form, code: codeOf(secret, app.clock.now()) });
  await takeOver(visitor, browser);
}

/** Signs in, and adds a passkey. */
async function addOwnPasskey(
  { app, account }: Visitor,
  authenticator = new Authenticator(app.url),
): Promise<TestBrowser> {
  const browser = new TestBrowser({ "user-agent": userAgent });
  await browser.submit(`${app.url}/login`, { ...byPassword(account) });
  await addPasskey([app.url, app.url], browser, authenticator);
  return browser;
}

async function verificationLink({ app, account }: Visitor): Promise<string> {
  const sent = () =>
    eventsOf(app).find(({ topic, key }) => topic === "user-email-verification" && key === account.uuid);
  return (await until(sent)).event.payload["verificationUrl"] ?? "";
}

/** The second step of an account with an authenticator app. */
async function openSecondStep(page: Page, { app, account }: Visitor): Promise<void> {
  await giveApp(app, account.uuid);
  await page.goto(request(app, "album"));
  await send(page, byPassword(account));
}

/** A person without a password. */
async function asPasskeyOwner(visitor: Visitor): Promise<void> {
  const { browser } = await signUpWithPasskey([visitor.app.url, visitor.app.url], new Authenticator(visitor.app.url));
  await takeOver(visitor, browser);
}

const at =
  (path: string) =>
  (page: Page, { app }: Visitor): Promise<unknown> =>
    page.goto(app.url + path);

const signingIn: readonly Stop[] = [
  {
    name: "login",
    says: "Signing in to continue to an application.",
    open: (page, { app }) => page.goto(request(app, "album")),
    shows: "#password",
  },
  {
    name: "login-wrong",
    says: "A wrong password: one message, whichever part was wrong.",
    open: async (page, { app }) => {
      await page.goto(request(app, "album"));
      await send(page, { email: "grace@example.com", password: "not the password" });
    },
    shows: "#password[aria-invalid]",
  },
  {
    name: "login-throttled",
    says: "After too many wrong passwords: how long to wait, and the ways in that are still open.",
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_password", visitor.account.email);
      await page.goto(`${visitor.app.url}/login`);
      await send(page, byPassword(visitor.account));
    },
    shows: "#problem",
  },
  {
    name: "login-passkey-refused",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/login`);
      await refusePasskey(page);
    },
    shows: "#problem",
  },
  {
    name: "login-passkey-failed",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/login`);
      await page.locator("p.wrong[hidden]").evaluate((failure) => failure.removeAttribute("hidden"));
    },
    shows: "p.wrong:not([hidden])",
  },
  {
    name: "login-passkey-unknown",
    says: "A passkey that is not known here any more: the page says so.",
    open: async (page, { app }) => {
      const authenticator = new Authenticator(app.url);
      authenticator.create({ challenge: "", rp: { id: "localhost" }, user: { id: "AAAA" } });
      await page.goto(`${app.url}/login`);
      const options = await page.locator("button[data-passkey]").getAttribute("data-options");
      await refusePasskey(page, authenticator.get(JSON.parse(options ?? "") as never));
    },
    shows: "#problem",
  },
  { name: "sign-up", says: "Creating an account.", open: at("/signup"), shows: "#nickname" },
  {
    name: "sign-up-errors",
    says: "Each wrong field says what is wrong with it.",
    open: async (page, { app, account }) => {
      await page.goto(`${app.url}/signup`);
      await send(page, { email: account.email, nickname: "Ada", password: "password1" });
    },
    shows: "#email-wrong",
  },
  {
    name: "sign-up-all-wrong",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/signup`);
      await sendUnchecked(page, { email: "ada", nickname: " ", password: "short" });
    },
    shows: "#email-wrong ~ #email",
  },
  {
    name: "sign-up-throttled",
    open: async (page, visitor) => {
      const email = `throttled.${visitor.account.email}`;
      await useUp(visitor, "sign_up", email);
      await page.goto(`${visitor.app.url}/signup`);
      await send(page, { email, nickname: "Ada", password: "another horse battery" });
    },
    shows: "#problem",
  },
  {
    name: "consent",
    says: "An application asks for access. What the person allows here is recorded, and never exceeded.",
    signedIn: true,
    open: (page, { app }) => page.goto(request(app, "album", { prompt: "consent" })),
    shows: "button[value=allow]",
  },
  {
    name: "consent-unverified",
    says: "An application that registered itself is shown as unverified, with the host it sends people to.",
    signedIn: true,
    open: async (page, visitor) =>
      page.goto(
        authorizeUrl(visitor.app.url, {
          clientId: await register(visitor),
          redirectUri: foreignUri,
          scope: "openid",
        }),
      ),
    shows: "#unverified",
  },
  {
    name: "select-account",
    says: "The application wants the person to choose an account (`prompt=select_account`).",
    signedIn: true,
    open: (page, { app }) => page.goto(request(app, "album", { prompt: "select_account" })),
    shows: "form[action$='/select-account']",
  },
  {
    name: "client-form",
    signedIn: true,
    open: async (page, { app }) => {
      // the application has nothing to show: the page stays
      await page.route(redirectUri, (route) => route.fulfill({ status: 204 }));
      await page.goto(request(app, "shop", { response_mode: "form_post" }), { waitUntil: "commit" });
    },
    shows: `form[action="${redirectUri}"]`,
  },
  { name: "home", says: "Nobody is signed in.", open: at("/"), shows: "a.button[href$='/signup']" },
];

const account: readonly Stop[] = [
  {
    name: "account",
    says: "The account: where it is signed in, and which applications have access.",
    signedIn: true,
    open: at("/"),
    shows: "#applications",
  },
  {
    name: "account-full",
    signedIn: true,
    open: async (page, { app, account: { uuid: _, ...account } }) => {
      await getTokens(app.url, account, { clientId: "shop", redirectUri, scope: "openid profile" });
      await page.goto(`${app.url}/`);
    },
    shows: "form[action$='/account/applications/remove']",
  },
  {
    name: "password-changed",
    signedIn: true,
    open: async (page, { app, account: { password } }) => {
      await page.goto(`${app.url}/account/password`);
      await send(page, { current_password: password, password: "another horse battery" });
    },
    shows: "[role=status]",
  },
  {
    name: "account-profile",
    says: "The profile: what applications may see.",
    signedIn: true,
    open: at("/account/profile"),
    shows: "#zoneinfo",
  },
  {
    name: "account-profile-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/profile`);
      await sendUnchecked(page, { website: "example", birthdate: "yesterday", zoneinfo: "Nowhere" });
    },
    shows: "#birthdate-wrong",
  },
  {
    name: "account-profile-saved",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/profile`);
      await send(page, { name: "Ada Lovelace" });
    },
    shows: "[role=status]",
  },
  {
    name: "account-email",
    says: "A new address takes effect once its owner opens the mailed link.",
    signedIn: true,
    open: at("/account/email"),
    shows: "#current_password",
  },
  {
    name: "account-email-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/email`);
      await send(page, { email: "grace@example.com", current_password: "not the password" });
    },
    shows: "#current_password-wrong",
  },
  {
    name: "account-email-waiting",
    signedIn: true,
    open: async (page, { app, account }) => {
      await page.goto(`${app.url}/account/email`);
      await send(page, { email: `new.${account.email}`, current_password: account.password });
    },
    shows: "[role=status]",
  },
  {
    name: "account-email-throttled",
    signedIn: true,
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_current_password", visitor.account.uuid);
      await page.goto(`${visitor.app.url}/account/email`);
      await send(page, { email: "grace@example.com", current_password: "not the password" });
    },
    shows: "#problem",
  },
  {
    name: "account-data",
    says: "Everything that is stored, as a file; and the end of the account.",
    signedIn: true,
    open: at("/account/data"),
    shows: "#delete",
  },
  {
    name: "account-data-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/data`);
      await fill(page, { current_password: "not the password" });
      await press(page, "form[action$='/account/delete'] button.danger");
    },
    shows: "#current_password-wrong",
  },
  {
    name: "account-data-throttled",
    signedIn: true,
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_current_password", visitor.account.uuid);
      await page.goto(`${visitor.app.url}/account/data`);
      await fill(page, { current_password: "not the password" });
      await press(page, "form[action$='/account/delete'] button.danger");
    },
    shows: "#problem",
  },
  {
    name: "account-closed",
    says: "The account is closed: until when it can be opened again.",
    signedIn: true,
    open: async (page, { app, account: { password } }) => {
      await page.goto(`${app.url}/account/data`);
      await fill(page, { current_password: password });
      await press(page, "form[action$='/account/delete'] button.danger");
    },
    shows: "[role=status]",
  },
  ...(["account-restore", "account-restored"] as const).map(
    (name): Stop => ({
      name,
      ...(name === "account-restore" ? { says: "Signing in to a closed account: it can be opened again." } : {}),
      open: async (page, { app, account }) => {
        await requestDeletion(app.context, account.uuid);
        await page.goto(`${app.url}/login`);
        await send(page, byPassword(account));
        if (name === "account-restored") await press(page);
      },
      shows: name === "account-restore" ? "form[action$='/account/restore']" : "main > p > a.button",
    }),
  ),
  {
    name: "change-password",
    says: "A new password. Every other browser and application is signed out.",
    signedIn: true,
    open: at("/account/password"),
    shows: "#current_password",
  },
  {
    name: "change-password-wrong",
    signedIn: true,
    open: async (page, { app, account: { password } }) => {
      await page.goto(`${app.url}/account/password`);
      await sendUnchecked(page, { current_password: password, password: "short" });
    },
    shows: "#password-wrong",
  },
  {
    name: "change-password-throttled",
    signedIn: true,
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_current_password", visitor.account.uuid);
      await page.goto(`${visitor.app.url}/account/password`);
      await send(page, { current_password: "not the password", password: "another horse battery" });
    },
    shows: "#problem",
  },
  {
    name: "no-password",
    says: "An account without a password can get one by mail.",
    open: async (page, visitor) => {
      await asPasskeyOwner(visitor);
      await page.goto(`${visitor.app.url}/account/password`);
    },
    shows: "a.button[href$='/password-reset']",
  },
];

const factors: readonly Stop[] = [
  {
    name: "account-security",
    says: "Authenticator app, recovery codes.",
    signedIn: true,
    open: at("/account/security"),
    shows: "#app",
  },
  {
    name: "account-security-full",
    says: "Passkeys with their names and last use, an authenticator app, recovery codes.",
    open: async (page, visitor) => {
      await takeOver(visitor, await addOwnPasskey(visitor));
      await giveApp(visitor.app, visitor.account.uuid);
      await makeRecoveryCodes(visitor.app.context, visitor.account.uuid, null, { asker: UNKNOWN_ASKER });
      await page.goto(`${visitor.app.url}/account/security`);
    },
    shows: "#codes-replace",
  },
  {
    name: "account-security-renamed",
    open: async (page, visitor) => {
      await takeOver(visitor, await addOwnPasskey(visitor));
      await page.goto(`${visitor.app.url}/account/security`);
      await page.locator("summary").click();
      await fill(page, { name: "Work laptop" });
      await press(page, "form[action$='/passkeys/name'] button");
    },
    shows: "[role=status]",
  },
  {
    name: "account-security-rename-wrong",
    says: "A passkey is renamed beside it. A name that shows nothing is none.",
    open: async (page, visitor) => {
      await takeOver(visitor, await addOwnPasskey(visitor));
      await page.goto(`${visitor.app.url}/account/security`);
      await page.locator("summary").click();
      await fill(page, { name: "\u3164" });
      await press(page, "form[action$='/passkeys/name'] button");
    },
    shows: "details[open] .wrong",
  },
  {
    name: "account-security-no-password",
    open: async (page, visitor) => {
      await asPasskeyOwner(visitor);
      await page.goto(`${visitor.app.url}/account/security`);
    },
    shows: "#codes",
  },
  {
    name: "account-security-second-app",
    open: async (page, visitor) => {
      await signInWithApp(visitor);
      await page.goto(`${visitor.app.url}/account/security/totp`);
    },
    shows: "[role=alert]",
  },
  {
    name: "remove-passkey",
    says: "A passkey or an authenticator app is removed after one more press, on a page that names it.",
    open: async (page, visitor) => {
      const authenticator = new Authenticator(visitor.app.url);
      await addOwnPasskey(visitor, authenticator);
      const { browser } = await signInWithPasskey([visitor.app.url, visitor.app.url], authenticator);
      await takeOver(visitor, browser);
      await page.goto(`${visitor.app.url}/account/security`);
      await page.locator("a[href*='/passkeys/remove']").click();
    },
    shows: "form[action$='/passkeys/remove']",
  },
  {
    name: "remove-app",
    open: async (page, visitor) => {
      await signInWithApp(visitor);
      await page.goto(`${visitor.app.url}/account/security/totp/remove`);
    },
    shows: "form[action$='/totp/remove']",
  },
  {
    name: "removed-app",
    open: async (page, visitor) => {
      await signInWithApp(visitor);
      await page.goto(`${visitor.app.url}/account/security/totp/remove`);
      await press(page, "form[action$='/totp/remove'] button");
    },
    shows: "[role=status]",
  },
  {
    name: "account-security-kept",
    open: async (page, visitor) => {
      await asPasskeyOwner(visitor);
      await page.goto(`${visitor.app.url}/account/security`);
      await page.locator("a[href*='/passkeys/remove']").click();
    },
    shows: "[role=alert]",
  },
  {
    name: "authenticator-app",
    says: "An authenticator app is set up: it counts once a code proves it.",
    signedIn: true,
    open: at("/account/security/totp"),
    shows: ".qr svg",
  },
  {
    name: "authenticator-app-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/security/totp`);
      await send(page, { code: "000000" });
    },
    shows: "#code-wrong",
  },
  {
    name: "recovery-codes",
    says: "Recovery codes are shown once.",
    open: async (page, visitor) => {
      await signInWithApp(visitor);
      await page.goto(`${visitor.app.url}/account/security`);
      await press(page, "form[action$='/recovery-codes'] button");
    },
    shows: ".codes code",
  },
  {
    name: "recovery-codes-shown",
    says: "Their form is sent again after others took their place: it makes none.",
    open: async (page, visitor) => {
      await signInWithApp(visitor);
      const makeIn = async (tab: Page) => {
        await tab.goto(`${visitor.app.url}/account/security`);
        await press(tab, "form[action$='/recovery-codes'] button");
      };
      await makeIn(page);
      const other = await visitor.context.newPage();
      await makeIn(other);
      await other.close();
      await page.reload();
    },
    shows: "form[action$='/recovery-codes']",
  },
  { name: "confirm", signedIn: true, open: at("/account/security/confirm"), shows: "#password" },
  {
    name: "confirm-passkey",
    says: "Who changes how the account is protected signs in again first.",
    open: async (page, visitor) => {
      await takeOver(visitor, await addOwnPasskey(visitor));
      await page.goto(`${visitor.app.url}/account/security/confirm`);
    },
    shows: "form:has(button[data-passkey])",
  },
  {
    name: "confirm-wrong",
    signedIn: true,
    open: async (page, { app, account: { uuid } }) => {
      await giveApp(app, uuid);
      await page.goto(`${app.url}/account/security/confirm`);
      await send(page, { password: "not the password", code: "000000" });
    },
    shows: "#code[aria-invalid]",
  },
  {
    name: "confirm-throttled",
    signedIn: true,
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_current_password", visitor.account.uuid);
      await page.goto(`${visitor.app.url}/account/security/confirm`);
      await send(page, { password: "not the password" });
    },
    shows: "#problem",
  },
  {
    name: "passkey-add",
    says: "A passkey is made here, and gets a name.",
    signedIn: true,
    open: at("/account/security/passkeys"),
    shows: "form:has(button[data-passkey])",
  },
  {
    name: "passkey-add-refused",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/security/passkeys`);
      await refusePasskey(page);
    },
    shows: "#problem",
  },
  {
    name: "passkey-add-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/account/security/passkeys`);
      await fill(page, { name: " " });
      await refusePasskey(page);
    },
    shows: "#name-wrong",
  },
  {
    name: "second-factor",
    says: "The second step, after a right password.",
    open: openSecondStep,
    shows: "#code",
  },
  {
    name: "second-factor-wrong",
    open: async (page, visitor) => {
      await openSecondStep(page, visitor);
      await send(page, { code: "000000" });
    },
    shows: "#code-wrong",
  },
  {
    name: "second-factor-throttled",
    open: async (page, visitor) => {
      await useUp(visitor, "second_factor", visitor.account.uuid);
      await openSecondStep(page, visitor);
      await send(page, { code: "000000" });
    },
    shows: "#problem",
  },
  {
    name: "second-factor-passkey",
    says: "The second step, by passkey.",
    open: async (page, visitor) => {
      await addOwnPasskey(visitor);
      await page.goto(`${visitor.app.url}/login`);
      await send(page, byPassword(visitor.account));
    },
    shows: "form[action$='/second-factor']:has(button[data-passkey])",
  },
  ...(["two-factor", "passkey"] as const).map(
    (acr): Stop => ({
      name: `step-up-${acr}`,
      ...(acr === "two-factor"
        ? { says: "The application asks for more than the account has: it is set up on the way." }
        : {}),
      signedIn: true,
      open: (page, { app }) => page.goto(request(app, "shop", { acr_values: `urn:auth-service:acr:${acr}` })),
      shows: acr === "passkey" ? "a[href*='/account/security/passkeys?']" : "a[href*='/account/security/totp?']",
    }),
  ),
];

const devices: readonly Stop[] = [
  {
    name: "device",
    says: "A device without a browser: the code that it shows is typed in.",
    signedIn: true,
    open: at("/device"),
    shows: "#user_code",
  },
  {
    name: "device-wrong",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/device`);
      await send(page, { user_code: "BCDF-GHJK" });
    },
    shows: "#user_code-wrong",
  },
  {
    name: "device-throttled",
    signedIn: true,
    open: async (page, visitor) => {
      await useUp(visitor, "wrong_user_code", visitor.account.uuid);
      await page.goto(`${visitor.app.url}/device`);
      await send(page, { user_code: "BCDF-GHJK" });
    },
    shows: "#problem",
  },
  {
    name: "device-confirm",
    says: "The same code again, with a warning against codes that others sent.",
    signedIn: true,
    open: openDevice,
    shows: ".device-code",
  },
  {
    name: "device-done",
    says: "The device is connected.",
    signedIn: true,
    open: async (page, visitor) => {
      await openDevice(page, visitor);
      await press(page, "button[value=allow]");
    },
    shows: "main:not(:has(form))",
  },
  {
    name: "device-denied",
    signedIn: true,
    open: async (page, visitor) => {
      await openDevice(page, visitor);
      await press(page, "button[value=deny]");
    },
    shows: "main:not(:has(form))",
  },
];

const mails: readonly Stop[] = [
  {
    name: "password-reset",
    says: "Forgotten password: a link is mailed.",
    open: at("/password-reset"),
    shows: "#email",
  },
  {
    name: "password-reset-wrong",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/password-reset`);
      await sendUnchecked(page, { email: "ada" });
    },
    shows: "#email-wrong",
  },
  {
    name: "password-reset-sent",
    says: "The answer is the same whether there is such an account or not.",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/password-reset`);
      await send(page, { email: "grace@example.com" });
    },
    shows: "main > p.hint",
  },
  {
    name: "password-reset-new",
    says: "The page behind the mailed link names the account, so that a password manager keeps both.",
    open: async (page, { app, account }) =>
      page.goto(`${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`),
    shows: "#password",
  },
  {
    name: "password-reset-new-wrong",
    open: async (page, { app, account }) => {
      await page.goto(`${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`);
      await sendUnchecked(page, { password: "short" });
    },
    shows: "#password-wrong",
  },
  {
    name: "password-reset-done",
    open: async (page, { app, account }) => {
      await page.goto(`${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`);
      await send(page, { password: "another horse battery" });
    },
    shows: "main:not(:has(form)) a.button[href$='/login']",
  },
  {
    name: "password-reset-over",
    says: "A link that was used or is too old says so at once.",
    open: at(`/password-reset?token=${"x".repeat(43)}`),
    shows: "#problem",
  },
  {
    name: "verify-email",
    says: "The link in a mail asks before it does anything: mail programs open links on their own.",
    open: async (page, visitor) => page.goto(await verificationLink(visitor)),
    shows: "form[action$='/verify-email']",
  },
  {
    name: "verify-email-done",
    says: "The address is verified.",
    open: async (page, visitor) => {
      await page.goto(await verificationLink(visitor));
      await press(page);
    },
    shows: "[role=status]",
  },
  { name: "verify-email-bad", open: at(`/verify-email?token=${"x".repeat(43)}`), shows: "[role=alert]" },
  {
    name: "verify-email-ask",
    says: "A new link can be asked for. The answer is the same for every address.",
    open: at("/verify-email"),
    shows: "#email",
  },
  { name: "verify-email-own", signedIn: true, open: at("/verify-email"), shows: "[role=status]" },
  {
    name: "verify-email-application",
    says: "The application wants a verified address.",
    signedIn: true,
    open: (page, { app }) => page.goto(request(app, "bank")),
    shows: "form[action$='/verify-email/send']",
  },
  {
    name: "verify-email-sent",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/verify-email`);
      await send(page, { email: "grace@example.com" });
    },
    shows: "[role=status]",
  },
  {
    name: "verify-email-wrong",
    open: async (page, { app }) => {
      await page.goto(`${app.url}/verify-email`);
      await sendUnchecked(page, { email: "ada" });
    },
    shows: "#email-wrong",
  },
];

const endings: readonly Stop[] = [
  {
    name: "sign-out",
    says: "Signing out is asked for where the application cannot prove whom it means.",
    signedIn: true,
    open: at("/connect/logout"),
    shows: "form[action$='/connect/logout']",
  },
  {
    name: "signed-out",
    says: "Signed out.",
    signedIn: true,
    open: async (page, { app }) => {
      await page.goto(`${app.url}/connect/logout`);
      await press(page);
    },
    shows: "main:not(:has(form))",
  },
  {
    name: "error",
    says: "An application that is not known. The reference number finds the line in the log.",
    open: (page, { app }) => page.goto(authorizeUrl(app.url, { clientId: "unknown", redirectUri })),
    shows: "main code",
  },
  {
    name: "error-form",
    signedIn: true,
    open: async (page, { app, context }) => {
      await page.goto(request(app, "album", { prompt: "consent" }));
      await context.clearCookies({ name: "auth_session" });
      await press(page);
    },
    shows: "main a.button",
  },
  { name: "not-found", says: "No page at this address.", open: at("/nowhere"), shows: "main code" },
];

export const STOPS: readonly Stop[] = [...signingIn, ...account, ...factors, ...devices, ...mails, ...endings];
