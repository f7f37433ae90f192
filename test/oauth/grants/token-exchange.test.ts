import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { disableClient, rotateClientSecret } from "../../../src/oauth/clients/clients.ts";
import type { OAuthContext } from "../../../src/oauth/context.ts";
import { setUserDisabled } from "../../../src/users/users.ts";
import { RevokedSet } from "../../../src/verifier/revoked-set.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  claimsOf,
  getTokens,
  internalBasic,
  introspect,
  postForm,
  signUp,
  type Tokens,
} from "../../support/flow.ts";

import { makeKey, proofOf, type TestKey } from "../../support/keys.ts";

const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
const accessToken = "urn:ietf:params:oauth:token-type:access_token";
const secretOf = (id: string) => `${id}-secret`;
const service = (id: string, more: object) => ({
  client_id: id,
  client_secret: secretOf(id),
  grant_types: [grant, "client_credentials"],
  scope: "auth.introspect",
  ...more,
});
const gatewayUri = "https://gateway.example";
const apps = ["app", "doomed-app"];
const clients = [
  ...apps.map((client_id) => ({
    client_id,
    redirect_uris: ["https://app.example/cb"],
    scope: "openid profile read write",
    first_party: true,
    resources: [gatewayUri],
  })),
  service("gateway", {
    resource_server_for: [gatewayUri],
    token_exchange_audiences: ["orders", "https://billing.example"],
  }),
  service("orders", { token_exchange_audiences: ["stock"] }),
  service("stock", { token_exchange_audiences: ["orders"] }),
  service("doomed-gateway", { resource_server_for: [gatewayUri], token_exchange_audiences: ["orders"] }),
  service("listless", { resource_server_for: [gatewayUri] }),
  service("billing", { grant_types: ["client_credentials"], resource_server_for: ["https://billing.example"] }),
  service("worker", { token_exchange_audiences: ["orders"], resources: [gatewayUri] }),
];
const basic = (id: string) => `Basic ${Buffer.from(`${id}:${secretOf(id)}`).toString("base64")}`;

type Parameters = Record<string, string>;
interface Exchanged {
  access_token: string;
  issued_token_type: string;
  token_type: string;
  expires_in: number;
  scope: string;
  refresh_token?: string;
}

describe("token exchange", () => {
  let app: TestApp;
  let context: OAuthContext;
  let ada: Account & { uuid: string };
  beforeAll(async () => {
    app = await startApp({}, clients);
    context = app.context;
    ada = await signUp(app.url, { nickname: "ada" });
  });
  afterAll(() => app.close());

  const tokensFor = (clientId = "app", account: Account = ada, resource: string | null = gatewayUri): Promise<Tokens> =>
    getTokens(app.url, account, {
      clientId,
      redirectUri: "https://app.example/cb",
      scope: "openid profile read",
      ...(resource === null ? {} : { extra: { resource } }),
    });
  const ask = (by: string, subject: string, parameters: Parameters = {}) =>
    postForm(
      `${app.url}/oauth2/token`,
      { grant_type: grant, subject_token: subject, subject_token_type: accessToken, audience: "orders", ...parameters },
      { authorization: basic(by) },
    );
  async function exchanged(by: string, subject: string, parameters: Parameters = {}): Promise<Exchanged> {
    const response = await ask(by, subject, parameters);
    if (response.status !== 200) throw new Error(`exchange answered ${response.status} ${await response.text()}`);
    return (await response.json()) as Exchanged;
  }
  async function errorOf(answering: Promise<Response>): Promise<unknown> {
    const response = await answering;
    return [response.status, ((await response.json()) as { error: string }).error];
  }
  async function ownToken(id: string, more: Parameters = {}): Promise<string> {
    const form = { grant_type: "client_credentials", ...more };
    const response = await postForm(`${app.url}/oauth2/token`, form, { authorization: basic(id) });
    return ((await response.json()) as { access_token: string }).access_token;
  }

  it("gives an access token, which is a JWT, to who asks for a JWT, and says so (RFC 8693 section 3)", async () => {
    const { access_token: subject } = await tokensFor();
    const jwt = "urn:ietf:params:oauth:token-type:jwt";
    const answer = await exchanged("gateway", subject, { scope: "read", requested_token_type: jwt });
    expect(answer).toMatchObject({ issued_token_type: jwt, token_type: "Bearer", scope: "read" });
    expect(claimsOf(answer.access_token)).toMatchObject({ sub: claimsOf(subject)["sub"], scope: "read" });
  });

  it("S-146 gives a gateway a token for the service behind it: same user, less scope, the gateway as actor", async () => {
    const { access_token: subject } = await tokensFor();
    const answer = await exchanged("gateway", subject, { scope: "read", requested_token_type: accessToken });
    expect(answer).toMatchObject({ issued_token_type: accessToken, token_type: "Bearer", scope: "read" });
    expect(answer).not.toHaveProperty("refresh_token");
    expect(answer).not.toHaveProperty("id_token");
    const [before, after] = [claimsOf(subject), claimsOf(answer.access_token)];
    expect(after).toMatchObject({
      iss: app.url,
      sub: ada.uuid,
      aud: "orders",
      client_id: "gateway",
      sid: before["sid"],
      scope: "read",
      roles: ["ROLE_USER"],
      nickname: "ada",
      act: { sub: "gateway" },
    });
    expect(after["jti"]).not.toBe(before["jti"]);
    // the service that it is for learns who acts, another one nothing
    expect(await introspect(app.url, answer.access_token, basic("orders"))).toMatchObject({
      active: true,
      sub: ada.uuid,
      client_id: "gateway",
      act: { sub: "gateway" },
    });
    expect(await introspect(app.url, answer.access_token, basic("stock"))).toEqual({ active: false });
    const userinfo = await fetch(`${app.url}/userinfo`, {
      headers: { authorization: `Bearer ${answer.access_token}` },
    });
    expect(userinfo.status).toBe(401);
  });

  it("logs and counts an exchange as a security event with ids only, and does not log a refused one", async () => {
    const events = () =>
      app.logs
        .map((line) => JSON.parse(line) as object)
        .filter((line) => "event" in line && line.event === "token_exchanged");
    const counted = async () =>
      /auth_security_events_total\{event="token_exchanged"\} (\d+)/.exec(
        await (await fetch(`${app.internalUrl}/metrics`)).text(),
      )?.[1] ?? "0";
    const { access_token: subject } = await tokensFor();
    const [linesBefore, before] = [events().length, Number(await counted())];
    expect((await ask("gateway", subject, { audience: "elsewhere" })).status).toBe(400);
    const { access_token } = await exchanged("gateway", subject);
    const { sid } = claimsOf(access_token);
    const [line, ...more] = events().slice(linesBefore);
    expect(more).toEqual([]);
    const { level, time, msg, request_id, address, agent, ...fields } = line as Record<string, unknown>;
    expect(fields).toEqual({ event: "token_exchanged", client_id: "gateway", sub: ada.uuid, sid, aud: "orders" });
    expect(Number(await counted())).toBe(before + 1);
  });

  it("S-146 keeps the chain of actors, and ends it after five exchanges", async () => {
    let { access_token: token } = await exchanged("gateway", (await tokensFor()).access_token);
    let act: object = { sub: "gateway" };
    for (const [by, audience] of [
      ["orders", "stock"],
      ["stock", "orders"],
      ["orders", "stock"],
      ["stock", "orders"],
    ] as const) {
      token = (await exchanged(by, token, { audience })).access_token;
      act = { sub: by, act };
      expect(claimsOf(token)["act"]).toEqual(act);
    }
    expect((await introspect(app.url, token, basic("orders")))["act"]).toEqual(act);
    expect(await errorOf(ask("orders", token, { audience: "stock" }))).toEqual([400, "invalid_request"]);
  });

  it("S-146 gRPC exchanges and introspects alike", async () => {
    const transport = createGrpcTransport({ baseUrl: `http://${app.grpc}` });
    const { access_token: subjectToken } = await tokensFor();
    const form = { grantType: grant, clientId: "gateway", clientSecret: secretOf("gateway") };
    const exchange = { ...form, subjectToken, subjectTokenType: accessToken, audience: "orders" };
    const issuing = createClient(TokenService, transport);
    const headers = { headers: { authorization: internalBasic } };
    const answer = await issuing.issueToken(exchange, headers);
    expect(answer).toMatchObject({ issuedTokenType: accessToken, refreshToken: "" });
    const introspecting = createClient(IntrospectionService, transport);
    const orders = { headers: { authorization: basic("orders") } };
    expect(await introspecting.introspect({ token: answer.accessToken }, orders)).toMatchObject({
      active: true,
      act: { sub: "gateway" },
    });
    const unlisted = issuing.issueToken({ ...exchange, audience: "stock" }, headers);
    await expect(unlisted).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it("S-146 never outlives the subject token", async () => {
    const { access_token: subject } = await tokensFor();
    app.clock.shift = 100_000;
    const answer = await exchanged("gateway", subject);
    app.clock.shift = 0;
    expect(claimsOf(answer.access_token)["exp"]).toBe(claimsOf(subject)["exp"]);
    expect(answer.expires_in).toBeLessThanOrEqual(20);
  });

  it("S-146 refuses audiences that are not listed, and is refused where none is", async () => {
    const { access_token: subject } = await tokensFor();
    expect(await errorOf(ask("listless", subject))).toEqual([400, "invalid_target"]);
    for (const target of ["stock", "gateway", gatewayUri, "https://billing.example/x", "ORDERS"]) {
      expect(await errorOf(ask("gateway", subject, { audience: target }))).toEqual([400, "invalid_target"]);
    }
    const two = { audience: "orders", resource: "https://billing.example" };
    expect(claimsOf((await exchanged("gateway", subject, two)).access_token)["aud"]).toEqual(Object.values(two));
    expect(await errorOf(ask("gateway", subject, { audience: "" }))).toEqual([400, "invalid_request"]);
    const answer = await exchanged("gateway", subject, { audience: "", resource: "https://billing.example" });
    expect(claimsOf(answer.access_token)["aud"]).toBe("https://billing.example");
    expect((await introspect(app.url, answer.access_token, basic("billing")))["active"]).toBe(true);
  });

  it("S-146 refuses clients without the right", async () => {
    const { access_token: subject } = await tokensFor();
    expect(await errorOf(ask("billing", subject))).toEqual([400, "unauthorized_client"]);
    const form = { grant_type: grant, subject_token: subject, subject_token_type: accessToken, audience: "orders" };
    const asPublic = postForm(`${app.url}/oauth2/token`, { ...form, client_id: "app" });
    expect(await errorOf(asPublic)).toEqual([400, "unauthorized_client"]);
    const wrong = { authorization: `Basic ${Buffer.from("gateway:wrong").toString("base64")}` };
    expect(await errorOf(postForm(`${app.url}/oauth2/token`, form, wrong))).toEqual([401, "invalid_client"]);
  });

  it("S-146 refuses a subject token that was not made for the client", async () => {
    const own = await tokensFor("app", ada, null);
    expect(await errorOf(ask("gateway", own.access_token))).toEqual([400, "invalid_request"]);
    const { access_token: subject } = await tokensFor();
    expect(await errorOf(ask("orders", subject, { audience: "stock" }))).toEqual([400, "invalid_request"]);
  });

  it("S-146 refuses everything but a live access token of this issuer", async () => {
    const { access_token: subject, id_token: idToken, refresh_token: refreshToken } = await tokensFor();
    const [header, claims] = subject.split(".");
    for (const token of [idToken, refreshToken, "x", `${header}.${claims}.`, `${header}.${claims}.AAAA`]) {
      expect(await errorOf(ask("gateway", token))).toEqual([400, "invalid_request"]);
    }
    for (const type of ["id_token", "refresh_token", "saml2"]) {
      const parameters = { subject_token_type: `urn:ietf:params:oauth:token-type:${type}` };
      expect(await errorOf(ask("gateway", subject, parameters))).toEqual([400, "invalid_request"]);
    }
    for (const missing of [{ subject_token: "" }, { subject_token_type: "" }]) {
      expect(await errorOf(ask("gateway", subject, missing))).toEqual([400, "invalid_request"]);
    }
    const other = { requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" };
    expect(await errorOf(ask("gateway", subject, other))).toEqual([400, "invalid_request"]);
    app.clock.shift = 121_000;
    expect(await errorOf(ask("gateway", subject))).toEqual([400, "invalid_request"]);
    app.clock.shift = 0;
    await postForm(`${app.url}/oauth2/revoke`, { token: subject, client_id: "app" });
    expect(await errorOf(ask("gateway", subject))).toEqual([400, "invalid_request"]);
  });

  it("S-146 refuses a wider scope", async () => {
    const { access_token: subject } = await tokensFor();
    for (const scope of ["write", "read write", "auth.introspect", " "]) {
      expect(await errorOf(ask("gateway", subject, { scope }))).toEqual([400, "invalid_scope"]);
    }
    const { access_token: narrow } = await exchanged("gateway", subject, { scope: "read" });
    expect(await errorOf(ask("orders", narrow, { audience: "stock", scope: "profile" }))).toEqual([
      400,
      "invalid_scope",
    ]);
  });

  it("S-146 exchanges a token that is bound to a key only with a proof of that key (RFC 9449)", async () => {
    const [mine, another] = [await makeKey(), await makeKey()];
    const tokenUrl = `${app.url}/oauth2/token`;
    const headers = async (key: TestKey) => ({
      authorization: basic("worker"),
      dpop: await proofOf(key, "POST", tokenUrl),
    });
    const own = await postForm(tokenUrl, { grant_type: "client_credentials" }, await headers(mine));
    const { access_token: bound } = (await own.json()) as { access_token: string };
    const form = { grant_type: grant, subject_token: bound, subject_token_type: accessToken, audience: "orders" };
    expect(await errorOf(ask("worker", bound))).toEqual([400, "invalid_request"]);
    expect(await errorOf(postForm(tokenUrl, form, await headers(another)))).toEqual([400, "invalid_request"]);
    const answer = (await (await postForm(tokenUrl, form, await headers(mine))).json()) as Exchanged;
    expect(answer.token_type).toBe("DPoP");
    expect(claimsOf(answer.access_token)["cnf"]).toEqual(claimsOf(bound)["cnf"]);
  });

  it("S-146 accepts only the client's own token as actor", async () => {
    const { access_token: subject } = await tokensFor();
    const actor = { actor_token_type: accessToken };
    const own = await exchanged("gateway", subject, { ...actor, actor_token: await ownToken("gateway") });
    expect(claimsOf(own.access_token)["act"]).toEqual({ sub: "gateway" });
    for (const parameters of [
      { ...actor, actor_token: await ownToken("orders") },
      { ...actor, actor_token: subject },
      { actor_token: await ownToken("gateway") },
      actor,
    ]) {
      expect(await errorOf(ask("gateway", subject, parameters))).toEqual([400, "invalid_request"]);
    }
  });

  it.each<
    [string, string, string, (of: { tokens: Tokens; account: { uuid: string }; middle: string }) => Promise<unknown>]
  >([
    [
      "the subject token is revoked",
      "app",
      "gateway",
      ({ tokens }) => postForm(`${app.url}/oauth2/revoke`, { token: tokens.access_token, client_id: "app" }),
    ],
    [
      "the token between is revoked",
      "app",
      "gateway",
      ({ middle }) => postForm(`${app.url}/oauth2/revoke`, { token: middle }, { authorization: basic("gateway") }),
    ],
    [
      "the refresh token is revoked",
      "app",
      "gateway",
      ({ tokens }) => postForm(`${app.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: "app" }),
    ],
    ["the user is disabled", "app", "gateway", ({ account }) => setUserDisabled(context, account.uuid, true)],
    ["the first client is disabled", "doomed-app", "gateway", () => disableClient(context, "doomed-app")],
    ["the client between is disabled", "app", "doomed-gateway", () => disableClient(context, "doomed-gateway")],
  ])("S-146 an exchanged token ends when %s", async (_name, clientId, gateway, cause) => {
    const account = await signUp(app.url);
    const tokens = await tokensFor(clientId, account);
    const { access_token: middle } = await exchanged(gateway, tokens.access_token);
    const { access_token: last } = await exchanged("orders", middle, { audience: "stock" });
    expect((await introspect(app.url, last, basic("stock")))["active"]).toBe(true);
    await cause({ tokens, account, middle });
    expect(await introspect(app.url, last, basic("stock"))).toEqual({ active: false });
    expect(await errorOf(ask("stock", last))).toEqual([400, "invalid_request"]);
  });

  it("S-146 an exchanged token of a service ends with the secret that its first one was got for", async () => {
    const { access_token: token } = await exchanged("gateway", await ownToken("worker", { resource: gatewayUri }));
    expect((await introspect(app.url, token, basic("orders")))["active"]).toBe(true);
    await rotateClientSecret(context, "worker", 10);
    expect((await introspect(app.url, token, basic("orders")))["active"]).toBe(true);
    app.clock.shift = 11_000;
    expect((await introspect(app.url, token, basic("orders")))["active"]).toBe(false);
    app.clock.shift = 0;
  });

  it("S-146 the verifier library ends it with what it was exchanged from, too", async () => {
    const { access_token: subject } = await tokensFor();
    const { access_token: token } = await exchanged("gateway", subject);
    const claims = claimsOf(token) as never;
    const { jti, iat } = claimsOf(subject) as { jti: string; iat: number };
    const kid = String(
      (JSON.parse(Buffer.from(subject.split(".")[0] ?? "", "base64url").toString()) as { kid: string }).kid,
    );
    for (const [kind, value] of [
      ["token", jti],
      ["client", "app"],
      ["key", kid],
    ] as const) {
      const revoked = new RevokedSet();
      expect(revoked.has(claims, "another")).toBe(false);
      revoked.add(kind, value, { revokedAt: iat * 1000, epoch: null }, Number.MAX_SAFE_INTEGER);
      expect([kind, revoked.has(claims, "another")]).toEqual([kind, true]);
    }
  });
});
