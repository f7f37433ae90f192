import { afterAll, beforeAll, beforeEach, expect, it } from "@jest/globals";
import { addClient, removeClient } from "../../../src/oauth/clients/clients.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  acceptedUntil,
  getCode,
  hiddenFields,
  pkce,
  postForm,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "../../support/flow.ts";

const redirectUri = "https://shop.example/cb";
const shop = { clientId: "shop", redirectUri, scope: "openid profile" };
const extra = { client_id: shop.clientId, redirect_uri: redirectUri };

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [
    { client_id: "model", redirect_uris: [redirectUri], scope: shop.scope, first_party: false },
  ]);
});
beforeEach(() => add());
afterAll(() => app.close());

/** Registers the shop, unless it is there. */
async function add(): Promise<void> {
  const model = await app.context.store.clients.find("model");
  if (model === null) throw new Error("no client to take the metadata of");
  if ((await app.context.store.clients.find(shop.clientId)) !== null) return;
  await addClient(app.context, { clientId: shop.clientId, metadata: model.metadata, clientSecret: null });
}

/** Removes the shop, and registers another one of its id by a clock that was set back for a minute. */
async function addAnother(): Promise<void> {
  await removeClient(app.context, shop.clientId);
  app.clock.shift -= 60_000;
  await add();
  app.clock.shift += 60_000;
  const stored = await app.context.store.clients.find(shop.clientId);
  await acceptedUntil(async () => (await app.context.clients.find(shop.clientId))?.epoch !== stored?.epoch, 10_000);
}

/** Signs in to the shop, and allows it what it asks for. @returns where that leads, the browser, and the verifier of the code */
async function allow(account: Account, browser = new TestBrowser()) {
  const { location, verifier } = await getCode(app.url, account, { ...shop, browser });
  expect(location.pathname).toBe("/consent");
  return { location: await decide(browser, location), verifier, browser };
}

/** Allows what a consent page asks for. */
async function decide(browser: TestBrowser, page: URL): Promise<URL> {
  const fields = hiddenFields(await (await browser.get(page.href)).text());
  const answer = await browser.post(`${app.url}/consent`, { ...fields, decision: "allow" });
  return new URL(answer.headers.get("location") ?? "", app.url);
}

const codeOf = (url: URL) => url.searchParams.get("code") ?? "";

it("C-84 codes, refresh tokens and consents of a removed client are not those of another one that has its id, whatever the clock said", async () => {
  const account = await signUp(app.url);
  const first = await allow(account);
  const tokens = (await (await redeem(app.url, codeOf(first.location), first.verifier, extra)).json()) as Tokens;
  const second = await getCode(app.url, account, { ...shop, browser: first.browser });
  expect(second.code).not.toBe("");
  await addAnother();
  expect((await redeem(app.url, second.code, second.verifier, extra)).status).toBe(400);
  expect((await refresh(app.url, tokens.refresh_token, extra)).status).toBe(401);
  // the consent is asked again
  const third = await allow(account, first.browser);
  expect((await redeem(app.url, codeOf(third.location), third.verifier, extra)).status).toBe(200);
});

it("C-84 a consent page that is open when its client is removed allows another one of its id nothing: it is shown again", async () => {
  const account = await signUp(app.url);
  const browser = new TestBrowser();
  const { location } = await getCode(app.url, account, { ...shop, browser });
  const fields = hiddenFields(await (await browser.get(location.href)).text());
  await addAnother();
  const again = await browser.post(`${app.url}/consent`, { ...fields, decision: "allow" });
  const page = new URL(again.headers.get("location") ?? "", app.url);
  expect(page.pathname).toBe("/consent");
  expect((await decide(browser, page)).href).toContain(`${redirectUri}?code=`);
});

it("C-84 a request that a removed client pushed is not another one's", async () => {
  const pushed = await postForm(`${app.url}/oauth2/par`, {
    response_type: "code",
    client_id: shop.clientId,
    redirect_uri: redirectUri,
    scope: shop.scope,
    code_challenge: pkce().challenge,
    code_challenge_method: "S256",
  });
  const { request_uri: uri } = (await pushed.json()) as { request_uri: string };
  const open = () =>
    new TestBrowser().get(
      `${app.url}/oauth2/authorize?${new URLSearchParams({ client_id: shop.clientId, request_uri: uri })}`,
    );
  expect((await open()).status).toBe(302);
  await addAnother();
  expect((await open()).status).toBe(400);
});
