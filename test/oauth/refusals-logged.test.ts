import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { endSessions } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, getCode, getTokens, postForm, redeem, refresh, signUp, TestBrowser } from "../support/flow.ts";

const redirectUri = "https://app.example/cb";
const secret = "a secret of at least thirty-two characters";
const clients = [
  { client_id: "app", redirect_uris: [redirectUri], scope: "openid read", first_party: true },
  { client_id: "other", redirect_uris: [redirectUri], scope: "openid" },
  { client_id: "web", client_secret: secret, redirect_uris: [redirectUri], scope: "openid" },
];

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ LOG_LEVEL: "info" }, clients);
});
afterAll(() => app.close());

/** What the log says of a refusal: the event without what every line has. */
async function logged(event: string, work: () => Promise<unknown>) {
  const from = app.logs.length;
  await work();
  const lines = app.logs.slice(from).map((line) => JSON.parse(line) as Record<string, unknown>);
  return lines
    .filter((line) => line["event"] === event)
    .map(({ client_id, redirect_uri, registered, grant_type, error, reason }) => ({
      ...{ client_id, error, reason },
      ...(registered === undefined ? {} : { redirect_uri, registered }),
      ...(grant_type === undefined ? {} : { grant_type }),
    }));
}

it("an operator reads of each refused authorization which client, and what it should have sent", async () => {
  const open = (options: Parameters<typeof authorizeUrl>[1]) => () =>
    new TestBrowser().get(authorizeUrl(app.url, { clientId: "app", redirectUri, ...options }));
  const refused = (work: () => Promise<unknown>) => logged("authorization_refused", work);
  const wrong = "https://app.example/cb/";
  expect(await refused(open({ redirectUri: wrong }))).toEqual([
    {
      client_id: "app",
      error: "invalid_request",
      reason: "redirect_uri is not registered for this client",
      redirect_uri: wrong,
      registered: [redirectUri],
    },
  ]);
  expect(await refused(open({ clientId: "nobody" }))).toMatchObject([{ client_id: "nobody", error: "invalid_client" }]);
  const plain = new URL(authorizeUrl(app.url, { clientId: "app", redirectUri, scope: "openid" }));
  plain.searchParams.delete("code_challenge");
  plain.searchParams.delete("code_challenge_method");
  expect(await refused(() => new TestBrowser().get(plain.href))).toEqual([
    { client_id: "app", error: "invalid_request", reason: expect.stringContaining("PKCE") },
  ]);
  expect(await refused(open({ scope: "openid everything" }))).toMatchObject([{ error: "invalid_scope" }]);
  const authorization = `Basic ${btoa(`web:${encodeURIComponent(secret)}`)}`;
  const pushed = () =>
    postForm(`${app.url}/oauth2/par`, { response_type: "code", redirect_uri: redirectUri }, { authorization });
  expect(await refused(pushed)).toMatchObject([{ client_id: "web", reason: expect.stringContaining("PKCE") }]);
  // what a client with the right settings is answered as well
  expect(await refused(open({ scope: "openid", extra: { prompt: "none" } }))).toEqual([]);
});

it("an operator reads of each refused token request which client, and why", async () => {
  const account = await signUp(app.url);
  const refused = (work: () => Promise<unknown>) => logged("token_refused", work);
  const own = { client_id: "app", redirect_uri: redirectUri };
  const { code } = await getCode(app.url, account, { clientId: "app", redirectUri, scope: "openid" });
  expect(await refused(() => redeem(app.url, code, "x".repeat(43), own))).toEqual([
    { client_id: "app", grant_type: "authorization_code", error: "invalid_grant", reason: expect.any(String) },
  ]);
  const form = { grant_type: "client_credentials", client_id: "app" };
  expect(await refused(() => postForm(`${app.url}/oauth2/token`, form))).toMatchObject([
    { error: "unauthorized_client", reason: expect.stringContaining("client_credentials") },
  ]);
});

it("an operator reads why a refresh was refused, of which its client hears one and the same", async () => {
  const account = await signUp(app.url);
  const tokens = await getTokens(app.url, account, { clientId: "app", redirectUri, scope: "openid" });
  const bodies = new Set<string>();
  const ask = (token: string, extra: Record<string, string> = { client_id: "app" }) =>
    logged("token_refused", async () => bodies.add(await (await refresh(app.url, token, extra)).text()));
  const reasonOf = async (token: string, extra?: Record<string, string>) => (await ask(token, extra))[0]?.reason;
  const current = tokens.refresh_token;
  expect(await reasonOf(`${current.slice(0, -8)}AAAAAAAA`)).toBe("this service did not sign it, or its key is gone");
  expect(await reasonOf(current, { client_id: "other" })).toBe("it is another client's");
  app.clock.shift = 30 * 24 * 3_600_000;
  expect(await reasonOf(current)).toBe("it has expired");
  app.clock.shift = 0;
  await endSessions(app.context, account.uuid);
  expect(await reasonOf(current)).toBe("its authorization was revoked or has expired");
  expect(JSON.parse(app.logs.findLast((line) => line.includes('"token_refused"')) ?? "{}")).toMatchObject({
    sub: account.uuid,
    sid: expect.any(String),
  });
  expect(bodies.size).toBe(1);
});

it("the log names the error of a page that was shown, by its reference", async () => {
  const from = app.logs.length;
  const page = await (await new TestBrowser().get(`${app.url}/oauth2/authorize?client_id=nobody`)).text();
  const reference = /<code>([0-9A-F]{12})<\/code>/.exec(page)?.[1] ?? "none";
  const line = app.logs.slice(from).find((each) => each.includes(reference)) ?? "{}";
  expect(JSON.parse(line)).toMatchObject({ error: "invalid_client", path: "/oauth2/authorize" });
});
