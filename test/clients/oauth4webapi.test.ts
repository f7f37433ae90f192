import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import * as oauth from "oauth4webapi";
import { startApp, type TestApp } from "../support/app.ts";
import { signUp, TestBrowser } from "../support/flow.ts";
import { answerOf, asksForLogin, clients, redirectUri } from "./sign-in.ts";

const options = { [oauth.allowInsecureRequests]: true };

describe("oauth4webapi as the client", () => {
  let app: TestApp;
  let server: oauth.AuthorizationServer;
  beforeAll(async () => {
    app = await startApp({}, clients);
    server = await discover("oidc");
  });
  afterAll(() => app.close());

  async function discover(algorithm: "oidc" | "oauth2"): Promise<oauth.AuthorizationServer> {
    const issuer = new URL(app.url);
    return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...options }));
  }

  it("finds the same endpoints by OpenID discovery and by RFC 8414", async () => {
    const other = await discover("oauth2");
    for (const name of ["authorization_endpoint", "token_endpoint", "jwks_uri", "revocation_endpoint"] as const) {
      expect(other[name]).toBe(server[name]);
    }
  });

  it("S-015 S-060 runs the whole code flow with PKCE, every signature checked", async () => {
    const client: oauth.Client = { client_id: "post" };
    const authentication = oauth.ClientSecretPost(clients[2]?.client_secret ?? "");
    const account = await signUp(app.url);
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const nonce = oauth.generateRandomNonce();
    const url = new URL(server.authorization_endpoint ?? "");
    url.search = new URLSearchParams({
      client_id: client.client_id,
      redirect_uri: redirectUri,
      response_type: "code",
      scope: "openid profile email",
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
      nonce,
    }).toString();
    const browser = new TestBrowser();
    const parameters = oauth.validateAuthResponse(server, client, await answerOf(url, account, browser), state);
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      authentication,
      parameters,
      redirectUri,
      verifier,
      options,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
      expectedNonce: nonce,
      requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(server, response, options);
    expect(oauth.getValidatedIdTokenClaims(tokens)?.sub).toBe(account.uuid);

    // RFC 9068, as a resource server reads the access token
    const request = new Request("http://localhost/resource", {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    const claims = await oauth.validateJwtAccessToken(server, request, client.client_id, {
      ...options,
      signingAlgorithms: ["ES256"],
    });
    expect(claims).toMatchObject({ sub: account.uuid, scope: "openid profile email" });

    const info = await oauth.userInfoRequest(server, client, tokens.access_token, options);
    expect(await oauth.processUserInfoResponse(server, client, account.uuid, info)).toMatchObject({
      email: account.email,
    });

    const refreshed = await oauth.processRefreshTokenResponse(
      server,
      client,
      await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token ?? "", options),
    );
    expect(refreshed.access_token).not.toBe(tokens.access_token);

    const internal: oauth.Client = { client_id: "internal-service" };
    const introspect = async () =>
      oauth.processIntrospectionResponse(
        server,
        internal,
        await oauth.introspectionRequest(
          server,
          internal,
          oauth.ClientSecretBasic("internal-service-secret"),
          refreshed.access_token,
          options,
        ),
      );
    expect(await introspect()).toMatchObject({ active: true, sub: account.uuid, client_id: "post" });
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, client, authentication, refreshed.refresh_token ?? "", options),
    );
    expect(await introspect()).toEqual({ active: false });

    const logout = new URL(server.end_session_endpoint ?? "");
    logout.searchParams.set("id_token_hint", tokens.id_token ?? "");
    expect(await asksForLogin(url, browser)).toBe(false);
    const left = await browser.get(logout.href);
    expect(left.status).toBe(200);
    expect(await left.text()).toContain("You are signed out");
    expect(await asksForLogin(url, browser)).toBe(true);
  });

  it("reads a refusal as the OAuth error that it is", async () => {
    const client: oauth.Client = { client_id: "public" };
    const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), "no token", options);
    await expect(oauth.processRefreshTokenResponse(server, client, response)).rejects.toMatchObject({
      error: "invalid_grant",
      status: 401,
    });
  });
});
