import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  getCode,
  getTokens,
  internalBasic,
  pkce,
  portal,
  postForm,
  postJson,
  signUp,
  uniqueEmail,
} from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";

let app: TestApp;
let tokens: Client<typeof TokenService>;
let users: Client<typeof UserService>;
let introspection: Client<typeof IntrospectionService>;
beforeAll(async () => {
  app = await startApp();
  const transport = internalTransport(app.grpc);
  tokens = createClient(TokenService, transport);
  users = createClient(UserService, transport);
  introspection = createClient(IntrospectionService, transport);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

/** The error code of an HTTP answer, or `ok`. */
async function http(response: Response): Promise<string> {
  if (response.ok) return "ok";
  const body = (await response.json()) as { error: string | { code: string } };
  return typeof body.error === "string" ? body.error : body.error.code;
}

/** The error code in the detail of a gRPC status, or `ok`. */
async function grpc(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    const [detail] = ConnectError.from(error).findDetails(ErrorDetailSchema);
    return detail?.code ?? `no detail: ${error}`;
  }
}

describe("S-182 one outcome over HTTP and gRPC", () => {
  it("for every grant, good and refused", async () => {
    const account = await signUp(app.url);
    const good = async () => {
      const { code, verifier } = await getCode(app.url, account);
      return {
        grant_type: "authorization_code",
        client_id: portal.clientId,
        redirect_uri: portal.redirectUri,
        code,
        code_verifier: verifier,
      };
    };
    const { refresh_token, access_token } = await getTokens(app.url, account);
    const credentials = {
      grant_type: "client_credentials",
      client_id: "internal-service",
      client_secret: "internal-service-secret",
    };
    const cases: [string, () => Promise<Record<string, string>>][] = [
      ["ok", good],
      ["invalid_request", async () => ({ client_id: portal.clientId })],
      ["unsupported_grant_type", async () => ({ client_id: portal.clientId, grant_type: "password" })],
      ["unauthorized_client", async () => ({ client_id: portal.clientId, grant_type: "client_credentials" })],
      ["invalid_client", async () => ({ ...(await good()), client_id: "nobody" })],
      ["invalid_grant", async () => ({ ...(await good()), code: "x".repeat(43) })],
      ["invalid_grant", async () => ({ ...(await good()), code_verifier: pkce().verifier })],
      ["invalid_request", async () => ({ ...(await good()), code_verifier: "short" })],
      ["invalid_grant", async () => ({ ...(await good()), redirect_uri: "http://localhost:3000/other" })],
      ["ok", async () => ({ grant_type: "refresh_token", client_id: portal.clientId, refresh_token })],
      [
        "invalid_grant",
        async () => ({ grant_type: "refresh_token", client_id: portal.clientId, refresh_token: access_token }),
      ],
      [
        "invalid_scope",
        async () => ({ grant_type: "refresh_token", client_id: portal.clientId, refresh_token, scope: "admin" }),
      ],
      [
        "invalid_target",
        async () => ({
          grant_type: "refresh_token",
          client_id: portal.clientId,
          refresh_token,
          resource: "https://a.example",
        }),
      ],
    ];
    for (const [expected, parameters] of cases) {
      const overHttp = await http(await postForm(`${app.url}/oauth2/token`, await parameters()));
      const {
        grant_type = "",
        client_id = "",
        code = "",
        redirect_uri = "",
        code_verifier = "",
        refresh_token = "",
        scope = "",
        resource = "",
      } = await parameters();
      const overGrpc = await grpc(
        tokens.issueToken({
          grantType: grant_type,
          clientId: client_id,
          code,
          redirectUri: redirect_uri,
          codeVerifier: code_verifier,
          refreshToken: refresh_token,
          scope,
          resource,
        }),
      );
      expect([expected, overHttp, overGrpc]).toEqual([expected, expected, expected]);
    }
    const issued = await grpc(
      tokens.issueToken({ grantType: "client_credentials", clientId: "internal-service", clientSecret: "wrong" }),
    );
    const wrong = await postForm(`${app.url}/oauth2/token`, { ...credentials, client_secret: "wrong" });
    expect([issued, await http(wrong)]).toEqual(["invalid_client", "invalid_client"]);
  });

  it("for introspection", async () => {
    const live = await getTokens(app.url, await signUp(app.url));
    const revoked = await getTokens(app.url, await signUp(app.url));
    await postForm(`${app.url}/oauth2/revoke`, { token: revoked.refresh_token, client_id: portal.clientId });
    const asBoth = async (token: string) => {
      const response = await postForm(`${app.url}/oauth2/introspect`, { token }, { authorization: internalBasic });
      const overHttp = (await response.json()) as Record<string, unknown>;
      const answer = await introspection.introspect({ token });
      return { overHttp, answer };
    };
    const { overHttp, answer } = await asBoth(live.access_token);
    expect({
      active: answer.active,
      scope: answer.scope,
      client_id: answer.clientId,
      username: answer.username,
      token_type: answer.tokenType,
      exp: Number(answer.exp),
      iat: Number(answer.iat),
      sub: answer.sub,
      aud: answer.aud,
      iss: answer.iss,
      jti: answer.jti,
      sid: answer.sid,
      roles: answer.roles,
      nickname: answer.nickname,
      auth_time: Number(answer.authTime),
      acr: answer.acr,
      amr: answer.amr,
    }).toEqual(overHttp);
    for (const token of ["nonsense", live.refresh_token, live.id_token, revoked.access_token, revoked.refresh_token]) {
      const both = await asBoth(token);
      expect([both.overHttp, both.answer.active, both.answer.sub]).toEqual([{ active: false }, false, ""]);
    }
    app.clock.shift = 121_000;
    const expired = await asBoth(live.access_token);
    expect([expired.overHttp, expired.answer.active]).toEqual([{ active: false }, false]);
    app.clock.shift = 0;
    const batch = await introspection.batchIntrospect({ tokens: ["x", live.access_token, revoked.access_token] });
    expect(batch.responses.map(({ active }) => active)).toEqual([false, true, false]);
  });

  it("for the gateway's table", async () => {
    const live = await getTokens(app.url, await signUp(app.url));
    const narrow = await getTokens(app.url, await signUp(app.url), { scope: "profile" });
    const revoked = await getTokens(app.url, await signUp(app.url));
    await postForm(`${app.url}/oauth2/revoke`, { token: revoked.refresh_token, client_id: portal.clientId });
    const check = async (token: string) => {
      const headers: Record<string, string> = token === "" ? {} : { authorization: `Bearer ${token}` };
      const response = await fetch(`${app.url}/userinfo`, { headers });
      const { error = "" } = (await response.json()) as { error?: string };
      const {
        allowed,
        httpStatus,
        error: decided,
      } = await introspection.authorize({ token, requiredScopes: ["openid"] });
      expect([allowed, httpStatus, decided]).toEqual([response.ok, response.status, error]);
      return decided;
    };
    expect(await check("")).toBe("Unauthorized");
    expect(await check("nonsense")).toBe("Invalid Token");
    expect(await check(live.refresh_token)).toBe("Invalid Token");
    expect(await check(revoked.access_token)).toBe("Invalid Token");
    expect(await check(narrow.access_token)).toBe("Forbidden");
    expect(await check(live.access_token)).toBe("");
    app.clock.shift = 121_000;
    expect(await check(live.access_token)).toBe("Token Expired");
    expect(await check(revoked.access_token)).toBe("Invalid Token");
  });

  it("for accounts", async () => {
    const taken = await signUp(app.url);
    const cases = [
      ["ok", () => ({ email: uniqueEmail(), password: "correct horse battery", nickname: "n" })],
      [
        "AUTH_EMAIL_DUPLICATE",
        () => ({ email: taken.email.toUpperCase(), password: "correct horse battery", nickname: "n" }),
      ],
      ["AUTH_INVALID_REQUEST", () => ({ email: "nobody", password: "x", nickname: "" })],
    ] as const;
    for (const [expected, body] of cases) {
      const overHttp = await http(await postJson(`${app.url}/api/users/signup`, body()));
      expect([overHttp, await grpc(users.signUp(body()))]).toEqual([expected, expected]);
    }
    const confirm = { token: "x".repeat(43), newPassword: "a new good password" };
    expect([
      await http(await postJson(`${app.url}/api/users/password-reset/confirm`, confirm)),
      await grpc(users.resetPassword(confirm)),
    ]).toEqual(["AUTH_RESET_TOKEN_INVALID", "AUTH_RESET_TOKEN_INVALID"]);
    const { access_token } = await getTokens(app.url, taken);
    const change = { currentPassword: "wrong one", newPassword: "a new good password" };
    expect([
      await http(
        await postJson(`${app.url}/api/users/me/password`, change, { authorization: `Bearer ${access_token}` }),
      ),
      await grpc(users.changePassword({ uuid: taken.uuid, ...change })),
    ]).toEqual(["AUTH_INVALID_CREDENTIALS", "AUTH_INVALID_CREDENTIALS"]);
    expect([
      (await postJson(`${app.url}/api/users/password-reset`, { email: uniqueEmail() })).status,
      await grpc(users.requestPasswordReset({ email: uniqueEmail() })),
    ]).toEqual([202, "ok"]);
  });

  it("S-040 S-118 for an account that is disabled or deleted over gRPC: everything of it ends over HTTP", async () => {
    for (const end of ["disableUser", "deleteUser"] as const) {
      const account = await signUp(app.url);
      const live = await getTokens(app.url, account);
      const pending = await getCode(app.url, account, { browser: live.browser });
      await users[end]({ uuid: account.uuid });
      expect((await introspection.introspect({ token: live.access_token })).active).toBe(false);
      const refreshed = { grant_type: "refresh_token", refresh_token: live.refresh_token, client_id: portal.clientId };
      expect(await http(await postForm(`${app.url}/oauth2/token`, refreshed))).toBe("invalid_grant");
      const redeemed = {
        grant_type: "authorization_code",
        code: pending.code,
        code_verifier: pending.verifier,
        client_id: portal.clientId,
      };
      expect(await http(await postForm(`${app.url}/oauth2/token`, redeemed))).toBe("invalid_grant");
      const login = await live.browser.get(`${app.url}/`);
      expect(await login.text()).toContain("not signed in");
      if (end === "disableUser") {
        await users.enableUser({ uuid: account.uuid });
        await getTokens(app.url, account);
      } else {
        expect((await signUp(app.url, account)).uuid).not.toBe(account.uuid);
        expect((await introspection.introspect({ token: live.access_token })).active).toBe(false);
      }
    }
  });

  it("effects of roles, revocation by sid and authorization lists", async () => {
    const account = await signUp(app.url);
    const live = await getTokens(app.url, account);
    await users.updateUser({
      uuid: account.uuid,
      roles: ["ROLE_USER", "ROLE_ADMIN"],
      updateMask: { paths: ["roles"] },
    });
    const { accessToken } = await tokens.issueToken({
      grantType: "refresh_token",
      refreshToken: live.refresh_token,
      clientId: portal.clientId,
    });
    const seen = await introspection.introspect({ token: accessToken });
    expect(seen.roles).toEqual(["ROLE_USER", "ROLE_ADMIN"]);
    const { authorizations } = await tokens.listAuthorizations({ uuid: account.uuid });
    expect(authorizations.map(({ sid, clientId, sub }) => [sid, clientId, sub])).toEqual([
      [seen.sid, portal.clientId, account.uuid],
    ]);
    await tokens.revokeAuthorization({ sid: seen.sid });
    expect((await introspection.introspect({ token: accessToken })).active).toBe(false);
    expect((await tokens.listAuthorizations({ uuid: account.uuid })).authorizations).toEqual([]);
    const page = await users.listUsers({ pageSize: 1 });
    expect(page.users).toHaveLength(1);
    const second = await users.listUsers({ pageSize: 1, pageToken: page.nextPageToken });
    expect(second.users[0]?.uuid).not.toBe(page.users[0]?.uuid);
    const changed = `${page.nextPageToken.slice(0, -1)}${page.nextPageToken.endsWith("A") ? "B" : "A"}`;
    expect(await grpc(users.listUsers({ pageSize: 1, pageToken: changed }))).toBe("invalid_request");
  });
});
