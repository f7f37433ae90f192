import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hashOf } from "../../../src/crypto/hashes.ts";
import { disableClient } from "../../../src/oauth/clients/clients.ts";
import type { Client } from "../../../src/store/clients.ts";
import { setUserDisabled } from "../../../src/users/users.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import { inOneMoment } from "../../support/clocks.ts";
import {
  type Account,
  authorizeUrl,
  getCode,
  introspect,
  introspectSettled,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  signUp,
  type Tokens,
} from "../../support/flow.ts";
import { rowsOf } from "../../support/sqlite.ts";

const web = { clientId: "web", redirectUri: "https://web.example/cb", scope: "openid" };
const spare = { clientId: "spare", redirectUri: "https://spare.example/cb", scope: "openid" };
const lax = { clientId: "lax", redirectUri: "https://lax.example/cb", scope: "openid" };
const clients = [web, spare, lax].map(({ clientId, redirectUri, scope }) => ({
  client_id: clientId,
  redirect_uris: [redirectUri],
  scope,
  first_party: true,
  ...(clientId === "spare" ? {} : { client_secret: `the secret of ${clientId}` }),
  ...(clientId === "lax" ? { require_pkce: false } : {}),
}));
const laxBasic = { authorization: `Basic ${btoa("lax:the+secret+of+lax")}` };
const webBasic = { authorization: `Basic ${btoa("web:the+secret+of+web")}` };

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  account = await signUp(app.url);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const endpoint = () => `${app.url}/oauth2/token`;
const outcome = async (answering: Response | Promise<Response>) => {
  const response = await answering;
  return [response.status, ((await response.json()) as { error?: string }).error];
};
const invalidGrant = [400, "invalid_grant"];
/** The parameters of a valid exchange. */
async function exchange(): Promise<Record<string, string>> {
  const { code, verifier } = await getCode(app.url, account);
  return {
    grant_type: "authorization_code",
    code,
    code_verifier: verifier,
    client_id: portal.clientId,
    redirect_uri: portal.redirectUri,
  };
}
const codeRow = (code: string) =>
  rowsOf<{ redeemed_at: number | null; wrong_verifiers: number }>(
    app,
    "SELECT redeemed_at, wrong_verifiers FROM oauth2_authorization_code WHERE code_hash = ?",
    hashOf(code),
  )[0];
const untouched = { redeemed_at: null, wrong_verifiers: 0 };

describe("the proof key of a code", () => {
  it("S-066 must come with the code of a request that had a challenge: without it, or with an empty one, there is no token", async () => {
    const { code_verifier: verifier = "", ...rest } = await exchange();
    const ofLax = await getCode(app.url, account, lax);
    const lenient = { grant_type: "authorization_code", code: ofLax.code, redirect_uri: lax.redirectUri };
    for (const post of [postForm, postJson]) {
      expect(await outcome(post(endpoint(), rest))).toEqual(invalidGrant);
      expect(await outcome(post(endpoint(), { ...rest, code_verifier: "" }))).toEqual(invalidGrant);
      // nor for a client that may go without a challenge, and did not
      expect(await outcome(post(endpoint(), lenient, laxBasic))).toEqual(invalidGrant);
    }
    expect((await postForm(endpoint(), { ...rest, code_verifier: verifier })).status).toBe(200);
    const whole = { ...lenient, code_verifier: ofLax.verifier };
    expect((await postForm(endpoint(), whole, laxBasic)).status).toBe(200);
  });

  it("S-067 is refused with a code that was asked for without a challenge, which then is good without it", async () => {
    const code = await codeWithoutChallenge();
    const parameters = { grant_type: "authorization_code", code, redirect_uri: lax.redirectUri };
    const verified = { ...parameters, code_verifier: pkce().verifier };
    expect(await outcome(postForm(endpoint(), verified, laxBasic))).toEqual([400, "invalid_request"]);
    expect(codeRow(code)).toEqual(untouched);
    expect((await postForm(endpoint(), parameters, laxBasic)).status).toBe(200);
  });

  async function codeWithoutChallenge(): Promise<string> {
    const { browser } = await getCode(app.url, account, lax);
    const url = new URL(authorizeUrl(app.url, lax));
    for (const name of ["code_challenge", "code_challenge_method"]) url.searchParams.delete(name);
    const answer = await browser.get(url.href);
    return new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
  }

  it("S-070 replaces the redirect URI: without PKCE, the redirect URI must be sent and be the same", async () => {
    const form = { grant_type: "authorization_code", code: await codeWithoutChallenge() };
    expect(await outcome(postForm(endpoint(), form, laxBasic))).toEqual(invalidGrant);
    const other = { ...form, redirect_uri: "https://lax.example/other" };
    expect(await outcome(postForm(endpoint(), other, laxBasic))).toEqual(invalidGrant);
    expect((await postForm(endpoint(), { ...form, redirect_uri: lax.redirectUri }, laxBasic)).status).toBe(200);
  });

  it("S-068 has 43 to 128 characters of its alphabet: anything else is refused before it is compared", async () => {
    const parameters = await exchange();
    const refused: [string, number][] = [
      ["a".repeat(42), 400],
      ["a".repeat(129), 400],
      [`${"a".repeat(42)} `, 400],
      [`${"a".repeat(21)} ${"a".repeat(21)}`, 400],
      [`${"a".repeat(43)}\0`, 400],
      [`${"a".repeat(43)}\n`, 400],
      [`${"a".repeat(42)}é`, 400],
      [`${"a".repeat(42)}+`, 400],
      ["a".repeat(60_000), 400],
      ["a".repeat(1_000_000), 413],
    ];
    for (const [code_verifier, status] of refused) {
      const answer = await outcome(postForm(endpoint(), { ...parameters, code_verifier }));
      expect([code_verifier.slice(0, 50), ...answer]).toEqual([code_verifier.slice(0, 50), status, "invalid_request"]);
    }
    // a compared one that was wrong would count
    expect(codeRow(parameters["code"] ?? "")).toEqual(untouched);
    expect((await postForm(endpoint(), parameters)).status).toBe(200);
  });
});

describe("a code", () => {
  it("S-069 is worth nothing to another client, and still good for its own", async () => {
    const parameters = await exchange();
    const stolen = { ...parameters, client_id: spare.clientId };
    expect(await outcome(postForm(endpoint(), stolen))).toEqual(invalidGrant);
    expect(await outcome(postForm(endpoint(), { ...stolen, redirect_uri: spare.redirectUri }))).toEqual(invalidGrant);
    const { client_id: _, ...rest } = parameters;
    expect(await outcome(postForm(endpoint(), rest, webBasic))).toEqual(invalidGrant);
    expect((await postForm(endpoint(), parameters)).status).toBe(200);
  });

  it("S-070 is refused with another redirect URI; without one PKCE replaces it (OAuth 2.1 section 10.2)", async () => {
    const parameters = await exchange();
    for (const redirect_uri of [
      "http://localhost:3000/callback/",
      "http://localhost:3000/callback?x=1",
      "http://127.0.0.1:3000/callback",
      "HTTP://localhost:3000/callback",
      "https://evil.example/",
    ]) {
      const answer = await outcome(postForm(endpoint(), { ...parameters, redirect_uri }));
      expect([redirect_uri, ...answer]).toEqual([redirect_uri, ...invalidGrant]);
    }
    const { redirect_uri: _, ...without } = parameters;
    expect((await postForm(endpoint(), without)).status).toBe(200);
  });

  it("is refused when its redirect URI was taken from the client meanwhile", async () => {
    const { store, clock } = app.context;
    const { code, verifier } = await getCode(app.url, account, spare);
    const form = { client_id: spare.clientId, redirect_uri: spare.redirectUri };
    const { metadata, source } = (await store.clients.find(spare.clientId)) as Client;
    const moved = { ...metadata, redirect_uris: ["https://elsewhere.example/cb"] };
    await store.clients.replaceMetadata(spare.clientId, moved, source, clock.now());
    expect(await outcome(redeem(app.url, code, verifier, form))).toEqual(invalidGrant);
    await store.clients.replaceMetadata(spare.clientId, metadata, source, clock.now());
    expect((await redeem(app.url, code, verifier, form)).status).toBe(200);
  });

  it("S-071 ends with its user, and with its client", async () => {
    const leaving = await signUp(app.url);
    const { code, verifier } = await getCode(app.url, leaving);
    await setUserDisabled(app.context, leaving.uuid, true);
    expect(await outcome(redeem(app.url, code, verifier))).toEqual(invalidGrant);
    await setUserDisabled(app.context, leaving.uuid, false);
    expect(await outcome(redeem(app.url, code, verifier))).toEqual(invalidGrant);
    const ofSpare = await getCode(app.url, account, spare);
    const form = { client_id: spare.clientId, redirect_uri: spare.redirectUri };
    await disableClient(app.context, spare.clientId);
    expect(await outcome(redeem(app.url, ofSpare.code, ofSpare.verifier, form))).toEqual([401, "invalid_client"]);
  });

  it("S-072 is refused from a public client without client_id", async () => {
    const { client_id: _, ...parameters } = await exchange();
    expect(await outcome(postForm(endpoint(), parameters))).toEqual([400, "invalid_request"]);
    expect(await outcome(postForm(endpoint(), { ...parameters, client_id: "" }))).toEqual([400, "invalid_request"]);
    const made = { authorization: `Basic ${btoa(`${portal.clientId}:made up`)}` };
    expect(await outcome(postForm(endpoint(), parameters, made))).toEqual([401, "invalid_client"]);
    expect((await postForm(endpoint(), { ...parameters, client_id: portal.clientId })).status).toBe(200);
  });

  it("C-58 takes the name of a public client from Basic with an empty secret", async () => {
    const { client_id: _, ...parameters } = await exchange();
    const basic = { authorization: `Basic ${btoa(`${portal.clientId}:`)}` };
    expect((await postForm(endpoint(), parameters, basic)).status).toBe(200);
  });

  it("S-062 revokes nothing for a second request that came with the first, however long it waited for the database", async () => {
    const { code, verifier } = await getCode(app.url, account, web);
    const form = { client_id: "web", redirect_uri: web.redirectUri, code, code_verifier: verifier };
    const valid = { grant_type: "authorization_code", ...form };
    const { authorizations } = app.context.store;
    const redeem = authorizations.redeemCode.bind(authorizations);
    let tokens: Tokens | undefined;
    const waiting = jest.spyOn(authorizations, "redeemCode").mockImplementationOnce(async (...by) => {
      tokens = (await (await postForm(endpoint(), valid, webBasic)).json()) as Tokens;
      app.clock.shift = 5_000;
      return redeem(...by);
    });
    expect(await outcome(postForm(endpoint(), valid, webBasic))).toEqual(invalidGrant);
    waiting.mockRestore();
    app.clock.shift = 0;
    expect(await introspect(app.url, tokens?.access_token ?? "")).toMatchObject({ active: true });
    const renewal = { grant_type: "refresh_token", refresh_token: tokens?.refresh_token ?? "" };
    expect((await postForm(endpoint(), renewal, webBasic)).status).toBe(200);
  });

  it("S-062 S-064 revokes its tokens when it is replayed 3 s or 30 s later, but only by a caller who could have redeemed it", async () => {
    for (const later of [3_000, 30_000]) {
      const { code, verifier } = await getCode(app.url, account, web);
      const form = { client_id: "web", redirect_uri: web.redirectUri };
      const valid = { grant_type: "authorization_code", code, code_verifier: verifier, ...form };
      const tokens = await inOneMoment([app], async () => {
        const first = (await (await postForm(endpoint(), valid, webBasic)).json()) as Tokens;
        expect(await outcome(postForm(endpoint(), valid, webBasic))).toEqual(invalidGrant);
        return first;
      });
      app.clock.shift = later;
      const { client_id: _, ...unnamed } = valid;
      const wrongVerifier = { ...valid, code_verifier: pkce().verifier };
      expect(await outcome(postForm(endpoint(), wrongVerifier, webBasic))).toEqual(invalidGrant);
      expect(await outcome(postForm(endpoint(), { ...valid, client_id: portal.clientId }))).toEqual(invalidGrant);
      expect(await outcome(postForm(endpoint(), valid))).toEqual([401, "invalid_client"]);
      expect(await outcome(postForm(endpoint(), unnamed))).toEqual([400, "invalid_request"]);
      const renew = (refresh_token: string) =>
        postForm(endpoint(), { grant_type: "refresh_token", refresh_token }, webBasic);
      expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
      const renewed = (await (await renew(tokens.refresh_token)).json()) as Tokens;
      expect(await introspect(app.url, renewed.access_token)).toMatchObject({ active: true });
      expect(await outcome(postForm(endpoint(), valid, webBasic))).toEqual(invalidGrant);
      for (const { access_token, refresh_token } of [tokens, renewed]) {
        expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
        expect(await outcome(renew(refresh_token))).toEqual([400, "invalid_grant"]);
      }
      app.clock.shift = 0;
    }
  });
});
