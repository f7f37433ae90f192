import { testEnvironment } from "../test/support/app.ts";
import { Authenticator } from "../test/support/authenticator.ts";
import { authorizeUrl, hiddenFields, TestBrowser } from "../test/support/flow.ts";
import { optionsOf, signUpWithPasskey } from "../test/support/passkeys.ts";
import type { Figure } from "./figures.ts";
import { cpuSeconds, median, serverCpu, startPinned, stop } from "./support/processes.ts";

const turns = 5;
const pagesOfATurn = 1_000;
const loginsOfATurn = 400;

/** What a person costs who opens the login page, and who signs in to an application with a passkey: processor time of the service. */
export async function pages(): Promise<readonly Figure[]> {
  const env = await testEnvironment({ LOG_LEVEL: "error", RATE_LIMIT_PER_MINUTE: "0" });
  const url = env["ISSUER"] ?? "";
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const pid = service.pid ?? 0;
  try {
    const login = await loginUrl(url);
    const page = await cost(pid, pagesOfATurn, () => answered(fetch(login), 200));
    const authenticator = new Authenticator(url);
    const { browser } = await signUpWithPasskey([url, url], authenticator);
    const own = browser.cookies.get("auth_device") ?? "";
    const known = await cost(pid, loginsOfATurn, () => signIn(url, authenticator, { auth_device: own }));
    const other = await cost(pid, loginsOfATurn, () => signIn(url, authenticator, {}));
    const what = "a login with a passkey (authorization request, page, answer, code)";
    return [
      figure("the login page", page, 1),
      figure(`${what} in a browser of the account`, known, 2),
      figure(`${what} in another one, of which the owner is told`, other, null),
    ];
  } finally {
    await stop(service);
  }
}

function figure(name: string, value: number, bar: number | null): Figure {
  return { name, value: Math.round(value * 1000) / 1000, unit: "ms of processor", bar };
}

/** Milliseconds of processor a call: the median of some turns, after one that is not counted. */
async function cost(pid: number, count: number, call: () => Promise<unknown>): Promise<number> {
  const each: number[] = [];
  for (let turn = 0; turn <= turns; turn++) {
    const before = cpuSeconds(pid);
    for (let n = 0; n < count; n++) await call();
    if (turn > 0) each.push(((cpuSeconds(pid) - before) * 1000) / count);
  }
  return median(each);
}

async function answered(answering: Promise<Response>, status: number): Promise<Response> {
  const response = await answering;
  if (response.status !== status) throw new Error(`${response.url} answered ${response.status}`);
  await response.arrayBuffer();
  return response;
}

async function loginUrl(url: string, browser = new TestBrowser()): Promise<string> {
  const response = await answered(browser.get(authorizeUrl(url)), 302);
  return new URL(response.headers.get("location") ?? "", url).href;
}

/** In a browser that is not signed in. */
async function signIn(url: string, authenticator: Authenticator, cookies: Record<string, string>): Promise<void> {
  const browser = new TestBrowser();
  for (const [name, value] of Object.entries(cookies)) browser.cookies.set(name, value);
  const html = await (await browser.get(await loginUrl(url, browser))).text();
  const credential = authenticator.get(optionsOf(html));
  const answer = await answered(browser.post(`${url}/login/passkey`, { ...hiddenFields(html), credential }), 303);
  if (!answer.headers.get("location")?.includes("code=")) throw new Error("no code came of it");
}
