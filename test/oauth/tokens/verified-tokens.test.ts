import { afterAll, beforeAll, expect, it, jest } from "@jest/globals";
import { VerifiedTokens } from "../../../src/oauth/tokens/verified-tokens.ts";
import type { AccessTokenClaims } from "../../../src/token/access-token.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import { getTokens, introspect, postForm, signUp } from "../../support/flow.ts";

const secret = "a secret of at least thirty-two characters";
const idle = { clientId: "idle", redirectUri: "https://idle.example/cb", scope: "openid" };
let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [
    {
      client_id: idle.clientId,
      client_secret: secret,
      token_endpoint_auth_method: "client_secret_post",
      redirect_uris: [idle.redirectUri],
      scope: `${idle.scope} auth.introspect`,
      first_party: true,
      refresh_token_idle_ttl: 600,
    },
  ]);
});
afterAll(() => app.close());

it("a token that is over when it is first seen is not remembered", async () => {
  const account = await signUp(app.url);
  const [live, over] = [await getTokens(app.url, account), await getTokens(app.url, account)];
  expect(await introspect(app.url, live.access_token)).toMatchObject({ active: true });
  app.clock.shift = 121_000;
  expect(await introspect(app.url, over.access_token)).toEqual({ active: false });
  app.clock.shift = 0;
  const remembered = [live, over].map(({ access_token }) => app.context.verifiedTokens.find(access_token));
  expect(remembered).toEqual(["verified", undefined]);
});

it("the claims of a token are kept from the second time on, and what differs from it in one character is verified again", async () => {
  const { access_token: token } = await getTokens(app.url, await signUp(app.url));
  const kept = () => app.context.verifiedTokens.find(token);
  const first = await introspect(app.url, token);
  expect([first["active"], kept()]).toEqual([true, "verified"]);
  expect(await introspect(app.url, token)).toEqual(first);
  expect(kept()).toMatchObject({ claims: { jti: first["jti"] } });
  expect(await introspect(app.url, token)).toEqual(first);
  const [head = "", body = "", signature = ""] = token.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as object;
  const other = Buffer.from(JSON.stringify({ ...claims, scope: "auth.admin" })).toString("base64url");
  expect(await introspect(app.url, `${head}.${other}.${signature}`)).toEqual({ active: false });
});

it("a refresh token that was idle for too long is inactive", async () => {
  const tokenParameters = { client_secret: secret };
  const { refresh_token } = await getTokens(app.url, await signUp(app.url), { ...idle, tokenParameters });
  const form = { token: refresh_token, client_id: idle.clientId, client_secret: secret };
  const isActive = async () =>
    ((await (await postForm(`${app.url}/oauth2/introspect`, form)).json()) as { active: boolean }).active;
  expect(await isActive()).toBe(true);
  app.clock.shift = 601_000;
  expect(await isActive()).toBe(false);
  app.clock.shift = 0;
});

it("tokens that ended leave the memory, and none before it ends", () => {
  let seconds = 1_000;
  const now = jest.spyOn(performance, "now").mockImplementation(() => seconds * 1000);
  try {
    const tokens = new VerifiedTokens(120);
    const claims = {} as AccessTokenClaims;
    for (; seconds < 1_600; seconds += 10) {
      tokens.add(`once.at.${seconds}`);
      tokens.add(`again.at.${seconds}-`);
      tokens.keep(`again.at.${seconds}-`, claims, "key");
    }
    const remembered = (at: number) => [tokens.find(`once.at.${at}`), tokens.find(`again.at.${at}-`)];
    for (let at = 1_000; at < 1_600; at += 10)
      if (at >= 1_480) expect(remembered(at)).toEqual(["verified", expect.objectContaining({ claims, kept: true })]);
      else if (at < 1_360) expect(remembered(at)).toEqual([undefined, undefined]);
  } finally {
    now.mockRestore();
  }
});

it("many tokens at once take no more memory than the bound, and those that are asked for stay", () => {
  const seconds = { now: 0 };
  const now = jest.spyOn(performance, "now").mockImplementation(() => seconds.now * 1000);
  try {
    const tokens = new VerifiedTokens(120);
    const filler = "x".repeat(100_000);
    tokens.add("asked.for.often");
    for (let n = 0; n < 2_000; n++) {
      if (n === 500) seconds.now += 120;
      tokens.add(`${filler}.${n}`);
      expect(tokens.find("asked.for.often")).toBe("verified");
    }
    const found = Array.from({ length: 2_000 }, (_, n) => tokens.find(`${filler}.${n}`)).filter(Boolean).length;
    expect(found * filler.length).toBeLessThanOrEqual(96 * 1024 * 1024);
    expect(found * filler.length).toBeGreaterThanOrEqual(90 * 1024 * 1024);
  } finally {
    now.mockRestore();
  }
});
