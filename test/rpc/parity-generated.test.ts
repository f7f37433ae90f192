import { randomUUID } from "node:crypto";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { hashOf, randomToken } from "../../src/crypto/hashes.ts";
import { passwordChanged, passwordReset, UNKNOWN_ASKER } from "../../src/events.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  claimsOf,
  getCode,
  getTokens,
  internalBasic,
  pkce,
  portal,
  postForm,
  postJson,
  signUp,
  type TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { rowsOf } from "../support/sqlite.ts";

const seed = Number(process.env["SEED"] ?? 182);
const cases = Number(process.env["CASES"] ?? (process.env["LONG"] === "1" ? 10_000 : 300));

type Edge = "HTTP" | "gRPC";
type User = Account & { uuid: string };
/** Makes what a case needs for an edge, of its own, and gives what sends it there. */
type Prepare = (edge: Edge) => Promise<() => Promise<string>>;

/** Draws from pools, the same for the same seed (mulberry32). */
class Draw {
  #state: number;
  drawn: string[] = [];
  constructor(from: number) {
    this.#state = from;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  /** The first of the pool is good, and is drawn more than half of the time. */
  from<T>(pool: Readonly<Record<string, T>>): T {
    const all = Object.entries(pool);
    const [name, value] = all[this.below(2) === 0 ? 0 : this.below(all.length)] as [string, T];
    this.drawn.push(name);
    return value;
  }
}

const other = { clientId: "other", redirectUri: "https://other.example/cb" };
let app: TestApp;
let tokens: Client<typeof TokenService>;
let users: Client<typeof UserService>;
let introspection: Client<typeof IntrospectionService>;
/** Whose tokens are looked at: signed in at `browser`. */
let holder: User;
let browser: TestBrowser;
let claims: Record<string, unknown>;
/** Whose passwords are changed and reset over each edge. */
let changing: Record<Edge, User>;
let resetting: Record<Edge, User>;

beforeAll(async () => {
  app = await startApp({ TRUST_PROXY: "loopback" }, [
    { client_id: other.clientId, redirect_uris: [other.redirectUri], scope: "openid profile", first_party: true },
  ]);
  // what time alone deletes is no effect of a request
  app.context.store.cleanUp = async () => 0;
  const transport = internalTransport(app.grpc);
  tokens = createClient(TokenService, transport);
  users = createClient(UserService, transport);
  introspection = createClient(IntrospectionService, transport);
  holder = await signUp(app.url);
  browser = (await getTokens(app.url, holder)).browser;
  changing = { HTTP: await signUp(app.url), gRPC: await signUp(app.url) };
  resetting = { HTTP: await signUp(app.url), gRPC: await signUp(app.url) };
  claims = claimsOf((await tokensOf(portal)).access_token);
  // the service's tokens share an authorization, which the first of them makes
  await tokens.issueToken({
    grantType: "client_credentials",
    clientId: service.client_id,
    clientSecret: service.client_secret,
  });
});
afterAll(() => app.close());

let network = 0;
/** Sign-ups and refused clients are counted by network. */
const elsewhere = () => ({ "x-forwarded-for": `10.0.${++network >> 8}.${network & 255}` });

/** `ok` and what `told` makes of the answer, or the error code. */
async function overHttp(answering: Promise<Response>, told: (body: never) => unknown = () => ""): Promise<string> {
  const response = await answering;
  const text = await response.text();
  const body = text === "" ? {} : (JSON.parse(text) as { error?: string | { code: string } });
  if (response.ok) return `ok ${told(body as never)}`;
  return typeof body.error === "object" ? body.error.code : String(body.error);
}
async function overGrpc<T>(calling: Promise<T>, told: (answer: T) => unknown = () => ""): Promise<string> {
  return calling.then(
    (answer) => `ok ${told(answer)}`,
    (error) => ConnectError.from(error).findDetails(ErrorDetailSchema)[0]?.code ?? `no detail: ${error}`,
  );
}

async function tokensOf(client: typeof portal, scope = "openid profile") {
  const tokenParameters = { client_id: client.clientId, redirect_uri: client.redirectUri };
  return getTokens(app.url, holder, { ...client, scope, browser, tokenParameters });
}
const atToken = (form: Record<string, string>) => postForm(`${app.url}/oauth2/token`, form);
const refreshed = async (token: string) =>
  atToken({ grant_type: "refresh_token", refresh_token: token, client_id: portal.clientId });

const tokenPool: Record<string, () => Promise<string>> = {
  "a refresh token": async () => (await tokensOf(portal)).refresh_token,
  "an access token": async () => (await tokensOf(portal)).access_token,
  "an ID token": async () => (await tokensOf(portal)).id_token,
  "a refresh token of another client": async () => (await tokensOf(other)).refresh_token,
  "an access token of another client": async () => (await tokensOf(other)).access_token,
  "a rotated refresh token": async () => {
    const { refresh_token } = await tokensOf(portal);
    await refreshed(refresh_token);
    return refresh_token;
  },
  "a refresh token of two rotations ago": async () => {
    const { refresh_token } = await tokensOf(portal);
    const next = (await (await refreshed(refresh_token)).json()) as { refresh_token: string };
    await refreshed(next.refresh_token);
    return refresh_token;
  },
  "a revoked refresh token": async () => {
    const { refresh_token } = await tokensOf(portal);
    await postForm(`${app.url}/oauth2/revoke`, { token: refresh_token, client_id: portal.clientId });
    return refresh_token;
  },
  "a refresh token cut short": async () => (await tokensOf(portal)).refresh_token.slice(0, -1),
  nonsense: async () => "nonsense",
  dots: async () => "..",
  "too long": async () => "x".repeat(10_000),
};
interface Credentials {
  readonly client_id: string;
  readonly client_secret: string;
}
const as = (client_id: string, client_secret = ""): Credentials => ({ client_id, client_secret });
const service = as("internal-service", "internal-service-secret");
const clientPool = {
  portal: as(portal.clientId),
  other: as(other.clientId),
  service,
  "service, wrong secret": as("internal-service", "wrong"),
  "service, no secret": as("internal-service"),
  "portal with a secret": as(portal.clientId, "secret"),
  nobody: as("nobody"),
  "nobody with a secret": as("nobody", "secret"),
};
const passwordPool = {
  good: "a new good password",
  "of 8": "abcdefgh",
  "of 7": "abcdefg",
  none: "",
  "of 128": "p".repeat(128),
  "of 129": "p".repeat(129),
  "of 8 emoji": "😀".repeat(8),
  "of 1,000": "p".repeat(1_000),
  spaced: "  spaces around  ",
  decomposed: "e\u0301te\u0301 e\u0301te\u0301",
};
const emailPool: Record<string, () => string> = {
  fresh: uniqueEmail,
  taken: () => holder.email,
  "taken, in capitals": () => holder.email.toUpperCase(),
  "taken, spaced": () => ` ${holder.email} `,
  "in capitals": () => uniqueEmail().toUpperCase(),
  "with a wide @": () => uniqueEmail().replace("@", "\uff20"),
  "without @": () => "nobody",
  "with two @": () => "a@@example.test",
  none: () => "",
  "too long": () => `${"a".repeat(250)}@example.test`,
  "of two lines": () => `${uniqueEmail()}\r\nBcc: a@example.test`,
  "beyond ASCII": () => `ü${uniqueEmail()}`,
};
const nicknamePool = {
  "a word": "nick",
  none: "",
  blank: "   ",
  "of 50": "x".repeat(50),
  "of 51": "x".repeat(51),
  "of 50 emoji": "😀".repeat(50),
  "of two lines": "a\nb",
  markup: "<script>",
  decomposed: "e\u0301",
};

/** The client's credentials as it is registered to send them. */
function sentBy({ client_id, client_secret }: Credentials, form: Record<string, string>) {
  const basic = client_id === service.client_id && client_secret !== "";
  const authorization = `Basic ${btoa(`${client_id}:${client_secret}`)}`;
  return {
    form: basic ? form : { ...form, client_id, client_secret },
    headers: { ...elsewhere(), ...(basic ? { authorization } : {}) },
  };
}

const kinds: Record<string, (draw: Draw) => Prepare> = {
  SignUp(draw) {
    const [email, password, nickname] = [draw.from(emailPool), draw.from(passwordPool), draw.from(nicknamePool)];
    return async (edge) => {
      const body = { email: email(), password, nickname };
      if (edge === "gRPC") return () => overGrpc(users.signUp(body), ({ user }) => `${user?.nickname} ${user?.roles}`);
      const told = ({ data }: { data: { nickname: string; roles: string[] } }) => `${data.nickname} ${data.roles}`;
      return () => overHttp(postJson(`${app.url}/api/users/signup`, body, elsewhere()), told);
    };
  },

  ResetPassword(draw) {
    const state = draw.from({ good: "good", expired: "expired", used: "used", replaced: "replaced", other: "other" });
    const otherToken = draw.from({ unknown: "x".repeat(43), short: "x".repeat(42), none: "", signs: "+".repeat(43) });
    const newPassword = draw.from(passwordPool);
    return async (edge) => {
      const owner = resetting[edge];
      const token = state === "other" ? otherToken : await resetTokenOf(owner, state);
      if (edge === "gRPC") return () => overGrpc(users.resetPassword({ token, newPassword }));
      return () => overHttp(postJson(`${app.url}/api/users/password-reset/confirm`, { token, newPassword }));
    };
  },

  ChangePassword(draw) {
    const current = draw.from({ right: null, wrong: "wrong", none: "", long: "w".repeat(1_000) });
    const newPassword = draw.from({ ...passwordPool, address: "ADDRESS" });
    const cleared = draw.from({ "count cleared": true, "count kept": false });
    return async (edge) => {
      const owner = changing[edge];
      if (cleared) await app.context.limits.clear("wrong_current_password", owner.uuid);
      const change = {
        currentPassword: current ?? owner.password,
        newPassword: newPassword === "ADDRESS" ? owner.email : newPassword,
      };
      const noted = async (sending: Promise<string>) => {
        const outcome = await sending;
        if (outcome.startsWith("ok")) owner.password = change.newPassword;
        return outcome;
      };
      if (edge === "gRPC") return () => noted(overGrpc(users.changePassword({ uuid: owner.uuid, ...change })));
      const headers = { authorization: `Bearer ${accessTokenOf(owner)}` };
      return () => noted(overHttp(postJson(`${app.url}/api/users/me/password`, change, headers)));
    };
  },

  IssueToken(draw) {
    const grant_type = draw.from({
      code: "authorization_code",
      refresh: "refresh_token",
      own: "client_credentials",
      password: "password",
      none: "",
      odd: "toString",
    });
    const usual = grant_type === "client_credentials" ? { "the service": service } : {};
    const client = draw.from({ ...usual, ...clientPool });
    const token = draw.from(tokenPool);
    const code = draw.from({
      fresh: "fresh",
      used: "used",
      nonsense: "nonsense",
      none: "none",
      "another client's": "other",
    });
    const code_verifier = draw.from({
      right: null,
      wrong: pkce().verifier,
      short: "short",
      none: "",
      long: "x".repeat(129),
    });
    const redirect_uri = draw.from({ right: portal.redirectUri, other: `${portal.redirectUri}/`, none: "" });
    const scope = draw.from({
      none: "",
      openid: "openid",
      twice: "openid openid",
      more: "admin",
      internal: "auth.introspect",
      blank: " ",
      odd: 'a"b',
    });
    const resource = draw.from({ none: "", foreign: "https://a.example", fragment: "https://a.example/#b", word: "a" });
    return async (edge) => {
      const form: Record<string, string> = { grant_type, scope, resource };
      if (grant_type === "refresh_token") form["refresh_token"] = await token();
      if (grant_type === "authorization_code") {
        const made = await codeOf(code);
        Object.assign(form, { code: made.code, code_verifier: code_verifier ?? made.verifier, redirect_uri });
      }
      const told = (issued: { token_type: string; scope: string; refresh_token?: string; id_token?: string }) =>
        [issued.token_type, issued.scope, Boolean(issued.refresh_token), Boolean(issued.id_token)].join();
      if (edge === "HTTP") {
        const sent = sentBy(client, form);
        return () => overHttp(postForm(`${app.url}/oauth2/token`, sent.form, sent.headers), told);
      }
      const message = {
        grantType: grant_type,
        clientId: client.client_id,
        clientSecret: client.client_secret,
        scope,
        resource,
        refreshToken: form["refresh_token"] ?? "",
        code: form["code"] ?? "",
        codeVerifier: form["code_verifier"] ?? "",
        redirectUri: form["redirect_uri"] ?? "",
      };
      return () =>
        overGrpc(tokens.issueToken(message), (issued) =>
          told({
            token_type: issued.tokenType,
            scope: issued.scope,
            refresh_token: issued.refreshToken,
            id_token: issued.idToken,
          }),
        );
    };
  },

  RevokeToken(draw) {
    const [token, client] = [draw.from(tokenPool), draw.from(clientPool)];
    const hint = draw.from({ none: "", access: "access_token", refresh: "refresh_token", odd: "odd" });
    return async (edge) => {
      const value = await token();
      const sent = sentBy(client, { token: value, token_type_hint: hint });
      if (edge === "HTTP") return () => overHttp(postForm(`${app.url}/oauth2/revoke`, sent.form, sent.headers));
      const { client_id: clientId, client_secret: clientSecret } = client;
      return () => overGrpc(tokens.revokeToken({ token: value, tokenTypeHint: hint, clientId, clientSecret }));
    };
  },

  Introspect(draw) {
    const token = draw.from({ ...tokenPool, none: async () => "" });
    return async (edge) => {
      const value = await token();
      if (edge === "gRPC") {
        return () =>
          overGrpc(introspection.introspect({ token: value }), (it) =>
            [
              it.active,
              it.scope,
              it.clientId,
              it.username,
              it.tokenType,
              it.sub,
              it.aud,
              it.iss,
              it.roles,
              it.nickname,
            ].join(),
          );
      }
      const headers = { authorization: internalBasic };
      const told = ({ active, ...it }: Record<string, unknown>) =>
        [active, it["scope"], it["client_id"], it["username"], it["token_type"], it["sub"]]
          .concat(it["aud"] ?? "", it["iss"], String(it["roles"] ?? ""), it["nickname"])
          .join();
      return () => overHttp(postForm(`${app.url}/oauth2/introspect`, { token: value }, headers), told);
    };
  },
};

async function resetTokenOf(user: User, state: string): Promise<string> {
  const make = async (expiresAt: number) => {
    const [resetToken, now] = [randomToken(), app.context.clock.now()];
    const event = passwordReset(
      { ...user, claims: {} },
      { token: resetToken, url: app.url, expiresAt },
      UNKNOWN_ASKER,
      now,
    );
    const reset = { tokenHash: hashOf(resetToken), userId: user.uuid, createdAt: now, expiresAt };
    await app.context.store.users.createPasswordReset(reset, event);
    return resetToken;
  };
  const later = app.context.clock.now() + 600_000;
  const token = await make(state === "expired" ? app.context.clock.now() - 1_000 : later);
  if (state === "replaced") await make(later);
  const changed = passwordChanged({ ...user, claims: {} }, "RESET", UNKNOWN_ASKER, app.context.clock.now());
  if (state === "used") await app.context.store.users.redeemPasswordReset(hashOf(token), "x", changed, changed);
  return token;
}

/** No password change ends it: its epoch is above any that the account reaches. */
function accessTokenOf({ uuid }: User): string {
  const now = app.context.clock.seconds();
  const own = { sub: uuid, sid: randomUUID(), jti: randomUUID(), iat: now, exp: now + 120, epoch: 1_000_000 };
  return app.context.keys.sign("access", "ES256", "at+jwt", { ...claims, ...own }).token;
}

async function codeOf(state: string): Promise<{ code: string; verifier: string }> {
  if (state === "none" || state === "nonsense") {
    return { code: state === "none" ? "" : "x".repeat(43), verifier: pkce().verifier };
  }
  const made = await getCode(app.url, holder, {
    ...(state === "other" ? other : portal),
    scope: "openid profile",
    browser,
  });
  if (state === "used") {
    const { code, verifier: code_verifier } = made;
    const { clientId: client_id, redirectUri: redirect_uri } = portal;
    await atToken({ grant_type: "authorization_code", code, code_verifier, client_id, redirect_uri });
  }
  return made;
}

/** What stands in the database and may be changed by one of the two edges alone. */
function state(): Record<string, string | number> {
  const count = (table: string, where = "1") => `(SELECT COUNT(*) FROM ${table} WHERE ${where}) AS "${table} ${where}"`;
  const columns = [
    count("users"),
    count("user_profiles"),
    count("oauth2_authorization"),
    count("oauth2_authorization", "revoked_at IS NOT NULL"),
    count("oauth2_authorization_code", "redeemed_at IS NOT NULL"),
    count("oauth2_authorization_code", "revoked_at IS NOT NULL"),
    count("revocation"),
    count("outbox"),
    `(SELECT SUM(generation) FROM oauth2_authorization) AS generations`,
    `(SELECT SUM(wrong_verifiers) FROM oauth2_authorization_code) AS wrong_verifiers`,
    `(SELECT GROUP_CONCAT(password_hash) FROM (SELECT * FROM users ORDER BY created_at, uuid)) AS passwords`,
  ];
  return rowsOf<Record<string, string | number>>(app, `SELECT ${columns.join()}`)[0] ?? {};
}

/** What one sending came to: its outcome and what it changed. */
async function resultOf(send: () => Promise<string>): Promise<{ outcome: string; effects: string }> {
  const before = state();
  const outcome = await send();
  const effects = Object.entries(state()).flatMap(([name, now]) => {
    const then = before[name];
    if (then === now) return [];
    return [typeof now === "number" ? `${name}: ${now - Number(then)}` : name];
  });
  return { outcome, effects: effects.join("; ") };
}

it(`S-182 ${cases} generated cases (seed ${seed}) come to one outcome and one effect over HTTP and gRPC`, async () => {
  const draw = new Draw(seed);
  const outcomes: Record<string, Set<string>> = {};
  const effective = new Set<string>();
  const apart: object[] = [];
  for (let number = 0; number < cases && apart.length < 10; number++) {
    draw.drawn = [];
    const names = Object.keys(kinds);
    const name = names[draw.below(names.length)] as string;
    const prepare = (kinds[name] as (draw: Draw) => Prepare)(draw);
    const http = await resultOf(await prepare("HTTP"));
    const grpc = await resultOf(await prepare("gRPC"));
    outcomes[name] ??= new Set();
    outcomes[name].add(http.outcome);
    if (http.effects !== "") effective.add(name);
    if (JSON.stringify(http) !== JSON.stringify(grpc)) apart.push({ number, name, drawn: draw.drawn, http, grpc });
    await app.context.limits.clear("failed_client_authentication", "127.0.0.1");
    await app.context.limits.clear("sign_up", holder.email);
  }
  expect(apart).toEqual([]);
  expect([...effective].sort()).toEqual(
    Object.keys(kinds)
      .filter((name) => name !== "Introspect")
      .sort(),
  );
  for (const name of Object.keys(kinds)) {
    expect([name, [...(outcomes[name] ?? [])].some((outcome) => outcome.startsWith("ok"))]).toEqual([name, true]);
    expect([name, (outcomes[name]?.size ?? 0) > 1]).toEqual([name, true]);
  }
}, 3_600_000);
