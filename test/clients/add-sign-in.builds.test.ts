import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, type Profile } from "../support/browser.ts";
import { type Account, signUp } from "../support/flow.ts";
import { buildGuide, type Guide, readGuide, registerAt, startOf } from "./guide.ts";
import { answerOf } from "./sign-in.ts";
import { programs, startProgram } from "./toolchains.ts";

/** Longer than an access token lives. */
const later = 3 * 60_000;

interface Kind {
  readonly name: string;
  /** It keeps its tokens in the page, not on its server. */
  readonly inPage: boolean;
  /** What its settings are for the service of the test; the environment overrides the guide's file. */
  env(settings: {
    readonly issuer: string;
    readonly url: string;
    readonly clientId: string;
    readonly secret: string;
  }): Record<string, string>;
}

const forVite: Kind["env"] = ({ issuer, clientId }) => ({ VITE_ISSUER: issuer, VITE_CLIENT_ID: clientId });
const forServer: Kind["env"] = ({ issuer, url, clientId, secret }) => ({
  ISSUER: issuer,
  CLIENT_ID: clientId,
  CLIENT_SECRET: secret,
  APP_URL: url,
  PORT: new URL(url).port,
  SESSION_PASSWORD: "a password of this test, 32 characters or more",
  NEXT_TELEMETRY_DISABLED: "1",
});

const kinds: readonly Kind[] = [
  { name: "React", inPage: true, env: forVite },
  { name: "Vue", inPage: true, env: forVite },
  { name: "Next", inPage: false, env: forServer },
  { name: "Express", inPage: false, env: forServer },
];

describe.each(kinds)("the guide's app for $name, as its reader types it", ({ name, inPage, env }) => {
  const guide: Guide = readGuide(name);
  const clockFile = join(mkdtempSync(join(tmpdir(), "clock-")), "shift");
  let app: TestApp;
  let program: Awaited<ReturnType<typeof startProgram>>;
  let browser: Browser | null;

  beforeAll(async () => {
    browser = await launchChromium();
    if (browser === null) return;
    const folder = await buildGuide(guide);
    const [port = 0] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    app = await startApp({});
    const registered = await registerAt(app, guide);
    writeFileSync(clockFile, "0");
    const clock = {
      CLOCK_SHIFT_FILE: clockFile,
      NODE_OPTIONS: `--import ${join(programs, "clock/shift.mjs")}`,
    };
    const command = [...startOf(guide, folder), ...(inPage ? ["--port", String(port), "--strictPort"] : [])];
    const settings = env({ issuer: app.url, url, ...registered });
    program = await startProgram(command, url, { ...settings, ...(inPage ? {} : clock) }, folder);
  }, 600_000);
  afterAll(async () => {
    await browser?.close();
    await program?.close();
    await app?.close();
  });

  const control = (page: Page, label: string) =>
    page.getByRole("button", { name: label, exact: true }).or(page.getByRole("link", { name: label, exact: true }));
  const isSignedIn = ({ nickname, email }: Account, page: Page) =>
    page.getByText(`Signed in as ${nickname}, ${email}`, { exact: true }).waitFor();

  async function signIn({ page }: Profile): Promise<Account> {
    const account = await signUp(app.url, { nickname: "Zoë <b>🦊</b>" });
    await page.goto(program.url);
    await control(page, "Sign in").click();
    await page.getByLabel("E-mail address").fill(account.email);
    await page.getByLabel("Password").fill(account.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await isSignedIn(account, page);
    return account;
  }

  /** The library's timer comes before the access token ends. */
  async function renewInPage(page: Page): Promise<void> {
    const answer = page.waitForResponse((response) => response.url().endsWith("/oauth2/token"));
    await page.context().clock.fastForward(70_000);
    expect((await answer).status()).toBe(200);
  }

  /** The service refuses the access token from now on, and the app's own clock says that it has expired. */
  async function renewOnServer(page: Page, ahead: number): Promise<void> {
    writeFileSync(clockFile, String(ahead));
    await page.reload();
  }

  inBrowser("signs in, stays signed in when the access token expires, signs out and has to sign in again", async () => {
    const profile = await openProfile(browser, { locale: "en-US" });
    const { page, context, complaints } = profile;
    try {
      if (inPage) await context.clock.install();
      const account = await signIn(profile);
      expect(new URL(page.url()).pathname).toBe("/");
      await page.reload();
      await isSignedIn(account, page);

      // the second time with the refresh token that the first one gave
      for (const ahead of [later, 2 * later]) {
        app.clock.shift = ahead;
        await (inPage ? renewInPage(page) : renewOnServer(page, ahead));
        await isSignedIn(account, page);
      }

      await control(page, "Sign out").click();
      await control(page, "Sign in").waitFor();
      expect(page.url()).toBe(`${program.url}/`);
      await page.reload();
      await control(page, "Sign in").click();
      await page.getByLabel("Password").waitFor();
      expect(new URL(page.url()).origin).toBe(app.url);
      expect(complaints).toEqual([]);
    } finally {
      app.clock.shift = 0;
      writeFileSync(clockFile, "0");
      await profile.close();
    }
  });

  inBrowser("signs nobody in by an answer to a login that somebody else began", async () => {
    const attacker = await openProfile(browser, { locale: "en-US" });
    const victim = await openProfile(browser, { locale: "en-US" });
    try {
      await attacker.page.goto(program.url);
      const begun = attacker.page.waitForRequest((request) => request.url().startsWith(`${app.url}/oauth2/authorize?`));
      await control(attacker.page, "Sign in").click();
      const answer = await answerOf(new URL((await begun).url()), await signUp(app.url));
      expect(answer.searchParams.get("code")).toMatch(/./);
      await victim.page.goto(answer.href);
      await victim.page.goto(program.url);
      await control(victim.page, "Sign in").waitFor();
    } finally {
      await attacker.close();
      await victim.close();
    }
  });
});
