import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, jest } from "@jest/globals";
import axe from "axe-core";
import { Eta } from "eta";
import type { Browser, Page } from "playwright-core";
import { LANGUAGES, type Language } from "../../src/config/languages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile } from "../support/browser.ts";
import { signUp } from "../support/flow.ts";
import { Keyboard } from "../support/keyboard.ts";
import { openStop, STOPS, type Stop, WALKED_CLIENTS, WALKED_ENV } from "../support/walk.ts";

/** Pages at once: while one waits for the service another is looked at. */
const atOnce = 6;

const templates = readdirSync(new URL("../../src/http/pages/", import.meta.url)).filter((name) =>
  name.endsWith(".eta"),
);
/** Eta looks each template up that it shows, and each that another includes. */
const shown = jest.spyOn(Object.getPrototypeOf(new Eta().templatesSync) as { get(path: string): unknown }, "get");

let app: TestApp;
let browser: Browser | null;
beforeAll(async () => {
  app = await startApp(WALKED_ENV, WALKED_CLIENTS);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await app?.close();
});

const sizes = { phone: { width: 390, height: 780 }, desk: { width: 1280, height: 860 } } as const;

/** How a page is looked at. */
interface Look {
  readonly size: keyof typeof sizes;
  readonly colorScheme: "light" | "dark";
  readonly forcedColors?: "active" | "none";
}

const everyLook: readonly Look[] = [
  { size: "desk", colorScheme: "light" },
  { size: "desk", colorScheme: "dark" },
  { size: "phone", colorScheme: "dark" },
  { size: "phone", colorScheme: "light" },
  { size: "phone", colorScheme: "light", forcedColors: "active" },
];

/** English in every look; each other language in one, the same for neither all pages nor all languages. */
function looksOf(language: Language, number: number): readonly Look[] {
  if (language === "en") return everyLook;
  return everyLook.slice((number + LANGUAGES.indexOf(language)) % 4).slice(0, 1);
}

async function look(page: Page, { size, colorScheme, forcedColors = "none" }: Look): Promise<void> {
  await page.setViewportSize(sizes[size]);
  await page.emulateMedia({ colorScheme, forcedColors });
  // axe judges no text on a gradient: it gets the end of it that is the worse ground for texts
  await page.evaluate(`document.body.style.background = "var(--glow)"`);
}

/** What axe finds, or cannot judge. Of forced colours it sees the page's own ones in part, and judges those. */
async function findings(page: Page, { forcedColors }: Look): Promise<string[]> {
  const options = {
    resultTypes: ["violations", "incomplete"],
    rules: { "color-contrast": { enabled: forcedColors !== "active" } },
  };
  const { violations, incomplete } = await page.evaluate<axe.AxeResults>(
    `axe.run(document, ${JSON.stringify(options)})`,
  );
  return [...violations, ...incomplete].flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary = "" }) => `${id}: ${html.slice(0, 160)} ${failureSummary.slice(0, 300)}`),
  );
}

/** Narrow, and with texts twice as large (WCAG 2.2, 1.4.10 and 1.4.4). */
const squeezes = [
  { width: 320, text: "100%" },
  { width: 1280, text: "200%" },
  { width: 390, text: "200%" },
];

/** What is cut off, or lies where one had to scroll sideways. */
async function overflows(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const { width, text } of squeezes) {
    await page.setViewportSize({ width, height: 640 });
    await page.evaluate(`document.documentElement.style.fontSize = "${text}"`);
    const outside = await page.evaluate<string[]>(outsideOfPage);
    found.push(...outside.map((what) => `${width} px, text at ${text}: ${what}`));
  }
  return found;
}

/** A field scrolls what is typed into it. */
const outsideOfPage = `
  [...document.querySelectorAll("body, body *:not(input)")].flatMap((element) => {
    const { left, right } = element.getBoundingClientRect();
    const { display } = getComputedStyle(element);
    if (element.getClientRects().length === 0 || element.closest("svg") !== null) return [];
    const isOutside = left < -1 || right > innerWidth + 1;
    const isCut = display !== "inline" && element.scrollWidth > element.clientWidth + 1;
    return isOutside || isCut ? [element.outerHTML.slice(0, 160)] : [];
  })`;

async function inspect(stop: Stop, language: Language, number: number): Promise<string[]> {
  const profile = await openProfile(browser, { locale: language, reducedMotion: "reduce" });
  const { context } = profile;
  try {
    const page = await openStop(stop, { app, context, account: await signUp(app.url) });
    expect([stop.name, await page.locator("html").getAttribute("lang")]).toEqual([stop.name, language]);
    await page.evaluate(axe.source);
    const found: string[] = [];
    for (const each of looksOf(language, number)) {
      await look(page, each);
      const name = [stop.name, language, ...Object.values(each)].join(", ");
      found.push(...(await findings(page, each)).map((finding) => `${name}: ${finding}`));
    }
    if (language === "en" || language === "de") {
      await look(page, { size: language === "en" ? "desk" : "phone", colorScheme: "light" });
      const keys = new Keyboard(page);
      await keys.round();
      found.push(...keys.problems.map((problem) => `${stop.name}, ${language}, by keyboard: ${problem}`));
    }
    if (language === "de" || language === "ja") {
      found.push(...(await overflows(page)).map((overflow) => `${stop.name}, ${language}, ${overflow}`));
    }
    return found;
  } finally {
    await profile.close();
  }
}

/** Works on all pages. @returns what was found */
async function walk(work: (stop: Stop, number: number) => Promise<string[]>): Promise<string[]> {
  const stops = [...STOPS.entries()];
  const found: string[] = [];
  const worker = async () => {
    for (let next = stops.shift(); next !== undefined; next = stops.shift()) {
      const [number, stop] = next;
      found.push(...(await work(stop, number).catch((error: unknown) => [String(error)])));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return found;
}

describe.each([...LANGUAGES])("the pages in %s", (language) => {
  inBrowser(
    "are for everybody: axe finds nothing in them, keys reach all of them, and nothing lies outside",
    async () => {
      shown.mockClear();
      expect(await walk((stop, number) => inspect(stop, language, number))).toEqual([]);
      const seen = new Set(shown.mock.calls.map(([path]) => path.split("/").at(-1)));
      expect(templates.filter((name) => !seen.has(name))).toEqual([]);
    },
    600_000,
  );
});
