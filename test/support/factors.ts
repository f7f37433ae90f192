import { Secret, TOTP } from "otpauth";
import { UNKNOWN_ASKER, userSecurity } from "../../src/events.ts";
import type { TestApp } from "./app.ts";
import { type Account, hiddenFields, patiently, TestBrowser } from "./flow.ts";

/** What a person with an authenticator app does, over HTTP. */
export interface AppOwner {
  readonly account: Account;
  readonly browser: TestBrowser;
  readonly secret: string;
  readonly recoveryCodes: readonly string[];
}

/** The code of a secret, at the time of the service. */
export function codeOf(secret: string, now: number): string {
  return new TOTP({ secret }).generate({ timestamp: now });
}

export async function formOf(response: Response): Promise<Record<string, string>> {
  return hiddenFields(await response.text());
}

/** Signs in, sets an authenticator app up, and makes recovery codes. @param now of the service's clock */
export async function setUpApp(base: string, account: Account, now: () => number): Promise<AppOwner> {
  const browser = new TestBrowser({ "user-agent": "owner" });
  await browser.submit(`${base}/login`, { email: account.email, password: account.password });
  const page = await (await browser.get(`${base}/account/security/totp`)).text();
  const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(page)?.[1] ?? "").replaceAll(" ", "");
  const path = `${base}/account/security/totp`;
  const confirmed = await browser.post(path, { ...hiddenFields(page), code: codeOf(secret, now()) });
  if (confirmed.status !== 303) throw new Error(`the app was not added: ${confirmed.status}`);
  await confirmAgain(base, browser, { ...account, code: codeOf(secret, now() + 30_000) });
  const security = await (await browser.get(`${base}/account/security`)).text();
  const form = /action="([^"]+recovery-codes)">([\s\S]*?)<\/form>/.exec(security);
  const codes = await (
    await browser.post(`${base}/account/security/recovery-codes`, hiddenFields(form?.[2] ?? ""))
  ).text();
  const recoveryCodes = [...codes.matchAll(/<code>([a-z2-9-]+)<\/code>/g)].map(([, code = ""]) => code);
  return { account, browser, secret, recoveryCodes };
}

/** The page that asks who is signed in to show it again. */
export async function confirmAgain(
  base: string,
  browser: TestBrowser,
  { password, code }: { readonly password: string; readonly code: string },
): Promise<Response> {
  return browser.submit(`${base}/account/security/confirm`, { password, code });
}

/** Signs in up to the second step. @returns the answer to the password, and the form of the second step */
export async function firstStep(
  base: string,
  { email, password }: Account,
  browser = new TestBrowser(),
): Promise<{ readonly browser: TestBrowser; readonly form: Record<string, string>; readonly status: number }> {
  const response = await patiently(() => browser.submit(`${base}/login`, { email, password }));
  return { browser, form: await formOf(response), status: response.status };
}

/** Gives a user an authenticator app no code of which was used. @returns its secret */
export async function giveApp({ context }: TestApp, uuid: string): Promise<string> {
  const secret = new Secret({ size: 20 }).base32;
  const user = await context.store.users.find(uuid);
  if (user === null) throw new Error("no such user");
  const sealedSecret = context.derivedKeys.totpSecrets.seal(secret, uuid);
  const event = userSecurity(user, { kind: "FACTOR_ADDED", detail: "totp" }, UNKNOWN_ASKER, context.clock.now());
  await context.store.factors.addTotp(uuid, { sealedSecret, step: 0 }, event);
  return secret;
}
