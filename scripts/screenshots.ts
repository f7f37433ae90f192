import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { startPortal } from "../examples/portal/server.ts";
import { freePorts, startApp, type TestApp } from "../test/support/app.ts";
import { findChromium } from "../test/support/chromium.ts";
import { giveApp } from "../test/support/factors.ts";
import { authorizeUrl, postForm, postJson } from "../test/support/flow.ts";
import { internalOf } from "../test/support/portal.ts";
import { resetTokenFor } from "../test/support/resets.ts";

/** Takes a picture of every page, light and dark, small and large, and writes docs/pages.md: `npm run screenshots -- [NAME...]`. */

const folder = new URL("../docs/images/pages/", import.meta.url);
const [person, password] = ["ada@example.com", "correct horse battery"];
const redirectUri = "http://127.0.0.1:3000/callback";
const [portalPort = 0] = await freePorts(1);
const portalUrl = `http://localhost:${portalPort}`;
const clients = [
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
    client_id: "tv",
    client_name: "Living Room TV",
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
    scope: "openid",
  },
  {
    client_id: "portal",
    client_name: "Portal",
    redirect_uris: [`${portalUrl}/callback`],
    scope: "openid profile read write",
    first_party: true,
  },
];

/** A page: how a person gets there. */
interface Shot {
  readonly name: string;
  readonly says: string;
  readonly signedIn?: boolean;
  open(page: Page, app: TestApp): Promise<unknown>;
}

const request = (app: TestApp, extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, { clientId: "album", redirectUri, scope: "openid profile email", extra });

async function fill(page: Page, values: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(values)) await page.locator(`[name="${name}"]`).first().fill(value);
}

const submit = (page: Page) => page.locator("main button[type=submit]").first().click();

async function wrongPassword(page: Page): Promise<void> {
  await fill(page, { email: "grace@example.com", password: "not the password" });
  await submit(page);
  await page.getByRole("alert").waitFor();
}

async function userCode(app: TestApp): Promise<string> {
  const answer = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
  return ((await answer.json()) as { user_code: string }).user_code;
}

async function openDevice(page: Page, app: TestApp): Promise<void> {
  await page.goto(`${app.url}/device`);
  await fill(page, { user_code: await userCode(app) });
  await submit(page);
  await page.locator("button[name=decision]").first().waitFor();
}

const SHOTS: readonly Shot[] = [
  { name: "login", says: "Signing in to continue to an application.", open: (page, app) => page.goto(request(app)) },
  {
    name: "login-wrong",
    says: "A wrong password: one message, whichever part was wrong.",
    open: async (page, app) => {
      await page.goto(request(app));
      await wrongPassword(page);
    },
  },
  { name: "sign-up", says: "Creating an account.", open: (page, app) => page.goto(`${app.url}/signup`) },
  {
    name: "sign-up-errors",
    says: "Each wrong field says what is wrong with it.",
    open: async (page, app) => {
      await page.goto(`${app.url}/signup`);
      await fill(page, { email: person, nickname: "Ada", password: "password1" });
      await submit(page);
      await page.locator("[aria-invalid=true]").first().waitFor();
    },
  },
  {
    name: "consent",
    says: "An application asks for access. What the person allows here is recorded, and never exceeded.",
    signedIn: true,
    open: (page, app) => page.goto(request(app, { prompt: "consent" })),
  },
  {
    name: "select-account",
    says: "The application wants the person to choose an account (`prompt=select_account`).",
    signedIn: true,
    open: (page, app) => page.goto(request(app, { prompt: "select_account" })),
  },
  {
    name: "account",
    says: "The account: where it is signed in, and which applications have access.",
    signedIn: true,
    open: (page, app) => page.goto(`${app.url}/`),
  },
  ...[
    ["account-profile", "/account/profile", "The profile: what applications may see."],
    ["account-email", "/account/email", "A new address takes effect once its owner opens the mailed link."],
    ["account-security", "/account/security", "Authenticator app, recovery codes."],
    ["authenticator-app", "/account/security/totp", "An authenticator app is set up: it counts once a code proves it."],
    ["account-data", "/account/data", "Everything that is stored, as a file; and the end of the account."],
  ].map(([name = "", path = "", says = ""]) => ({
    name,
    says,
    signedIn: true,
    open: (page: Page, app: TestApp) => page.goto(app.url + path),
  })),
  {
    name: "second-factor",
    says: "The second step, after a right password.",
    open: async (page, app) => {
      await page.goto(request(app));
      await fill(page, { email: "lin@example.com", password });
      await submit(page);
      await page.locator("#code").waitFor();
    },
  },
  {
    name: "change-password",
    says: "A new password. Every other browser and application is signed out.",
    signedIn: true,
    open: (page, app) => page.goto(`${app.url}/account/password`),
  },
  {
    name: "device",
    says: "A device without a browser: the code that it shows is typed in.",
    signedIn: true,
    open: (page, app) => page.goto(`${app.url}/device`),
  },
  {
    name: "device-confirm",
    says: "The same code again, with a warning against codes that others sent.",
    signedIn: true,
    open: openDevice,
  },
  {
    name: "device-done",
    says: "The device is connected.",
    signedIn: true,
    open: async (page, app) => {
      await openDevice(page, app);
      await page.locator("button[value=allow]").click();
      await page.waitForLoadState();
    },
  },
  {
    name: "password-reset",
    says: "Forgotten password: a link is mailed.",
    open: (page, app) => page.goto(`${app.url}/password-reset`),
  },
  {
    name: "password-reset-sent",
    says: "The answer is the same whether there is such an account or not.",
    open: async (page, app) => {
      await page.goto(`${app.url}/password-reset`);
      await fill(page, { email: "grace@example.com" });
      await submit(page);
      await page.waitForURL((url) => url.pathname !== "/password-reset" || url.search !== "").catch(() => {});
      await page.waitForLoadState();
    },
  },
  {
    name: "password-reset-new",
    says: "The page behind the mailed link names the account, so that a password manager keeps both.",
    open: async (page, app) => page.goto(`${app.url}/password-reset?token=${await resetTokenFor(app, person)}`),
  },
  {
    name: "password-reset-over",
    says: "A link that was used or is too old says so at once.",
    open: (page, app) => page.goto(`${app.url}/password-reset?token=${"x".repeat(43)}`),
  },
  {
    name: "sign-out",
    says: "Signing out is asked for where the application cannot prove whom it means.",
    signedIn: true,
    open: (page, app) => page.goto(`${app.url}/connect/logout`),
  },
  {
    name: "signed-out",
    says: "Signed out.",
    signedIn: true,
    open: async (page, app) => {
      await page.goto(`${app.url}/connect/logout`);
      await submit(page);
      await page.waitForLoadState();
    },
  },
  {
    name: "error",
    says: "An application that is not known. The reference number finds the line in the log.",
    open: (page, app) => page.goto(authorizeUrl(app.url, { clientId: "unknown", redirectUri })),
  },
  { name: "not-found", says: "No page at this address.", open: (page, app) => page.goto(`${app.url}/nowhere`) },
  {
    name: "portal-start",
    says: "The example portal, an application that signs people in with this service.",
    open: async (page) => {
      await page.goto(portalUrl);
      await page.getByRole("link", { name: "Sign in" }).waitFor();
    },
  },
  {
    name: "portal",
    says: "The example portal: how a person signed in, a payment that asks for a second factor, devices.",
    signedIn: true,
    open: async (page) => {
      await page.goto(`${portalUrl}/login`);
      await page.locator("#devices:not([aria-busy])").waitFor();
    },
  },
];

const SIZES = { small: { width: 390, height: 780 }, large: { width: 1280, height: 860 } } as const;
const SCHEMES = ["light", "dark"] as const;

async function signIn(context: BrowserContext, app: TestApp): Promise<void> {
  const page = await context.newPage();
  await page.goto(`${app.url}/login`);
  await fill(page, { email: person, password });
  await submit(page);
  await page.waitForURL((url) => url.pathname === "/");
  await page.close();
}

function pageOfDocs(): string {
  const sections = SHOTS.map(({ name, says }) => {
    const pictures = Object.keys(SIZES).map((size) =>
      SCHEMES.map((scheme) => `![${name}, ${size}, ${scheme}](images/pages/${name}-${size}-${scheme}.jpg)`),
    );
    const rows = pictures.map((row, at) => `| ${Object.keys(SIZES)[at]} | ${row.join(" | ")} |`);
    return `## ${name}\n\n${says}\n\n|     | light | dark |\n| --- | ----- | ---- |\n${rows.join("\n")}\n`;
  });
  return `# Pages

Every page that people see, as \`npm run screenshots\` takes it: on a phone (390 px) and on a desk (1280 px), light and dark.
The pages of the service work without scripts; the last two are those of an example.

${sections.join("\n")}`;
}

const found = findChromium();
if (found === null) throw new Error("screenshots need Chromium, on the PATH or at CHROMIUM_PATH");
const wanted = process.argv.slice(2);
const shots = SHOTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const app = await startApp({ LOG_LEVEL: "error" }, clients);
const portal = await startPortal({
  port: portalPort,
  issuer: app.url,
  clientId: "portal",
  internal: internalOf(app),
});
await portal.ready;
const browser = await chromium.launch({
  executablePath: found.executablePath,
  env: { ...(process.env as Record<string, string>), ...found.env },
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
});
try {
  const signedUp = await postJson(`${app.url}/api/users/signup`, { email: person, password, nickname: "Ada" });
  const other = { email: "lin@example.com", password, nickname: "Lin" };
  const { data } = (await (await postJson(`${app.url}/api/users/signup`, other)).json()) as { data: { uuid: string } };
  await giveApp(app, data.uuid);
  if (signedUp.status !== 201) throw new Error(`sign-up answered ${signedUp.status}`);
  if (wanted.length === 0) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const scheme of SCHEMES) {
      for (const { name, signedIn = false, open } of shots) {
        const context = await browser.newContext({ viewport, colorScheme: scheme, locale: "en-US" });
        if (signedIn) await signIn(context, app);
        const page = await context.newPage();
        await open(page, app);
        const path = new URL(`${name}-${size}-${scheme}.jpg`, folder).pathname;
        await page.screenshot({ path, type: "jpeg", quality: 70, animations: "disabled", caret: "initial" });
        await context.close();
        process.stdout.write(`${name}, ${size}, ${scheme}\n`);
      }
    }
  }
  const page = new URL("../docs/pages.md", import.meta.url).pathname;
  writeFileSync(page, pageOfDocs());
  const biome = new URL("../node_modules/.bin/biome", import.meta.url).pathname;
  execFileSync(biome, ["format", "--write", page], { stdio: "inherit" });
} finally {
  await browser.close();
  await portal.close();
  await app.close();
}
