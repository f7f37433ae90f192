import { afterAll, beforeAll, expect, it } from "@jest/globals";
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
