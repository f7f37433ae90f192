import type { TestApp } from "../support/app.ts";
import { type Account, hiddenFields, TestBrowser } from "../support/flow.ts";

/** Opens an authorization URL in a fresh browser unless one is given, signs in, and returns the URL that the client gets. */
export async function answerOf(
  authorizationUrl: URL,
  account: Account,
  browser: TestBrowser = new TestBrowser(),
): Promise<URL> {
  const step = await browser.get(authorizationUrl.href);
  const login = new URL(step.headers.get("location") ?? "", authorizationUrl);
  const page = await browser.get(login.href);
  const { email, password } = account;
  const answer = await browser.post(new URL("/login", authorizationUrl).href, {
    ...hiddenFields(await page.text()),
    email,
    password,
  });
  return new URL(answer.headers.get("location") ?? "");
}

/** Whether the browser has to sign in again at this authorization URL. */
export async function asksForLogin(authorizationUrl: URL, browser: TestBrowser): Promise<boolean> {
  const location = (await browser.get(authorizationUrl.href)).headers.get("location") ?? "";
  return new URL(location, authorizationUrl).pathname === "/login";
}

/** The last line of the service's log about this event, by its members. */
export function loggedOf(app: TestApp, event: string): Record<string, unknown> {
  const line = app.logs.filter((each) => each.includes(`"${event}"`)).at(-1);
  return JSON.parse(line ?? "{}") as Record<string, unknown>;
}

const redirectUri = "http://127.0.0.1/callback";

/** A public client, and two that authenticate in the two ways; any loopback port. */
export const clients = [
  { client_id: "public", token_endpoint_auth_method: "none" },
  { client_id: "basic", token_endpoint_auth_method: "client_secret_basic", client_secret: "basic secret: %+é/ €" },
  { client_id: "post", token_endpoint_auth_method: "client_secret_post", client_secret: "post secret: %+&=/ !" },
].map((client) => ({
  ...client,
  redirect_uris: [redirectUri],
  post_logout_redirect_uris: [redirectUri],
  scope: "openid profile email read write",
  first_party: true,
}));

export { redirectUri };
