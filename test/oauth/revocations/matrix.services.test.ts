import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../../gen/auth/v1/user_pb.ts";
import { disableClient, rotateClientSecret } from "../../../src/oauth/clients/clients.ts";
import type { TestApp } from "../../support/app.ts";
import { type Deployment, onMariaDbAndKafka, waitForEvent } from "../../support/deployment.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getCode,
  hiddenFields,
  introspect,
  patiently,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  type TestBrowser,
  type Tokens,
} from "../../support/flow.ts";
import { type Cell, page, table } from "./matrix-page.ts";

/** REVOCATION_MAX_STALENESS, milliseconds. */
const bound = 1_000;
/** A credential that was refused stays refused for so long (milliseconds). */
const watchFor = 600;
const secret = "a secret of at least thirty-two characters";

const credentials = [
  "browser session",
  "authorization code",
  "device code",
  "access token",
  "cached decision",
  "exchanged token",
  "refresh token",
  "client's own token",
  "Bearer caller of gRPC",
] as const;
type Credential = (typeof credentials)[number];

/** What exists of one user and one client when a cause comes. */
interface Subject {
  readonly account: Account & { uuid: string };
  readonly clientId: string;
  readonly redirectUri: string;
  readonly browser: TestBrowser;
  readonly tokens: Tokens;
  /** That `tokens` came of. */
  readonly used: { readonly code: string; readonly verifier: string };
  readonly pending: { readonly code: string; readonly verifier: string };
  /** Allowed, not yet redeemed. */
  readonly deviceCode: string;
  /** What a gateway got for the access token of `tokens`. */
  readonly exchanged: string;
  readonly worker: string;
  readonly ownToken: string;
}

interface Cause {
  readonly name: string;
  /** What it must end; everything else stays good. */
  readonly ends: readonly Credential[];
  /** Whatever is not this service's to promise: by credential, why. */
  readonly notApplicable?: Partial<Record<Credential, string>>;
  /** False: told by what replicas remember of clients, which is as old as the bound. */
  readonly looksUp?: false;
  /** Before the clock starts. */
  prepare?(subject: Subject): Promise<unknown>;
  /** On replica A; resolves with its acknowledgement. */
  act(subject: Subject, prepared: unknown): Promise<unknown>;
}

const codes: readonly Credential[] = ["authorization code", "device code"];
const ofToken: readonly Credential[] = ["access token", "cached decision", "exchanged token"];
const ofAuthorization: readonly Credential[] = [...ofToken, "refresh token"];
const ofUser: readonly Credential[] = ["browser session", ...codes, ...ofAuthorization];
/** In the database, at each use. */
const lookedUp: readonly Credential[] = ["browser session", ...codes, "refresh token"];
const own: readonly Credential[] = ["client's own token", "Bearer caller of gRPC"];

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code";
const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange";
/** An URL, so that the gateway can be registered for it. */
const appOf = (n: number) => `https://app-${n}.example`;

let d: Deployment;
let a: TestApp;
let b: TestApp;

const basic = (id: string) => `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`;
const transportTo = (app: TestApp) => createGrpcTransport({ baseUrl: `http://${app.grpc}` });
const observer = { headers: { authorization: basic("observer") } };

/** What a cause was answered with. A replica that is too busy has done nothing, or what it did can be asked for again. */
async function acknowledged(asking: () => Promise<Response>, ...statuses: number[]): Promise<void> {
  const response = await patiently(asking);
  await response.arrayBuffer();
  if (!statuses.includes(response.status)) throw new Error(`the cause was answered with ${response.status}`);
}

const causes: Cause[] = [
  {
    name: "logout",
    ends: ofUser,
    act: ({ browser, tokens }) =>
      acknowledged(() => browser.get(`${a.url}/connect/logout?id_token_hint=${tokens.id_token}`), 200, 303),
  },
  {
    name: "/oauth2/revoke of the access token",
    ends: ofToken,
    act: ({ tokens, clientId }) =>
      acknowledged(() => postForm(`${a.url}/oauth2/revoke`, { token: tokens.access_token, client_id: clientId }), 200),
  },
  {
    name: "/oauth2/revoke of the refresh token",
    ends: ofAuthorization,
    act: ({ tokens, clientId }) =>
      acknowledged(() => postForm(`${a.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: clientId }), 200),
  },
  {
    name: "RevokeToken of the client's own token",
    ends: own,
    act: ({ ownToken, worker }) =>
      createClient(TokenService, transportTo(a)).revokeToken(
        { token: ownToken, clientId: worker, clientSecret: secret },
        observer,
      ),
  },
  {
    name: "RevokeToken of the refresh token",
    ends: ofAuthorization,
    act: ({ tokens, clientId }) =>
      createClient(TokenService, transportTo(a)).revokeToken({ token: tokens.refresh_token, clientId }, observer),
  },
  {
    name: "RevokeAuthorization",
    ends: ofAuthorization,
    act: ({ tokens }) =>
      createClient(TokenService, transportTo(a)).revokeAuthorization(
        { sid: String(claimsOf(tokens.access_token)["sid"]) },
        observer,
      ),
  },
  {
    name: "RevokeAuthorization of the client's own",
    ends: own,
    act: ({ ownToken }) =>
      createClient(TokenService, transportTo(a)).revokeAuthorization(
        { sid: String(claimsOf(ownToken)["sid"]) },
        observer,
      ),
  },
  {
    name: "replay of the code",
    ends: ofAuthorization,
    // sooner it counts as a double click
    prepare: () => sleep(2_100),
    act: ({ used, clientId, redirectUri }) =>
      acknowledged(
        () => redeem(a.url, used.code, used.verifier, { client_id: clientId, redirect_uri: redirectUri }),
        400,
      ),
  },
  {
    name: "reuse of a refresh token",
    ends: ofAuthorization,
    notApplicable: { "refresh token": "the one that was reused had been replaced; its successor is refused" },
    prepare: async ({ tokens, clientId }) => {
      const rotated = await patiently(() => refresh(a.url, tokens.refresh_token, { client_id: clientId }));
      // the window within which a repeated refresh is answered with the same token
      await sleep(1_100);
      return rotated.json();
    },
    act: async ({ tokens, clientId }, rotated) => {
      await acknowledged(() => refresh(a.url, tokens.refresh_token, { client_id: clientId }), 401);
      const { refresh_token } = rotated as Tokens;
      await acknowledged(() => refresh(b.url, refresh_token, { client_id: clientId }), 401);
    },
  },
  {
    name: "password change",
    ends: ofUser,
    act: ({ account }) =>
      createClient(UserService, transportTo(a)).changePassword(
        { uuid: account.uuid, currentPassword: account.password, newPassword: "another good password" },
        observer,
      ),
  },
  {
    name: "password reset",
    ends: ofUser,
    prepare: async ({ account }) => {
      await acknowledged(() => postJson(`${a.url}/api/users/password-reset`, { email: account.email }), 202);
      const { event } = await waitForEvent(d, (e) => e.topic === "password-reset" && e.key === account.uuid);
      return event.payload["resetToken"];
    },
    act: (_, token) =>
      acknowledged(
        () => postJson(`${a.url}/api/users/password-reset/confirm`, { token, newPassword: "another good password" }),
        204,
      ),
  },
  {
    name: "user disabled",
    ends: ofUser,
    act: ({ account }) => createClient(UserService, transportTo(a)).disableUser({ uuid: account.uuid }, observer),
  },
  {
    name: "user deleted",
    ends: ofUser,
    act: ({ account }) => createClient(UserService, transportTo(a)).deleteUser({ uuid: account.uuid }, observer),
  },
  {
    name: "logout everywhere",
    ends: ofUser,
    act: ({ account }) => createClient(UserService, transportTo(a)).endSessions({ uuid: account.uuid }, observer),
  },
  {
    name: "consent withdrawn",
    ends: [...codes, ...ofAuthorization],
    act: ({ account, clientId }) =>
      createClient(TokenService, transportTo(a)).withdrawConsent({ uuid: account.uuid, clientId }, observer),
  },
  {
    name: "signing key distrusted",
    ends: [...ofToken, ...own],
    act: ({ tokens }) => {
      const { kid } = JSON.parse(Buffer.from(tokens.access_token.split(".")[0] ?? "", "base64url").toString());
      return createClient(TokenService, transportTo(a)).distrustSigningKey({ kid }, observer);
    },
  },
  {
    name: "client disabled (the user's)",
    ends: [...codes, ...ofAuthorization],
    looksUp: false,
    act: ({ clientId }) => disableClient(a.context, clientId),
  },
  {
    name: "client disabled (the internal one)",
    ends: own,
    act: ({ worker }) => disableClient(a.context, worker),
  },
  {
    name: "client secret rotated out",
    ends: own,
    act: ({ worker }) => rotateClientSecret(a.context, worker, 0),
  },
];

/** Every cause has clients of its own: some causes end them. */
const clients = [
  {
    client_id: "observer",
    client_secret: secret,
    grant_types: ["client_credentials"],
    scope: "auth.introspect auth.tokens auth.keys auth.users.read auth.users.write auth.users.admin",
  },
  {
    client_id: "gateway",
    client_secret: secret,
    grant_types: [exchangeGrant],
    resource_server_for: causes.map((_, n) => appOf(n)),
    token_exchange_audiences: ["observer"],
  },
  ...causes.flatMap((_, n) => [
    {
      client_id: appOf(n),
      grant_types: ["authorization_code", "refresh_token", deviceGrant],
      redirect_uris: [`http://localhost:${4_000 + n}/callback`],
      post_logout_redirect_uris: [],
      first_party: true,
      scope: "openid profile",
      refresh_token_reuse_window: 1,
    },
    {
      client_id: `worker-${n}`,
      client_secret: secret,
      grant_types: ["client_credentials"],
      scope: "auth.introspect auth.users.read",
    },
  ]),
];

async function subjectOf(n: number): Promise<Subject> {
  const [clientId, redirectUri, worker] = [appOf(n), `http://localhost:${4_000 + n}/callback`, `worker-${n}`];
  const options = { clientId, redirectUri, scope: "openid profile" };
  const account = await signUp(a.url);
  const used = await getCode([a.url, b.url], account, options);
  const fields = { client_id: clientId, redirect_uri: redirectUri };
  const redeemed = await patiently(() => redeem(a.url, used.code, used.verifier, fields));
  const tokens = (await redeemed.json()) as Tokens;
  const pendingCode = await getCode([a.url, b.url], account, { ...options, browser: used.browser });
  const deviceCode = await allowedDeviceCode(used.browser, clientId);
  const exchange = {
    grant_type: exchangeGrant,
    subject_token: tokens.access_token,
    subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
    audience: "observer",
  };
  const atToken = (form: Record<string, string>, client: string) =>
    patiently(() => postForm(`${b.url}/oauth2/token`, form, { authorization: basic(client) }));
  const exchanging = await atToken(exchange, "gateway");
  const { access_token: exchanged } = (await exchanging.json()) as Tokens;
  const answer = await atToken({ grant_type: "client_credentials" }, worker);
  const { access_token: ownToken } = (await answer.json()) as Tokens;
  return {
    account,
    clientId,
    redirectUri,
    browser: used.browser,
    tokens,
    used,
    pending: pendingCode,
    deviceCode,
    exchanged,
    worker,
    ownToken,
  };
}

async function allowedDeviceCode(browser: TestBrowser, clientId: string): Promise<string> {
  const form = { client_id: clientId, scope: "openid" };
  const asked = await patiently(() => postForm(`${a.url}/oauth2/device_authorization`, form));
  const { device_code: code, user_code: userCode } = (await asked.json()) as { device_code: string; user_code: string };
  const page = await patiently(() => browser.submit(`${b.url}/device`, { user_code: userCode }));
  const decision = { ...hiddenFields(await page.text()), decision: "allow" };
  await acknowledged(() => browser.post(`${a.url}/device/decision`, decision), 200);
  return code;
}

/** Is it good on replica B? Asking leaves it as it is, but for the codes, which can be asked about once. */
const checks: Record<Credential, (subject: Subject) => Promise<boolean>> = {
  "browser session": async ({ browser, clientId, redirectUri }) => {
    const url = authorizeUrl(b.url, { clientId, redirectUri, scope: "openid profile", extra: { prompt: "none" } });
    const answer = await patiently(() => browser.get(url));
    const location = answer.headers.get("location") ?? "";
    if (location.includes("error=login_required")) return false;
    // a client that is disabled gets a page; the session is seen by another one
    if (answer.status === 400) {
      const other = await patiently(() => browser.get(authorizeUrl(b.url, { extra: { prompt: "none" } })));
      return (other.headers.get("location") ?? "").includes("code=");
    }
    return location.includes("code=");
  },
  "authorization code": async ({ pending: { code, verifier }, clientId, redirectUri }) => {
    const fields = { client_id: clientId, redirect_uri: redirectUri };
    const answer = await patiently(() => redeem(b.url, code, verifier, fields));
    if (![200, 400, 401].includes(answer.status)) throw new Error(`the code was answered with ${answer.status}`);
    return answer.status === 200;
  },
  "device code": async ({ deviceCode, clientId }) => {
    const form = { grant_type: deviceGrant, device_code: deviceCode, client_id: clientId };
    const answer = await patiently(() => postForm(`${b.url}/oauth2/token`, form));
    if (![200, 400, 401].includes(answer.status)) throw new Error(`the device code was answered with ${answer.status}`);
    return answer.status === 200;
  },
  "exchanged token": async ({ exchanged }) =>
    (await introspect(b.url, exchanged, basic("observer")))["active"] === true,
  "access token": async ({ tokens }) => {
    const headers = { authorization: `Bearer ${tokens.access_token}` };
    const answer = await patiently(() => fetch(`${b.url}/userinfo`, { headers }));
    if (![200, 401].includes(answer.status)) throw new Error(`the token was answered with ${answer.status}`);
    return answer.status === 200;
  },
  "cached decision": async ({ tokens }) =>
    (await introspect(b.url, tokens.access_token, basic("observer")))["active"] === true,
  "refresh token": async ({ tokens, clientId }) => {
    const refreshed = await patiently(() => refresh(b.url, tokens.refresh_token, { client_id: clientId }));
    if (![200, 400, 401, 429].includes(refreshed.status))
      throw new Error(`refresh was answered with ${refreshed.status}`);
    return refreshed.status === 200;
  },
  "client's own token": async ({ ownToken }) =>
    (await introspect(b.url, ownToken, basic("observer")))["active"] === true,
  "Bearer caller of gRPC": async ({ ownToken }) => {
    const calls = createClient(IntrospectionService, transportTo(b));
    for (let tries = 0; ; tries++) {
      try {
        await calls.introspect({ token: "x" }, { headers: { authorization: `Bearer ${ownToken}` } });
        return true;
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (code === Code.Unauthenticated) return false;
        if (code !== Code.Unavailable || tries > 60) throw error;
        await sleep(1_000);
      }
    }
  },
};

/**
 * Milliseconds from the acknowledgement until the first refusal, after which none may be accepted; null: what was asked later than
 * the bound was still accepted. An answer that takes long is no answer to a later question.
 */
/** @param atOnce the first answer must refuse: what is looked up at each use has no time to be old */
async function untilRefused(
  check: () => Promise<boolean>,
  acknowledgedAt: number,
  atOnce: boolean,
): Promise<number | null> {
  let refusedAt: number | null = null;
  for (;;) {
    const askedAt = performance.now();
    const good = await check();
    if (good && (atOnce || askedAt - acknowledgedAt > bound)) return null;
    if (good && refusedAt !== null) throw new Error("accepted again after it was refused");
    if (!good) refusedAt ??= performance.now();
    if (refusedAt !== null && performance.now() - refusedAt > watchFor) return refusedAt - acknowledgedAt;
    await sleep(refusedAt === null ? 5 : 100);
  }
}

const cells: Cell[] = [];

describe("every cause of revocation and every credential, from one replica to the other", () => {
  beforeAll(async () => {
    d = await onMariaDbAndKafka(2, {}, clients);
    [a, b] = d.apps as [TestApp, TestApp];
  });
  afterAll(async () => {
    await d?.close();
    console.log(
      `${table(
        causes.map(({ name }) => name),
        credentials,
        cells,
      )}`,
    );
    const whole = causes.length * credentials.length === cells.length;
    if (process.env["WRITE_DOCS"] === "1" && whole) {
      const path = new URL("../../../docs/revocation.md", import.meta.url);
      writeFileSync(
        path,
        page(
          causes.map(({ name }) => name),
          credentials,
          cells,
          new Date(),
        ),
      );
    }
  });

  it.each(causes.map((cause, n) => [cause.name, cause, n] as const))(
    "%s ends what it must within the bound, and nothing else",
    async (name, cause, n) => {
      const subject = await subjectOf(n);
      const prepared = await cause.prepare?.(subject);
      // replica B has seen and remembers all of it; the codes can be asked about only once
      for (const credential of credentials) {
        if (codes.includes(credential) || credential === "refresh token") continue;
        expect([credential, await checks[credential](subject)]).toEqual([credential, true]);
      }
      await cause.act(subject, prepared);
      const acknowledgedAt = performance.now();
      const results = await Promise.all(
        credentials.map(async (credential): Promise<Cell> => {
          const reason = cause.notApplicable?.[credential];
          if (reason !== undefined) return { cause: name, credential, outcome: "not applicable", reason };
          const check = () => checks[credential](subject);
          if (cause.ends.includes(credential)) {
            const ms = await untilRefused(
              check,
              acknowledgedAt,
              cause.looksUp !== false && lookedUp.includes(credential),
            );
            return { cause: name, credential, outcome: ms === null ? "still accepted" : "refused", ms: ms ?? 0 };
          }
          // long enough for a revocation that should not be there to arrive
          if (!codes.includes(credential)) await sleep(bound / 2);
          return { cause: name, credential, outcome: (await check()) ? "stays good" : "wrongly refused" };
        }),
      );
      cells.push(...results);
      expect(results.filter(({ outcome }) => outcome === "still accepted" || outcome === "wrongly refused")).toEqual(
        [],
      );
    },
  );
});
