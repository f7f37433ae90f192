import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { claimsOf, getTokens, introspect, portal, refresh, signUp } from "../support/flow.ts";

describe("the three flows on SQLite", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  it("signs up, signs in, exchanges the code and introspects the token", async () => {
    const account = await signUp(app.url);
    const tokens = await getTokens(app.url, account);
    expect(tokens).toMatchObject({ expires_in: 120, token_type: "Bearer", scope: "openid profile read write" });
    expect(claimsOf(tokens.access_token)).toMatchObject({
      iss: app.url,
      sub: account.uuid,
      aud: portal.clientId,
      client_id: portal.clientId,
      roles: ["ROLE_USER"],
      nickname: "nick",
      scope: "openid profile read write",
    });
    expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true, sub: account.uuid });
  });

  it("refreshes, and returns the presented token to a client without rotation", async () => {
    const tokens = await getTokens(app.url, await signUp(app.url));
    const response = await refresh(app.url, tokens.refresh_token);
    expect(response.status).toBe(200);
    const body = (await response.json()) as { refresh_token: string; access_token: string };
    expect(body.refresh_token).toBe(tokens.refresh_token);
    expect(body.access_token).not.toBe(tokens.access_token);
  });
});
