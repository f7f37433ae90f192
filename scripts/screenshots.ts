import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { startPortal } from "../examples/portal/server.ts";
import { freePorts, startApp } from "../test/support/app.ts";
import { findChromium } from "../test/support/chromium.ts";
import { SERVICES, unpackPackages } from "../test/support/debian-packages.ts";
import { signUp } from "../test/support/flow.ts";
import { internalOf } from "../test/support/portal.ts";
import { openStop, STOPS, type Stop, WALKED_CLIENTS, WALKED_ENV } from "../test/support/walk.ts";

/** Takes a picture of every page, light and dark, small and large, and writes docs/pages.md: `npm run screenshots -- [NAME...]`. */

const folder = new URL("../docs/images/pages/", import.meta.url);
const [portalPort = 0] = await freePorts(1);
const portalUrl = `http://localhost:${portalPort}`;
const portalClient = {
  client_id: "portal",
  client_name: "Portal",
  redirect_uris: [`${portalUrl}/callback`],
  scope: "openid profile read write",
  first_party: true,
};
/** The example beside the pages of the service. */
const PORTAL: readonly Stop[] = [
  {
    name: "portal-start",
    says: "The example portal, an application that signs people in with this service.",
    shows: "h1",
    open: async (page) => {
      await page.goto(portalUrl);
      await page.getByRole("link", { name: "Sign in" }).waitFor();
    },
  },
  {
    name: "portal",
    says: "The example portal: how a person signed in, a payment that asks for a second factor, devices.",
    signedIn: true,
    shows: "h1",
    open: async (page) => {
      await page.goto(`${portalUrl}/login`);
      await page.locator("#devices:not([aria-busy])").waitFor();
    },
  },
];
const shots = [...STOPS.filter((stop) => stop.says !== undefined), ...PORTAL];

const SIZES = { small: { width: 390, height: 780 }, large: { width: 1280, height: 860 } } as const;
const SCHEMES = ["light", "dark"] as const;

function pageOfDocs(): string {
  const sections = shots.map(({ name, says }) => {
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

// the package's Chromium brings a font for Latin letters only
const fonts = join(SERVICES, "asian-fonts");
if (!existsSync(fonts)) unpackPackages(fonts, ["fonts-droid-fallback"]);
if (!existsSync(fonts)) process.stderr.write("apt has no fonts-droid-fallback: Korean and Japanese may be missing\n");
const found = findChromium();
if (found === null) throw new Error("screenshots need Chromium, on the PATH or at CHROMIUM_PATH");
// each service has a folder of its own: all of them are in this one, which is gone at the end
const temporary = mkdtempSync(join(tmpdir(), "auth-screenshots-"));
process.env["TMPDIR"] = temporary;
const wanted = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: found.executablePath,
  env: { ...(process.env as Record<string, string>), ...found.env },
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
});

/** Each picture is of a service of its own, in which everybody is called the same. */
async function take(stop: Stop, size: keyof typeof SIZES, colorScheme: (typeof SCHEMES)[number]): Promise<void> {
  const app = await startApp(WALKED_ENV, [...WALKED_CLIENTS, portalClient]);
  const portal = await startPortal({
    port: portalPort,
    issuer: app.url,
    clientId: portalClient.client_id,
    internal: internalOf(app),
  });
  await portal.ready;
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme, locale: "en-US" });
  try {
    const account = await signUp(app.url, { email: "ada@example.com", nickname: "Ada" });
    const page = await openStop(stop, { app, context, account });
    const path = new URL(`${stop.name}-${size}-${colorScheme}.jpg`, folder).pathname;
    await page.screenshot({
      path,
      type: "jpeg",
      quality: 70,
      fullPage: true,
      animations: "disabled",
      caret: "initial",
    });
    process.stdout.write(`${stop.name}, ${size}, ${colorScheme}\n`);
  } finally {
    await context.close();
    await portal.close();
    await app.close();
  }
}

try {
  if (wanted.length === 0) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const stop of shots.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
    for (const size of ["small", "large"] as const) for (const scheme of SCHEMES) await take(stop, size, scheme);
  }
  const page = new URL("../docs/pages.md", import.meta.url).pathname;
  writeFileSync(page, pageOfDocs());
  const biome = new URL("../node_modules/.bin/biome", import.meta.url).pathname;
  execFileSync(biome, ["format", "--write", page], { stdio: "inherit" });
} finally {
  await browser.close();
  rmSync(temporary, { recursive: true, force: true });
}
