import type { Authenticator, Lies } from "./authenticator.ts";
import { type Account, hiddenFields, signUp, TestBrowser, unescapeHtml, uniqueEmail } from "./flow.ts";

/** What the pages' script does with passkeys, over HTTP. */

/** The options that a page's button holds. */
export function optionsOf<T>(html: string): T {
  const json = /data-options="([^"]+)"/.exec(html)?.[1];
  if (json === undefined) throw new Error(`no passkey button: ${html.slice(0, 800)}`);
  return JSON.parse(unescapeHtml(json)) as T;
}

/** A page with a button, and what its form needs. */
export async function passkeyPage(browser: TestBrowser, url: string) {
  const html = await (await browser.get(url)).text();
  return { options: optionsOf<never>(html), form: hiddenFields(html), html };
}

/** Options with a new challenge, as the script of a page that has been open for long gets them. */
export async function renewOptions(
  browser: TestBrowser,
  base: string,
  { html, options }: { readonly html: string; readonly options: object },
  fields: Record<string, string>,
): Promise<never> {
  const url = unescapeHtml(/data-renew="([^"]+)"/.exec(html)?.[1] ?? "");
  const answer = await browser.post(base + url, fields);
  if (!answer.ok) throw new Error(`no new challenge: ${answer.status}`);
  return { ...options, ...((await answer.json()) as object) } as never;
}

/** Signs in with a passkey alone. @param bases where the page comes from, and where its answer goes */
export async function signInWithPasskey(
  [from, to]: readonly [string, string],
  authenticator: Authenticator,
  { browser = new TestBrowser(), lies = {} }: { readonly browser?: TestBrowser; readonly lies?: Lies } = {},
): Promise<{ readonly response: Response; readonly browser: TestBrowser; readonly sent: Record<string, string> }> {
  const { options, form } = await passkeyPage(browser, `${from}/login`);
  const sent = { ...form, credential: authenticator.get(options, lies) };
  return { response: await browser.post(`${to}/login/passkey`, sent), browser, sent };
}

/** Signs up with a passkey and no password. */
export async function signUpWithPasskey([from, to]: readonly [string, string], authenticator: Authenticator) {
  const browser = new TestBrowser({ "user-agent": "Mozilla/5.0 (Macintosh) Version/18.4 Safari/605.1.15" });
  const email = uniqueEmail();
  const { options, form } = await passkeyPage(browser, `${from}/signup`);
  const sent = { ...form, email, nickname: "Zoë", credential: authenticator.create(options) };
  return { email, browser, sent, response: await browser.post(`${to}/signup/passkey`, sent) };
}

/** Adds a passkey in a browser that signed in just now. */
export async function addPasskey(
  [from, to]: readonly [string, string],
  browser: TestBrowser,
  authenticator: Authenticator,
  { name = "Phone", lies = {} }: { readonly name?: string; readonly lies?: Lies } = {},
): Promise<Response> {
  const { options, form } = await passkeyPage(browser, `${from}/account/security/passkeys`);
  const credential = authenticator.create(options, lies);
  return browser.post(`${to}/account/security/passkeys`, { ...form, name, credential });
}

/** A new account with a password and a passkey. */
export async function newPasskeyOwner(bases: readonly [string, string], authenticator: Authenticator) {
  const account: Account & { uuid: string } = await signUp(bases[0]);
  const browser = new TestBrowser();
  await browser.submit(`${bases[0]}/login`, { email: account.email, password: account.password });
  const added = await addPasskey(bases, browser, authenticator);
  if (added.status !== 303) throw new Error(`the passkey was not added: ${added.status} ${await added.text()}`);
  return { account, browser };
}
