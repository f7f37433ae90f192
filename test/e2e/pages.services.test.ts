import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  accessibilityTree,
  type ClientServer,
  inBrowser,
  launchChromium,
  openProfile,
  type Profile,
  skip,
  startClientServer,
} from "../support/browser.ts";
import { type Account, authorizeUrl, pkce, postJson, redeem, signUp, uniqueEmail } from "../support/flow.ts";
import { resetEvents, until } from "../support/resets.ts";

const hasIpv6 = Object.values(networkInterfaces()).some((one) => one?.some(({ address }) => address === "::1"));

let app: TestApp;
let client: ClientServer;
let client6: ClientServer | null;
let browser: Browser | null;

beforeAll(async () => {
  client = await startClientServer();
  client6 = hasIpv6 ? await startClientServer("::1") : null;
  const scope = "openid profile email read write";
  app = await startApp({ PASSWORD_BLOCKLIST: "1" }, [
    {
      client_id: "own",
      client_name: "Own <b>& Co</b>",
      redirect_uris: [`${client.origin}/callback`, ...(client6 === null ? [] : [`${client6.origin}/callback`])],
      post_logout_redirect_uris: [`${client.origin}/bye`],
      first_party: true,
      scope,
    },
    { client_id: "photos", client_name: "Photo Album", redirect_uris: [`${client.origin}/photos`], scope },
  ]);
  browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  await app?.close();
  await client?.close();
  await client6?.close();
});

/** Runs with a fresh profile without script, which must have nothing to complain of at the end. */
async function withProfile(language: Language, work: (profile: Profile) => Promise<void>): Promise<void> {
  const locale = language === "ko" ? "ko-KR" : "en-US";
  const profile = await openProfile(browser, { locale, javaScriptEnabled: false });
  try {
    await work(profile);
    expect(profile.complaints).toEqual([]);
  } finally {
    await profile.close();
  }
}

/** As the browsers of most people are. */
async function inContextWithScript(work: (page: Page, context: Profile["context"]) => Promise<void>): Promise<void> {
  const { page, context, close } = await openProfile(browser, { locale: "en-US" });
  try {
    await work(page, context);
  } finally {
    await close();
  }
}

function startUrl(
  options: { clientId?: string; path?: string; state?: string; challenge?: string; prompt?: string } = {},
) {
  const { clientId = "own", path = "/callback", prompt, ...rest } = options;
  return authorizeUrl(app.url, {
    clientId,
    redirectUri: `${client.origin}${path}`,
    scope: "openid profile read",
    ...rest,
    ...(prompt === undefined ? {} : { extra: { prompt } }),
  });
}

async function signInOn(page: Page, language: Language, { email, password }: Pick<Account, "email" | "password">) {
  const t = MESSAGES[language];
  await page.getByLabel(t.email).fill(email);
  await page.getByLabel(t.password).fill(password);
  await page.getByRole("button", { name: t.signIn }).click();
}

/** The answer that the client got, once the browser is there. */
async function atClient(page: Page, path = "/callback"): Promise<URL> {
  await page.waitForURL((url) => url.origin === client.origin && url.pathname === path);
  return new URL(page.url());
}

/** Waits for the focus, which a browser gives after it has drawn a page. @param id of the element that gets it */
async function focused(page: Page, id: string): Promise<void> {
  await page.locator(`#${id}:focus`).waitFor();
}

/** The newest reset link that was mailed to this address, as the events tell it. */
async function resetUrlOf(email: string): Promise<string> {
  const event = await until(() => resetEvents(app, email).at(-1));
  return event.payload["resetUrl"] ?? "";
}

describe.each<Language>(["en", "ko"])("the pages in Chromium without script, language %s", (language) => {
  const t = MESSAGES[language];
  const texts = t.fields(8);

  inBrowser("S-016 S-173 sign-up goes straight on to the client with a code that is good", () =>
    withProfile(language, async ({ page }) => {
      const { verifier, challenge } = pkce();
      await page.goto(startUrl({ challenge, state: "s & <1>" }));
      expect(await page.locator("html").getAttribute("lang")).toBe(language);
      await page.getByRole("link", { name: t.signUp }).click();
      const email = uniqueEmail();
      await page.getByLabel(t.email).fill(email);
      await page.getByLabel(t.nickname).fill("별명 <i>");
      const password = page.getByLabel(t.password);
      expect(await password.getAttribute("type")).toBe("password");
      expect(await password.getAttribute("autocomplete")).toBe("new-password");
      expect(await page.getByLabel(t.email).getAttribute("autocomplete")).toBe("username");
      await password.fill("correct horse battery");
      await page.getByRole("button", { name: t.signUp }).click();
      const answer = await atClient(page);
      expect(answer.searchParams.get("state")).toBe("s & <1>");
      expect(answer.searchParams.get("iss")).toBe(app.url);
      const extra = { client_id: "own", redirect_uri: `${client.origin}/callback` };
      const response = await redeem(app.url, answer.searchParams.get("code") ?? "", verifier, extra);
      expect(response.status).toBe(200);
    }),
  );

  inBrowser("sign-up shows an error at each invalid field, and focuses the first one", () =>
    withProfile(language, async ({ page }) => {
      const taken = await signUp(app.url);
      await page.goto(`${app.url}/signup`);
      const send = async (email: string, nickname: string, password: string) => {
        await page.getByLabel(t.email).fill(email);
        await page.getByLabel(t.nickname).fill(nickname);
        await page.getByLabel(t.password).fill(password);
        const answered = page.waitForResponse((response) => response.request().method() === "POST");
        await page.getByRole("button", { name: t.signUp }).click();
        await answered;
        await page.waitForLoadState();
      };
      await send(uniqueEmail(), "   ", "password123");
      expect(await page.locator("#nickname-wrong").textContent()).toBe(texts.nickname.wrong_length);
      expect(await page.locator("#password-wrong").textContent()).toBe(texts.password.too_common);
      await focused(page, "nickname");
      expect(await page.getByLabel(t.password).inputValue()).toBe("");
      expect(await page.title()).toContain(t.titleOfError);

      // four characters, eight UTF-16 units: the browser lets them pass
      await send(uniqueEmail(), "nick", "😀😁😂😃");
      expect(await page.locator("#password-wrong").textContent()).toBe(texts.password.too_short);
      await focused(page, "password");
      await send(uniqueEmail(), "nick", "x".repeat(129));
      expect(await page.locator("#password-wrong").textContent()).toBe(texts.password.too_long);

      await send(taken.email.toUpperCase(), "nick", "another horse battery");
      expect(await page.locator("#email-wrong").textContent()).toBe(texts.email.taken);
      await focused(page, "email");
      const field = (await accessibilityTree(page)).find(({ role, name }) => role === "textbox" && name === t.email);
      expect(field).toMatchObject({ invalid: true, focused: true, description: texts.email.taken });
    }),
  );

  inBrowser("S-034 a wrong password shows one message, then the right one goes on", () =>
    withProfile(language, async ({ page }) => {
      const account = await signUp(app.url);
      await page.goto(startUrl());
      expect(await page.locator("main strong").textContent()).toBe("Own <b>& Co</b>");
      for (const email of [uniqueEmail(), account.email]) {
        await signInOn(page, language, { email, password: "not the password" });
        await page.getByRole("alert").waitFor();
        expect(await page.getByRole("alert").textContent()).toBe(t.errors["invalid_credentials"]);
        expect(await page.getByLabel(t.email).inputValue()).toBe(email);
      }
      await focused(page, "password");
      const field = (await accessibilityTree(page)).find(({ role, name }) => role === "textbox" && name === t.password);
      expect(field).toMatchObject({ invalid: true, focused: true, description: t.errors["invalid_credentials"] });
      await signInOn(page, language, account);
      expect((await atClient(page)).searchParams.get("code")).toMatch(/^.{20,}$/);
    }),
  );

  inBrowser("S-029 S-032 consent is asked, may be denied, and once given is remembered for its scopes", () =>
    withProfile(language, async ({ page }) => {
      const account = await signUp(app.url);
      const url = startUrl({ clientId: "photos", path: "/photos" });
      await page.goto(url);
      await signInOn(page, language, account);
      await page.getByRole("button", { name: t.deny }).click();
      const denied = await atClient(page, "/photos");
      expect(denied.searchParams.get("error")).toBe("access_denied");
      expect(denied.searchParams.get("iss")).toBe(app.url);

      await page.goto(url);
      expect(await page.getByRole("listitem").allTextContents()).toEqual([
        t.scopes["openid"],
        t.scopes["profile"],
        t.scopes["read"],
      ]);
      expect(await page.locator("dd").allTextContents()).toEqual([account.email, client.origin]);
      expect(await page.locator("main").textContent()).toContain("Photo Album");
      await page.getByRole("button", { name: t.allow, exact: true }).click();
      expect((await atClient(page, "/photos")).searchParams.has("code")).toBe(true);

      await page.goto(startUrl({ clientId: "photos", path: "/photos", state: "again" }));
      const again = await atClient(page, "/photos");
      expect([again.searchParams.get("state"), again.searchParams.has("code")]).toEqual(["again", true]);
      await page.goto(startUrl({ clientId: "photos", path: "/photos", prompt: "consent" }));
      expect(await page.locator("h1").textContent()).toBe(t.consentTitle);
    }),
  );

  inBrowser("C-39 an address with an internationalised domain signs up, signs in and is shown as it was typed", () =>
    withProfile(language, async ({ page, context }) => {
      const account = { email: `info.${language}@bücher.example`, password: "correct horse battery", nickname: "Info" };
      await page.goto(`${app.url}/signup`);
      await page.getByLabel(t.email).fill(account.email);
      await page.getByLabel(t.nickname).fill(account.nickname);
      await page.getByLabel(t.password).fill(account.password);
      await page.getByRole("button", { name: t.signUp }).click();
      await page.getByText(account.email).waitFor();
      await context.clearCookies();
      await page.goto(`${app.url}/login`);
      await signInOn(page, language, account);
      await page.getByText(account.email).waitFor();
      const again = await postJson(`${app.url}/api/users/signup`, account);
      expect(again.status).toBe(409);
    }),
  );

  inBrowser("S-170 a password is reset from the mail's link, which is good once", () =>
    withProfile(language, async ({ page }) => {
      const account = await signUp(app.url);
      await page.goto(startUrl());
      await page.getByRole("link", { name: t.forgot }).click();
      await page.getByLabel(t.email).fill(account.email);
      await page.getByRole("button", { name: t.resetSend }).click();
      await page.getByText(t.resetSentAfter.trim()).waitFor();
      expect(await page.locator("main").textContent()).toContain(account.email);

      const link = await resetUrlOf(account.email);
      await page.goto(link);
      expect(await page.getByLabel(t.newPassword).getAttribute("autocomplete")).toBe("new-password");
      await page.getByLabel(t.newPassword).fill("password123");
      await page.getByRole("button", { name: t.resetSave }).click();
      await page.locator("#password-wrong").waitFor();
      expect(await page.locator("#password-wrong").textContent()).toBe(texts.password.too_common);
      await focused(page, "password");
      await page.getByLabel(t.newPassword).fill("another horse battery");
      await page.getByRole("button", { name: t.resetSave }).click();
      await page.getByRole("heading", { name: t.resetDoneTitle }).waitFor();

      await page.goto(link);
      await page.getByRole("alert").waitFor();
      expect(await page.getByLabel(t.newPassword).count()).toBe(0);
      expect(await page.getByRole("alert").textContent()).toBe(t.errors["reset_token_invalid"]);
      await focused(page, "problem");
      await page.getByRole("link", { name: t.resetAgain }).click();
      await page.getByRole("link", { name: t.backToSignIn }).click();

      // the request that the browser came with still waits
      await signInOn(page, language, account);
      await page.getByRole("alert").waitFor();
      await signInOn(page, language, { ...account, password: "another horse battery" });
      expect((await atClient(page)).searchParams.has("code")).toBe(true);
    }),
  );

  inBrowser("S-039 signing out asks first without a hint, and ends the session", () =>
    withProfile(language, async ({ page, context }) => {
      const account = await signUp(app.url);
      await page.goto(startUrl());
      await signInOn(page, language, account);
      await atClient(page);
      const old = await context.cookies(app.url);
      await page.goto(app.url);
      expect(await page.locator("main").textContent()).toContain(account.email);
      await page.getByRole("link", { name: t.signOut }).click();
      expect(await page.locator("h1").textContent()).toBe(t.logoutTitle);
      await page.getByRole("link", { name: t.staySignedIn }).click();
      await page.getByRole("link", { name: t.signOut }).click();
      await page.getByRole("button", { name: t.signOut }).click();
      await page.getByRole("heading", { name: t.loggedOutTitle }).waitFor();
      expect((await context.cookies(app.url)).map(({ name }) => name)).not.toContain("auth_session");
      await context.addCookies(old);
      await page.goto(startUrl());
      expect(await page.locator("h1").textContent()).toBe(t.signIn);
    }),
  );

  inBrowser("signing out without a hint may end at the client's registered page, on its own origin", () =>
    withProfile(language, async ({ page }) => {
      await page.goto(startUrl());
      await signInOn(page, language, await signUp(app.url));
      await atClient(page);
      const query = new URLSearchParams({
        client_id: "own",
        post_logout_redirect_uri: `${client.origin}/bye`,
        state: "x y",
      });
      await page.goto(`${app.url}/connect/logout?${query}`);
      await page.getByRole("button", { name: t.signOut }).click();
      expect((await atClient(page, "/bye")).searchParams.get("state")).toBe("x y");
    }),
  );

  inBrowser("S-021 S-023 S-178 every page is named and labelled, forbids framing and caching, and loads nothing", () =>
    withProfile(language, async ({ page, context }) => {
      const account = await signUp(app.url);
      const loaded: string[] = [];
      page.on("request", (request) => {
        if (!request.isNavigationRequest() && !request.url().startsWith("data:")) loaded.push(request.url());
      });
      const query = new URLSearchParams({ client_id: "<script>alert(1)</script>", redirect_uri: '"><img src=x>' });
      const look = async (url: string) => {
        const response = await page.goto(url);
        const headers = response?.headers() ?? {};
        expect(headers["content-security-policy"]).toContain("default-src 'none'");
        expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
        expect(headers).toMatchObject({
          "x-frame-options": "DENY",
          "x-content-type-options": "nosniff",
          "referrer-policy": "no-referrer",
          "cache-control": "no-store",
          "content-language": language,
        });
        expect(await page.title()).toMatch(/^.+ · .+$/);
        expect(await page.locator("h1").count()).toBe(1);
        const loaded = "script:not([src^='/assets/']), img, iframe, link:not([href^='data:'])";
        expect(await page.locator(loaded).count()).toBe(0);
        const tree = await accessibilityTree(page);
        const controls = tree.filter(({ role }) => ["textbox", "button", "link"].includes(role));
        expect(controls.filter(({ name }) => name.trim() === "")).toEqual([]);
        expect(tree.some(({ role }) => role === "main")).toBe(true);
        expect(controls.filter(({ role }) => role === "textbox").length).toBe(
          await page.locator("input:not([type=hidden])").count(),
        );
        // nothing to scroll sideways on a small phone
        await page.setViewportSize({ width: 320, height: 640 });
        expect(await page.evaluate<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(320);
      };
      await look(startUrl());
      for (const path of ["/", "/login", "/signup", "/password-reset", "/password-reset?token=x", "/connect/logout"]) {
        await look(`${app.url}${path}`);
      }
      await look(`${app.url}/oauth2/authorize?${query}`);
      await context.clearCookies();
      await page.goto(startUrl({ clientId: "photos", path: "/photos" }));
      await signInOn(page, language, account);
      await page.getByRole("button", { name: t.deny }).waitFor();
      await look(page.url());
      await look(`${app.url}/`);
      expect(loaded).toEqual([]);
    }),
  );
});

describe("the browser's own ways", () => {
  const t = MESSAGES.en;

  inBrowser("two tabs keep two requests: each login answers its own client request", () =>
    withProfile("en", async ({ page, context }) => {
      const account = await signUp(app.url);
      const other = await context.newPage();
      await page.goto(startUrl({ state: "first" }));
      await other.goto(startUrl({ state: "second" }));
      await signInOn(page, "en", account);
      expect((await atClient(page)).searchParams.get("state")).toBe("first");

      await signInOn(other, "en", account);
      const answer = await atClient(other);
      expect([answer.searchParams.get("state"), answer.searchParams.has("code")]).toEqual(["second", true]);
    }),
  );

  inBrowser(
    "C-31 a tab whose page answered a form is about its own application still, opened again by its address",
    () =>
      inContextWithScript(async (page, context) => {
        const account = await signUp(app.url);
        const later = await context.newPage();
        await page.goto(startUrl({ clientId: "photos", path: "/photos" }));
        await later.goto(startUrl({}));
        await signInOn(page, "en", { ...account, password: "not this one" });
        await page.getByText(t.errors["invalid_credentials"] ?? "").waitFor();
        // as a restored tab: without the form that its page answered
        await page.goto(page.url());
        await page.getByText("Photo Album").first().waitFor();
        await signInOn(page, "en", account);
        await page.getByRole("button", { name: t.allow, exact: true }).click();
        await atClient(page, "/photos");
      }),
  );

  const withIpv6 = hasIpv6 ? inBrowser : (name: string) => skip(name, "::1 on this machine");
  withIpv6("the form's answer reaches a client on an IPv6 address, which a policy cannot name", () =>
    withProfile("en", async ({ page }) => {
      const account = await signUp(app.url);
      const redirectUri = `${client6?.origin}/callback`;
      await page.goto(authorizeUrl(app.url, { clientId: "own", redirectUri, scope: "openid" }));
      await signInOn(page, "en", account);
      await page.waitForURL(`${redirectUri}?**`);
      expect(new URL(page.url()).searchParams.has("code")).toBe(true);
    }),
  );

  inBrowser("C-30 the back button after the login shows no old form: it leads to the application again", () =>
    withProfile("en", async ({ page }) => {
      const account = await signUp(app.url);
      await page.goto(`${client.origin}/start`);
      await page.goto(startUrl());
      await signInOn(page, "en", account);
      const first = await atClient(page);
      await page.goBack();
      const again = await atClient(page);
      expect(again.searchParams.get("state")).toBe(first.searchParams.get("state"));
      expect(again.searchParams.get("code")).not.toBe(first.searchParams.get("code"));
    }),
  );

  inBrowser("who types a password before the page's script has run goes on typing in the same field", async () => {
    const { page, close } = await openProfile(browser);
    const script = readFileSync("src/http/pages/scripts/page.js", "utf8");
    try {
      await page.route("**/login", async (route) => {
        const response = await route.fetch();
        const body = (await response.text()).replaceAll(/<script[\s\S]*?<\/script>/g, "");
        await route.fulfill({ response, body });
      });
      await page.goto(`${app.url}/login`);
      await page.locator("#password").focus();
      await page.keyboard.type("correct ");
      await page.evaluate(`(() => { ${script} })()`);
      await page.getByRole("button", { name: MESSAGES.en.showPassword }).waitFor();
      await page.keyboard.type("horse");
      expect(await page.locator("#password").inputValue()).toBe("correct horse");
    } finally {
      await close();
    }
  });

  inBrowser("S-028 markup in any parameter or field is shown as text, with script enabled, too", async () => {
    const hostile = `"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}<%= 7*7 %>'`;
    const profile = await openProfile(browser, { locale: "en-US" });
    try {
      const { page } = profile;
      const dialogs: string[] = [];
      page.on("dialog", (dialog) => {
        dialogs.push(dialog.message());
        void dialog.dismiss();
      });
      const nothingInjected = async () =>
        expect(await page.locator("img, script:not([src^='/assets/'])").count()).toBe(0);
      const extra = { login_hint: hostile, state: hostile, nonce: hostile };
      const redirectUri = `${client.origin}/callback`;
      await page.goto(authorizeUrl(app.url, { clientId: "own", redirectUri, scope: "openid", extra }));
      expect(await page.getByLabel(t.email).inputValue()).toBe(hostile);
      await nothingInjected();
      await page.goto(`${app.url}/signup`);
      await page.getByLabel(t.email).fill(uniqueEmail());
      await page.getByLabel(t.nickname).fill(hostile);
      await page.getByLabel(t.password).fill("password123");
      await page.getByRole("button", { name: t.signUp, exact: true }).click();
      await page.locator("#password-wrong").waitFor();
      expect(await page.getByLabel(t.nickname).inputValue()).toBe(hostile);
      await nothingInjected();
      await page.goto(`${app.url}/password-reset?${new URLSearchParams({ token: hostile })}`);
      expect(await page.getByRole("alert").textContent()).toBe(MESSAGES.en.errors["reset_token_invalid"]);
      await nothingInjected();
      await page.goto(
        `${app.url}/oauth2/authorize?${new URLSearchParams([
          ['a"><img src=x>', "1"],
          ['a"><img src=x>', "2"],
        ])}`,
      );
      expect(await page.locator("code").first().textContent()).toContain("<img src=x>");
      await nothingInjected();
      expect([dialogs, profile.complaints]).toEqual([[], []]);
    } finally {
      await profile.close();
    }
  });

  inBrowser("S-033 a consent form sent by another site is refused although it carries the reader's fields", () =>
    withProfile("en", async ({ page, context }) => {
      await page.goto(startUrl({ clientId: "photos", path: "/photos" }));
      await signInOn(page, "en", await signUp(app.url));
      const fields = await page
        .locator("input[type=hidden]")
        .evaluateAll((inputs) => inputs.map((input) => [input.getAttribute("name"), input.getAttribute("value")]));
      expect(fields.length).toBe(2);
      const body = new URLSearchParams([...(fields as [string, string][]), ["decision", "allow"]]).toString();
      const cookie = (await context.cookies(app.url)).map(({ name, value }) => `${name}=${value}`).join("; ");
      const response = await fetch(`${app.url}/consent`, {
        method: "POST",
        redirect: "manual",
        body,
        headers: {
          cookie,
          origin: "https://evil.example",
          "sec-fetch-site": "cross-site",
          "content-type": "application/x-www-form-urlencoded",
        },
      });
      expect([response.status, response.headers.get("location")]).toEqual([403, null]);
    }),
  );

  inBrowser("signing out with the ID token as hint asks nothing and returns to the client", () =>
    withProfile("en", async ({ page, context }) => {
      const account = await signUp(app.url);
      const { verifier, challenge } = pkce();
      await page.goto(startUrl({ challenge }));
      await signInOn(page, "en", account);
      const code = (await atClient(page)).searchParams.get("code") ?? "";
      const extra = { client_id: "own", redirect_uri: `${client.origin}/callback` };
      const tokens = (await (await redeem(app.url, code, verifier, extra)).json()) as { id_token: string };
      const query = new URLSearchParams({
        id_token_hint: tokens.id_token,
        post_logout_redirect_uri: `${client.origin}/bye`,
      });
      await page.goto(`${app.url}/connect/logout?${query}`);
      await atClient(page, "/bye");
      expect((await context.cookies(app.url)).map(({ name }) => name)).not.toContain("auth_session");
    }),
  );
});
