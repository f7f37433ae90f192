import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { startApp } from "../support/app.ts";
import { inBrowser, launchChromium, PAGE_PATIENCE_MS, slowDown, startClientServer } from "../support/browser.ts";
import { signUp } from "../support/flow.ts";
import { giveAuthenticator } from "../support/virtual-authenticator.ts";
import {
  APPLICATION,
  buttonsOfPages,
  ENTRIES,
  type End,
  type Entry,
  makePasskey,
  newRun,
  outOfDate,
  PASSKEY_ENTRIES,
  type Place,
  passkeyButtonsOfPages,
  type Run,
  signIn,
  type World,
} from "./every-form.ts";

/** Runs at once: most of their time they wait for the network that is slowed down. */
const atOnce = 8;

let world: World;
let browser: Browser | null;

beforeAll(async () => {
  const client = await startClientServer();
  const scope = "openid profile";
  const app = await startApp({ LOG_LEVEL: "info" }, [
    {
      client_id: "own",
      client_name: APPLICATION,
      redirect_uris: [`${client.origin}/own`],
      post_logout_redirect_uris: [`${client.origin}/bye`],
      first_party: true,
      scope,
    },
    { client_id: "album", client_name: APPLICATION, redirect_uris: [`${client.origin}/album`], scope },
    { client_id: "tv", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], scope },
  ]);
  world = { app, client };
  browser = await launchChromium();
});
afterEach(() => {
  world.app.clock.shift = 0;
});
afterAll(async () => {
  await browser?.close();
  await world?.app.close();
  await world?.client.close();
});

async function placeOf(page: Page): Promise<Place> {
  const [heading, text, links] = await page.evaluate<[string, string, string[]]>(`[
    document.querySelector("h1")?.textContent ?? "",
    document.body?.innerText ?? "",
    [...document.querySelectorAll("main a")].map((a) => a.textContent),
  ]`);
  return { url: new URL(page.url()), heading, text, links };
}

/** The button that a press leaves behind. */
const leftBy = ({ button, stays }: Entry) => (stays === true ? undefined : button);

/** Waits until the page is at one of these. The form's own page may look like the end: its button is gone then. */
async function reach(page: Page, ends: readonly End[], what: string, pressed?: string): Promise<void> {
  let last: Place | string = "";
  for (const until = Date.now() + 60_000; Date.now() < until; ) {
    try {
      const place = await placeOf(page);
      last = place;
      const isThere = pressed === undefined || !(await page.evaluate<boolean>(`window.pressed === true`));
      if (isThere && ends.some((end) => end(place, world))) return;
    } catch (error) {
      // between two pages
      last = String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${what}: ended at ${JSON.stringify(last).slice(0, 1_500)}`);
}

/** Presses the button where it is still on the page. */
async function press(page: Page, entry: Entry): Promise<boolean> {
  const script = `(() => {
    const button = document.querySelector(${JSON.stringify(entry.button)});
    // a press may meet the page that the first one led to, whose empty fields send nothing
    window.pressed = button !== null && (button.form?.checkValidity() ?? true);
    button?.click();
    return button !== null;
  })()`;
  return page.evaluate<boolean>(script).catch(() => false);
}

interface Try {
  readonly entry: Entry;
  readonly run: Run;
  readonly pages: readonly Page[];
  readonly latency: number;
  readonly what: string;
}

type Way = (each: Try) => Promise<void>;

async function openAndFill({ entry, run, latency }: Try, page: Page): Promise<void> {
  await entry.open(page, world, run);
  await entry.fill?.(page, run);
  await slowDown(page, latency);
}

const pressTwice =
  (pauseMs: number): Way =>
  async (each) => {
    const { entry, run, what } = each;
    const [page] = each.pages as [Page];
    await openAndFill(each, page);
    await press(page, entry);
    await page.waitForTimeout(pauseMs);
    await press(page, entry);
    // the second press may be answered after the first one's answer was lost: by a page that says what happened
    await reach(page, [entry.end, ...(entry.later ?? [])], what, leftBy(entry));
    if (entry.sessions === undefined) return;
    const { store, clock } = world.app.context;
    const sessions = await store.sessions.listOfUser(run.account.uuid, clock.now());
    expect([what, sessions.length]).toEqual([what, entry.sessions]);
  };

const backAndAgain: Way = async (each) => {
  const { entry, what } = each;
  const [page] = each.pages as [Page];
  const ends = [entry.end, ...(entry.later ?? []), outOfDate(entry.isOfApplication === true)];
  await openAndFill(each, page);
  await press(page, entry);
  await reach(page, [entry.end], what, leftBy(entry));
  // the browser does not keep the answer to a form: it asks whether to send the form again, and the user starts over
  // a press that is answered by a file leaves no page to go back from
  const back = entry.stays === true ? Promise.resolve() : page.goBack();
  const isKept = await back.then(
    () => true,
    () => false,
  );
  if (!isKept) {
    await page.waitForURL("chrome-error://**", { waitUntil: "commit" });
    await page.goto(`${world.app.url}/device`);
  }
  await page.waitForLoadState();
  const button = page.locator(entry.button);
  if ((await button.count().catch(() => 0)) > 0) {
    await entry.fill?.(page, each.run);
    await press(page, entry);
  }
  await reach(page, ends, what, leftBy(entry));
};

const reload: Way = async (each) => {
  const { entry, what } = each;
  const [page] = each.pages as [Page];
  await openAndFill(each, page);
  await page.reload().catch(() => null);
  await entry.fill?.(page, each.run);
  await press(page, entry);
  await reach(page, [entry.end], what, leftBy(entry));
  await page.reload().catch(() => null);
  await reach(page, [entry.end, ...(entry.later ?? [])], `${what}, its end`);
};

const threeTabs: Way = async (each) => {
  const { entry, pages, what } = each;
  const ends = [entry.end, ...(entry.later ?? []), outOfDate(entry.isOfApplication === true)];
  await Promise.all(pages.map((page) => openAndFill(each, page)));
  for (const [index, page] of pages.entries()) {
    const found = await press(page, entry);
    if (found || index === 0) await reach(page, index === 0 ? [entry.end] : ends, `${what} ${index}`, leftBy(entry));
  }
};

const elsewhere =
  (who: "same" | "other"): Way =>
  async (each) => {
    const { entry, run, what } = each;
    const [page] = each.pages as [Page];
    await openAndFill(each, page);
    await signIn(world, run, who === "same" ? run.account : await signUp(world.app.url));
    await press(page, entry);
    const ends = [entry.end, ...(entry.later ?? []), outOfDate(entry.isOfApplication === true)];
    await reach(page, ends, what, leftBy(entry));
  };

async function tryOne(name: string, way: Way, latency: number, tabs: number): Promise<void> {
  const entry = ENTRIES[name];
  if (entry === undefined || browser === null) throw new Error(`no entry for ${name}`);
  const context = await browser.newContext({ locale: "en-US", javaScriptEnabled: false });
  context.setDefaultTimeout(PAGE_PATIENCE_MS);
  try {
    const run = await newRun(world, context);
    await entry.prepare?.(world, run);
    const pages = await Promise.all(Array.from({ length: tabs }, () => context.newPage()));
    await way({ entry, run, pages, latency, what: `${name}, ${latency} ms` });
  } finally {
    await context.close();
  }
}

/** When a passkey button is pressed again: after so many milliseconds, once the answer is on its way, or after that was stopped. */
type Again = number | "on its way" | "stopped";

/** Presses a page's passkey button twice, by a script of the page: the driver waits for the next page once that is on its way. */
function pressTwiceBy(again: Again): string {
  const press = `document.querySelector("button[data-passkey]").click();`;
  if (typeof again === "number") return `setTimeout(() => { ${press} }, ${again}); ${press}`;
  const stop = again === "stopped" ? "stop();" : "";
  return `new MutationObserver((_, observer) => {
    observer.disconnect();
    setTimeout(() => { ${stop} setTimeout(() => { ${press} }, 50); }, 50);
  }).observe(document.querySelector("button[data-passkey]"), { attributeFilter: ["aria-busy"] });
  ${press}`;
}

/** Presses the passkey button of a page twice, whose scripts run. */
async function pressPasskeyTwice(name: string, latency: number, again: Again): Promise<void> {
  const entry = PASSKEY_ENTRIES[name];
  if (entry === undefined || browser === null) throw new Error(`no entry for ${name}`);
  const what = `${name}, ${latency} ms, pressed again: ${again}`;
  const context = await browser.newContext({ locale: "en-US" });
  context.setDefaultTimeout(PAGE_PATIENCE_MS);
  try {
    const run = await newRun(world, context);
    const page = await context.newPage();
    const device = await giveAuthenticator(page);
    if (entry.asks) await makePasskey(page, world, run);
    if (entry.staysSignedIn !== true) await context.clearCookies();
    // else the address field would take what the browser offers there
    await device.setUser(false);
    await entry.open(page, world, run);
    const button = page.locator("button[data-passkey]");
    await button.waitFor();
    await device.setUser(true);
    // in between there must be time to press again
    await slowDown(page, typeof again === "number" ? latency : 1_500);
    // on a busy machine the next page may come before the driver hears that the script ran
    await page.evaluate(pressTwiceBy(again)).catch((error: unknown) => {
      if (!/context was destroyed/.test(String(error))) throw error;
    });
    await reach(page, [entry.end], what);
    expect([what, await device.count()]).toEqual([what, 1]);
  } finally {
    await context.close();
  }
}

async function tryAll(way: Way, { tabs = 1, latencies = [0, 400] } = {}): Promise<void> {
  const names = Object.keys(ENTRIES);
  await runAll(latencies.flatMap((latency) => names.map((name) => () => tryOne(name, way, latency, tabs))));
}

async function runAll(all: (() => Promise<void>)[]): Promise<void> {
  const failures: string[] = [];
  const worker = async () => {
    for (let next = all.pop(); next !== undefined; next = all.pop()) {
      await next().catch((error) => failures.push(String(error)));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  expect(failures).toEqual([]);
}

/** Some thirty forms at two latencies: minutes, where other work shares the machine. */
const pressed = (name: string, work: () => Promise<void>) => inBrowser(name, work, 600_000);

describe("every button of every page", () => {
  it("C-30 has an entry in the table of forms, and no entry is of a button that is gone", () => {
    expect(Object.keys(ENTRIES).sort()).toEqual(buttonsOfPages());
  });

  pressed("C-30 pressed twice within 60 ms ends where one press ends, or at a page that says what happened", () =>
    tryAll(pressTwice(60)),
  );
  pressed("C-30 pressed twice within 300 ms ends where one press ends, or at a page that says what happened", () =>
    tryAll(pressTwice(300)),
  );
  pressed("C-30 pressed again after Back ends there too, or at a page that says what happened", () =>
    tryAll(backAndAgain),
  );
  pressed("C-31 of a page that was loaded again works, and so does loading its end again", () => tryAll(reload));
  pressed("C-31 in three tabs that were opened at once works in each", () => tryAll(threeTabs, { tabs: 3 }));
  pressed("C-31 after the same user signed in elsewhere ends there, or says what happened", () =>
    tryAll(elsewhere("same"), { latencies: [0] }),
  );
  pressed("C-31 after another user signed in elsewhere ends there, or says what happened", () =>
    tryAll(elsewhere("other"), { latencies: [0] }),
  );

  it("C-30 has an entry in the table of passkey buttons, too", () => {
    expect(Object.keys(PASSKEY_ENTRIES).sort()).toEqual(passkeyButtonsOfPages());
  });

  pressed("C-30 that asks for a passkey or makes one, pressed twice, ends where one press ends", () =>
    runAll(
      [0, 400].flatMap((latency) =>
        [60, 300, 700].flatMap((pauseMs) =>
          Object.keys(PASSKEY_ENTRIES).map((name) => () => pressPasskeyTwice(name, latency, pauseMs)),
        ),
      ),
    ),
  );
  pressed(
    "C-30 that asks for a passkey or makes one, pressed again while its answer is on its way or was stopped",
    () =>
      runAll(
        (["on its way", "stopped"] as const).flatMap((again) =>
          Object.keys(PASSKEY_ENTRIES).map((name) => () => pressPasskeyTwice(name, 0, again)),
        ),
      ),
  );
});
