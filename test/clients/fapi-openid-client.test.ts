import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { generateKeyPair } from "jose";
import * as client from "openid-client";
import { startApp, type TestApp } from "../support/app.ts";
import { introspect, signUp } from "../support/flow.ts";
import { makeKey, type TestKey } from "../support/keys.ts";
import { answerOf, redirectUri } from "./sign-in.ts";

describe("openid-client as a client of the FAPI 2.0 Security Profile", () => {
  let app: TestApp;
  let key: TestKey;
  beforeAll(async () => {
    key = await makeKey("PS256");
    const common = { jwks: { keys: [key.jwk] }, redirect_uris: [redirectUri], first_party: true };
    app = await startApp({}, [
      { client_id: "fapi", profile: "fapi2", ...common },
      { client_id: "keyed", token_endpoint_auth_method: "private_key_jwt", ...common },
    ]);
  });
  afterAll(() => app.close());

  it.each(["fapi", "keyed"])(
    "S-150 S-152 signs in with PAR, private_key_jwt and DPoP, refreshes and reads UserInfo as %s",
    async (clientId) => {
      const privateKey = { key: key.privateKey, kid: key.jwk.kid ?? "" };
      const config = await client.discovery(new URL(app.url), clientId, undefined, client.PrivateKeyJwt(privateKey), {
        execute: [client.allowInsecureRequests],
      });
      client.enableNonRepudiationChecks(config);
      const DPoP = client.getDPoPHandle(config, await generateKeyPair("ES256"));
      const account = await signUp(app.url);
      const pkceCodeVerifier = client.randomPKCECodeVerifier();
      const expectedNonce = client.randomNonce();
      const parameters = {
        redirect_uri: redirectUri,
        scope: "openid profile",
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: "S256",
        nonce: expectedNonce,
      };
      const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
      expect([...url.searchParams.keys()].sort()).toEqual(["client_id", "request_uri"]);
      const answer = await answerOf(url, account);
      const checks = { pkceCodeVerifier, expectedNonce, idTokenExpected: true };
      const tokens = await client.authorizationCodeGrant(config, answer, checks, undefined, { DPoP });
      expect(tokens.token_type).toBe("dpop");
      expect(tokens.claims()).toMatchObject({ sub: account.uuid, aud: clientId });

      const sub = account.uuid;
      expect(await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).toMatchObject({ sub });
      const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token ?? "", undefined, { DPoP });
      expect(refreshed.refresh_token).toBe(tokens.refresh_token);
      const jkt = await DPoP.calculateThumbprint();
      expect(await introspect(app.url, refreshed.access_token)).toMatchObject({ token_type: "DPoP", cnf: { jkt } });
      const thief = client.getDPoPHandle(config, await generateKeyPair("ES256"));
      const stolen = client.fetchUserInfo(config, refreshed.access_token, sub, { DPoP: thief });
      await expect(stolen).rejects.toMatchObject({ status: 401 });
      await client.tokenRevocation(config, refreshed.refresh_token ?? "");
      const over = client.refreshTokenGrant(config, refreshed.refresh_token ?? "", undefined, { DPoP });
      await expect(over).rejects.toMatchObject({ error: "invalid_grant" });
    },
  );
});
