import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import * as client from "openid-client";
import { startApp, type TestApp } from "../support/app.ts";
import { signUp, TestBrowser } from "../support/flow.ts";
import { answerOf, asksForLogin, clients, redirectUri } from "./sign-in.ts";

describe("openid-client as the client", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, clients);
  });
  afterAll(() => app.close());

  const authentications: Record<string, () => client.ClientAuth> = {
    public: () => client.None(),
    basic: () => client.ClientSecretBasic(clients[1]?.client_secret ?? ""),
    post: () => client.ClientSecretPost(clients[2]?.client_secret ?? ""),
  };

  async function discover(clientId: string, authentication: client.ClientAuth): Promise<client.Configuration> {
    const config = await client.discovery(new URL(app.url), clientId, undefined, authentication, {
      execute: [client.allowInsecureRequests],
    });
    // the ID token's signature is checked against the published keys, too
    client.enableNonRepudiationChecks(config);
    return config;
  }

  it.each(Object.keys(authentications))(
    "S-015 S-060 runs the whole code flow with PKCE as the client %s",
    async (clientId) => {
      const config = await discover(clientId, (authentications[clientId] ?? client.None)());
      const account = await signUp(app.url);
      const pkceCodeVerifier = client.randomPKCECodeVerifier();
      const expectedState = client.randomState();
      const expectedNonce = client.randomNonce();
      const url = client.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: "openid profile email",
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: "S256",
        state: expectedState,
        nonce: expectedNonce,
        max_age: "1000",
      });
      const browser = new TestBrowser();
      const tokens = await client.authorizationCodeGrant(config, await answerOf(url, account, browser), {
        pkceCodeVerifier,
        expectedState,
        expectedNonce,
        maxAge: 1000,
        idTokenExpected: true,
      });
      const claims = tokens.claims();
      expect(claims).toMatchObject({ sub: account.uuid, iss: app.url, aud: clientId });
      expect(tokens.expires_in).toBe(120);

      expect(await client.fetchUserInfo(config, tokens.access_token, account.uuid)).toMatchObject({
        sub: account.uuid,
        email: account.email,
        nickname: account.nickname,
      });

      const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token ?? "");
      expect(refreshed.claims()?.sub).toBe(account.uuid);
      expect(refreshed.refresh_token).not.toBe(tokens.refresh_token);

      await client.tokenRevocation(config, refreshed.refresh_token ?? "");
      await expect(client.refreshTokenGrant(config, refreshed.refresh_token ?? "")).rejects.toMatchObject({
        error: "invalid_grant",
      });
      await expect(client.fetchUserInfo(config, refreshed.access_token, account.uuid)).rejects.toMatchObject({
        status: 401,
      });

      const endSession = client.buildEndSessionUrl(config, {
        id_token_hint: refreshed.id_token ?? tokens.id_token ?? "",
        post_logout_redirect_uri: redirectUri,
        state: "bye",
      });
      expect(await asksForLogin(url, browser)).toBe(false);
      const left = await browser.get(endSession.href);
      expect(left.headers.get("location")).toBe(`${redirectUri}?state=bye`);
      expect(await asksForLogin(url, browser)).toBe(true);
    },
  );

  it("gets a token by client credentials as the internal service, and introspects it", async () => {
    const config = await discover("internal-service", client.ClientSecretBasic("internal-service-secret"));
    const own = await client.clientCredentialsGrant(config, { scope: "auth.introspect" });
    expect(await client.tokenIntrospection(config, own.access_token)).toMatchObject({
      active: true,
      client_id: "internal-service",
    });
    expect(await client.tokenIntrospection(config, "no token")).toEqual({ active: false });
  });

  it("S-012 discovery offers PKCE with S256 to the client and no other method", async () => {
    const metadata = (await discover("public", client.None())).serverMetadata();
    expect(metadata.supportsPKCE()).toBe(true);
    expect(metadata.code_challenge_methods_supported).toEqual(["S256"]);
  });

  it("an answer of another issuer is refused by the client", async () => {
    const config = await discover("public", client.None());
    const pkceCodeVerifier = client.randomPKCECodeVerifier();
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope: "openid",
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
    });
    const answer = await answerOf(url, await signUp(app.url));
    answer.searchParams.set("iss", "http://localhost:1");
    await expect(client.authorizationCodeGrant(config, answer, { pkceCodeVerifier })).rejects.toThrow();
  });
});
