import { createHash, randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { Sealer } from "../../src/crypto/sealing.ts";
import { ForeignSchemaError, migrate, openDatabase, planMigrations, schemaDrift } from "../../src/database/migrate.ts";
import { Protocols1790100000000 } from "../../src/database/migrations/1790100000000-protocols.ts";
import { type StoreOptions, storeOn } from "../../src/database/open-store.ts";
import { type Database, rollback } from "../../src/database/transaction.ts";
import { passwordReset, userLogin, userSignup } from "../../src/events.ts";
import type { Authorization, NewAuthorizationCode } from "../../src/store/authorizations.ts";
import type { Client } from "../../src/store/clients.ts";
import type { NewDeviceCode } from "../../src/store/device-codes.ts";
import type { Session } from "../../src/store/sessions.ts";
import type { Store } from "../../src/store/store.ts";
import type { User } from "../../src/store/users.ts";

export const sealer = new Sealer(Buffer.alloc(32, 7));
export const NOW = 1_800_000_000_000;
const DAY = 86_400_000;

export function hash(text: string = randomUUID()): string {
  return createHash("sha256").update(text).digest("hex");
}

export function makeUser(over: Partial<User> = {}): User {
  const uuid = randomUUID();
  return {
    uuid,
    email: `${uuid}@example.com`,
    nickname: "Ann",
    roles: ["ROLE_USER"],
    emailVerified: false,
    claims: {},
    disabledAt: null,
    createdAt: NOW,
    updatedAt: NOW,
    ...over,
  };
}

export function makeSession(userId: string | null, over: Partial<Session> = {}): Session {
  return {
    idHash: hash(),
    userId,
    authTime: userId === null ? null : NOW,
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    lastSeenAt: NOW,
    expiresAt: NOW + DAY,
    ...over,
  };
}

export function makeCode(session: Session, over: Partial<NewAuthorizationCode> = {}): NewAuthorizationCode {
  return {
    codeHash: hash(),
    clientId: "portal",
    userId: session.userId ?? "",
    sessionHash: session.idHash,
    redirectUri: "http://localhost/cb",
    scope: "openid",
    nonce: null,
    claims: null,
    dpopJkt: null,
    codeChallenge: "c".repeat(43),
    resource: null,
    authTime: NOW,
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 60_000,
    ...over,
  };
}

export function makeDeviceCode(over: Partial<NewDeviceCode> = {}): NewDeviceCode {
  return {
    deviceCodeHash: hash(),
    userCodeHash: hash(),
    clientId: "tv",
    scope: "openid",
    resource: null,
    dpopJkt: null,
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 600_000,
    ...over,
  };
}

export function makeAuthorization(subject: string, over: Partial<Authorization> = {}): Authorization {
  return {
    id: randomUUID(),
    grantType: "authorization_code",
    clientId: "portal",
    subject,
    sessionHash: null,
    scope: "openid",
    resource: null,
    nonce: null,
    claims: null,
    dpopJkt: null,
    authTime: NOW,
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 30 * DAY,
    lastUsedAt: null,
    revokedAt: null,
    refresh: { jti: randomUUID(), iat: NOW / 1000, exp: NOW / 1000 + 1000, kid: "k1" },
    generation: 0,
    rotations: [],
    ...over,
  };
}

const metadata: Client["metadata"] = {
  redirect_uris: ["http://localhost/cb"],
  post_logout_redirect_uris: [],
  grant_types: ["authorization_code"],
  response_types: ["code"],
  scope: "openid",
  token_endpoint_auth_method: "none",
  id_token_signed_response_alg: "ES256",
  access_token_signed_response_alg: "ES256",
  access_token_typ: "at+jwt",
  first_party: true,
  refresh_token_rotation: true,
  refresh_token_reuse_window: 10,
  resources: [],
  resource_server_for: [],
  application_type: "web",
  introspection_signed_response_alg: "RS256",
  require_auth_time: false,
  backchannel_logout_session_required: false,
  require_pkce: true,
  require_pushed_authorization_requests: false,
  dpop_bound_access_tokens: false,
  profile: "default",
  token_exchange_audiences: [],
};

export async function signUp(store: Store, over: Partial<User> = {}): Promise<User> {
  const user = makeUser(over);
  expect(await store.users.create(user, "hash-1", userSignup(user))).toBe("created");
  return user;
}

async function signIn(store: Store, user: User): Promise<Session> {
  const session = makeSession(user.uuid);
  expect(await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" })).toBe("signed_in");
  return session;
}

function redemption(user: User, session: Session) {
  return {
    attemptId: randomUUID(),
    authorization: makeAuthorization(user.uuid, { sessionHash: session.idHash }),
    event: userLogin(user, session, NOW),
  };
}

/** A user with a session, a pending code, a reset token and an authorization. */
async function busyUser(store: Store) {
  const user = await signUp(store);
  const session = await signIn(store, user);
  const used = makeCode(session);
  const code = makeCode(session);
  await store.authorizations.createCode(used);
  await store.authorizations.createCode(code);
  const redeemed = redemption(user, session);
  expect(await store.authorizations.redeemCode(used.codeHash, redeemed, NOW)).toBe("redeemed");
  const reset = { tokenHash: hash(), userId: user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
  await store.users.createPasswordReset(reset, resetEvent(user));
  const request = { id: randomUUID(), sessionHash: session.idHash, parameters: { a: "b" }, pushedHash: null };
  await store.sessions.saveRequest({ ...request, createdAt: NOW, expiresAt: NOW + 1000 }, 5);
  return { user, session, code, reset, request, sid: redeemed.authorization.id };
}

function resetEvent(user: User) {
  const link = { resetToken: "t", resetUrl: "http://localhost/r", expiresAt: NOW, ipAddress: "127.0.0.1" };
  return passwordReset({ uuid: user.uuid, email: user.email, ...link }, NOW);
}

async function expectAllEnded(store: Store, database: Database, busy: Awaited<ReturnType<typeof busyUser>>) {
  const { user, session, code, reset, request, sid } = busy;
  expect(await store.sessions.find(session.idHash, NOW)).toBeNull();
  expect(await store.sessions.findRequest(request.id, session.idHash, NOW)).toBeNull();
  expect(await store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW)).toBe("refused");
  expect(await store.authorizations.createCode(makeCode(session))).toBe("session_ended");
  expect(await store.users.findPasswordReset(reset.tokenHash, NOW)).toBeNull();
  expect((await store.authorizations.find(sid))?.revokedAt).toBe(NOW + 5);
  const feed = await database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'authorization' AND value = ?", [sid]);
  expect(feed).toHaveLength(1);
}

/** The numbers of a user's pending events. */
async function seqs(database: Database, user: User): Promise<number[]> {
  const rows = await database.rows<{ seq: number }>("SELECT seq FROM outbox WHERE user_id = ? ORDER BY seq", [
    user.uuid,
  ]);
  return rows.map(({ seq }) => seq);
}

async function times<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => work(index)));
}

export function describeStore(title: string, freshUrl: () => Promise<string>): void {
  describe(title, () => {
    let url: string;
    let database: Database;
    let store: Store;
    const options: Pick<StoreOptions, "sealer"> = { sealer };

    beforeAll(async () => {
      url = await freshUrl();
      database = await openDatabase({ url });
      await migrate(database);
      store = storeOn(database, options);
    });
    afterAll(() => database?.close());

    describe("schema", () => {
      it("plans every table before it makes one, and makes them once though two start at once", async () => {
        const location = { url: await freshUrl() };
        const plans = await planMigrations(location);
        const tables = plans.map(
          ({ sql }) => sql.filter((statement) => /^CREATE TABLE .(?!temporary)/.test(statement)).length,
        );
        expect(tables).toEqual([15, 5]);
        const both = await Promise.all([openDatabase(location), openDatabase(location)]);
        const ran = await Promise.all(both.map(migrate));
        expect(ran.flat()).toEqual(["Initial1790000000000", "Protocols1790100000000"]);
        expect(await Promise.all(both.map(migrate))).toEqual([[], []]);
        await Promise.all(both.map((each) => each.close()));
        expect(await planMigrations(location)).toEqual([]);
        expect(await schemaDrift(location)).toEqual([]);
      });

      it("refuses a database that holds another program's table, and leaves it alone", async () => {
        const foreign = await openDatabase({ url: await freshUrl() });
        await foreign.change("CREATE TABLE users (id INT PRIMARY KEY, login VARCHAR(20))");
        await expect(migrate(foreign)).rejects.toThrow(ForeignSchemaError);
        await expect(migrate(foreign)).rejects.toThrow(/users.*DATABASE_URL/s);
        await expect(foreign.rows("SELECT name FROM auth_migrations")).rejects.toThrow();
        await foreign.close();
      });

      it("finishes a migration that was killed half way", async () => {
        const location = { url: await freshUrl() };
        const first = await openDatabase(location);
        await migrate(first);
        const names = ["Initial1790000000000", "Protocols1790100000000"];

        await first.change("DROP TABLE logout_notice");
        await first.change("ALTER TABLE oauth2_authorization DROP COLUMN dpop_jkt");
        await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[1] ?? ""]);
        await first.change("UPDATE lease SET expires_at = 0");
        expect(await migrate(first)).toEqual(names.slice(1));
        expect(await schemaDrift(location)).toEqual([]);

        const runner = first.dataSource.createQueryRunner();
        await new Protocols1790100000000().down(runner);
        await runner.release();
        for (const table of ["revocation", "outbox", "rate_limit"]) await first.change(`DROP TABLE ${table}`);
        await first.change("DELETE FROM auth_migrations");
        await first.change("UPDATE lease SET expires_at = 0");
        expect(await migrate(first)).toEqual(names);
        await first.close();
        expect(await schemaDrift(location)).toEqual([]);
      });
    });

    describe("transactions", () => {
      it("keeps concurrent transactions and statements apart", async () => {
        const marks = await times(30, async (index) => {
          const name = `apart-${index}-${randomUUID()}`;
          await database
            .transaction(async (sql) => {
              await sql.change("INSERT INTO lease (name, owner, epoch, expires_at) VALUES (?, 'x', 1, 9000000000000)", [
                name,
              ]);
              await new Promise((done) => setTimeout(done, 2));
              if (index % 3 === 0) throw new Error("undone");
              if (index % 3 === 1) rollback(undefined);
            })
            .catch(() => undefined);
          return name;
        });
        const kept = await store.leases.holders("apart-");
        expect(kept.map(({ name }) => name).sort()).toEqual(marks.filter((_, index) => index % 3 === 2).sort());
      });

      it("counts rows found, not rows changed", async () => {
        const user = await signUp(store);
        const same = "UPDATE users SET updated_at = updated_at WHERE uuid = ?";
        expect(await database.change(same, [user.uuid])).toBe(1);
        expect(await database.transaction((sql) => sql.change(same, [user.uuid]))).toBe(1);
      });

      it("lets nothing but scalars into a statement", async () => {
        const sneaky = [{ toSqlString: () => "1" }] as unknown as string[];
        await expect(database.rows("SELECT uuid FROM users WHERE uuid = ?", sneaky)).rejects.toThrow(TypeError);
      });
    });

    describe("users", () => {
      it("makes one account of 50 sign-ups with the same address at once", async () => {
        const email = `${randomUUID()}@example.com`;
        const users = Array.from({ length: 50 }, () => makeUser({ email }));
        const results = await Promise.all(users.map((user) => store.users.create(user, "hash-1", userSignup(user))));
        expect(results.filter((result) => result === "created")).toHaveLength(1);
        expect(results.filter((result) => result === "email_taken")).toHaveLength(49);
        const winner = users[results.indexOf("created")] as User;
        expect(await store.users.findByEmail(email)).toEqual({ ...winner, passwordHash: "hash-1" });
        expect(await seqs(database, winner)).toEqual([1]);
        const rows = await database.rows("SELECT event_id FROM outbox WHERE user_id IN (?, ?)", [
          (users[0] as User).uuid,
          (users[1] as User).uuid,
        ]);
        expect(rows.length).toBeLessThanOrEqual(1);
      });

      it("answers a repeated sign-up of the same account as made", async () => {
        const user = await signUp(store);
        expect(await store.users.create(user, "hash-1", userSignup(user))).toBe("created");
        expect(await seqs(database, user)).toEqual([1]);
      });

      it("tells addresses apart by every letter", async () => {
        const user = await signUp(store, { email: `é-${randomUUID()}@example.com` });
        expect(await store.users.findByEmail(user.email.replace("é", "e"))).toBeNull();
        expect(await store.users.findByEmail(user.email)).not.toBeNull();
      });

      it("changes profile and roles, lists by creation, and pages without a gap", async () => {
        const users: User[] = [];
        for (const offset of [3, 1, 2]) users.push(await signUp(store, { createdAt: NOW - 100 * DAY + offset }));
        const first = await store.users.list(null, 2);
        const second = await store.users.list(first[1] as User, 1);
        expect([...first, ...second].map(({ uuid }) => uuid)).toEqual([1, 2, 0].map((i) => users[i]?.uuid));
        const uuid = first[0]?.uuid as string;
        expect(await store.users.update(uuid, { nickname: "Zoë 🦊", roles: ["ROLE_ADMIN"] }, NOW)).toBe(true);
        expect(await store.users.find(uuid)).toMatchObject({ nickname: "Zoë 🦊", roles: ["ROLE_ADMIN"] });
        expect(await store.users.update(randomUUID(), { nickname: "x" }, NOW)).toBe(false);
        expect(await store.users.findMany([uuid, randomUUID()])).toHaveLength(1);
        await store.users.rehash(uuid, "other", "lost");
        await store.users.rehash(uuid, "hash-1", "hash-2");
        expect((await store.users.findWithPassword(uuid))?.passwordHash).toBe("hash-2");
      });

      it("ends everything when the password is changed", async () => {
        const busy = await busyUser(store);
        expect(await store.users.changePassword(busy.user.uuid, "wrong", "hash-2", NOW + 5)).toBe("lost");
        expect(await store.sessions.find(busy.session.idHash, NOW)).not.toBeNull();
        expect(await store.users.changePassword(busy.user.uuid, "hash-1", "hash-2", NOW + 5)).toBe("changed");
        await expectAllEnded(store, database, busy);
        const late = makeSession(busy.user.uuid);
        expect(await store.sessions.signIn(late, { replaces: null, passwordHash: "hash-1" })).toBe("refused");
      });

      it("ends everything when the user is disabled, and nothing starts until enabled", async () => {
        const busy = await busyUser(store);
        expect(await store.users.setDisabled(busy.user.uuid, true, NOW + 5)).toBe(true);
        await expectAllEnded(store, database, busy);
        const session = makeSession(busy.user.uuid);
        expect(await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" })).toBe("refused");
        expect((await store.users.find(busy.user.uuid))?.disabledAt).toBe(NOW + 5);
        await store.users.setDisabled(busy.user.uuid, false, NOW + 6);
        expect(await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" })).toBe("signed_in");
      });

      it("deletes a user with everything but the events still to be told", async () => {
        const busy = await busyUser(store);
        await store.authorizations.saveConsent(busy.user.uuid, "portal", "openid", NOW);
        expect(await store.users.delete(busy.user.uuid, NOW + 5)).toBe(true);
        await expectAllEnded(store, database, busy);
        expect(await store.users.find(busy.user.uuid)).toBeNull();
        expect(await store.authorizations.findConsent(busy.user.uuid, "portal")).toBeNull();
        expect(await seqs(database, busy.user)).toEqual([1, 2, 3]);
        expect(await store.users.delete(busy.user.uuid, NOW + 5)).toBe(false);
      });

      it("lets only the newest reset token work, once, for one of 20 callers", async () => {
        const user = await signUp(store);
        const [old, fresh] = [hash(), hash()];
        for (const tokenHash of [old, fresh]) {
          const reset = { tokenHash, userId: user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
          await store.users.createPasswordReset(reset, resetEvent(user));
        }
        expect(await store.users.findPasswordReset(old, NOW)).toBeNull();
        expect((await store.users.findPasswordReset(fresh, NOW))?.uuid).toBe(user.uuid);
        expect(await store.users.findPasswordReset(fresh, NOW + 600_000)).toBeNull();
        const results = await times(20, (index) => store.users.redeemPasswordReset(fresh, `new-${index}`, NOW));
        expect(results.filter((result) => result === "reset")).toHaveLength(1);
        expect(await store.users.redeemPasswordReset(old, "x", NOW)).toBe("invalid");
        expect(await seqs(database, user)).toEqual([1, 2, 3]);
      });
    });

    describe("codes and authorizations", () => {
      it("redeems a code for exactly one of 50 callers (RFC 6749 section 4.1.2)", async () => {
        const user = await signUp(store);
        const session = await signIn(store, user);
        const code = makeCode(session, { nonce: "n", resource: "https://r" });
        expect(await store.authorizations.createCode(code)).toBe("created");
        expect(await store.authorizations.findCode(code.codeHash)).toEqual({
          ...code,
          redeemedAt: null,
          revokedAt: null,
          authorizationId: null,
        });
        const attempts = Array.from({ length: 50 }, () => redemption(user, session));
        const results = await Promise.all(
          attempts.map((attempt) => store.authorizations.redeemCode(code.codeHash, attempt, NOW)),
        );
        expect(results.filter((result) => result === "redeemed")).toHaveLength(1);
        expect(results.filter((result) => result === "replayed")).toHaveLength(49);
        const winner = attempts[results.indexOf("redeemed")] as (typeof attempts)[0];
        expect(await store.authorizations.find(winner.authorization.id)).toEqual(winner.authorization);
        expect((await store.authorizations.findCode(code.codeHash))?.authorizationId).toBe(winner.authorization.id);
        expect(await store.authorizations.listOfUser(user.uuid, null, 10, NOW)).toHaveLength(1);
        expect(await seqs(database, user)).toEqual([1, 2]);
        // the same call again, as after a connection lost at COMMIT
        expect(await store.authorizations.redeemCode(code.codeHash, winner, NOW)).toBe("redeemed");
        expect(await seqs(database, user)).toEqual([1, 2]);
      });

      it("refuses an expired code and one whose verifier was wrong three times", async () => {
        const user = await signUp(store);
        const session = await signIn(store, user);
        const [late, guessed] = [makeCode(session), makeCode(session)];
        await store.authorizations.createCode(late);
        await store.authorizations.createCode(guessed);
        const redeem = (code: NewAuthorizationCode, now: number) =>
          store.authorizations.redeemCode(code.codeHash, redemption(user, session), now);
        expect(await redeem(late, NOW + 60_000)).toBe("refused");
        expect(await redeem(makeCode(session), NOW)).toBe("refused");
        for (let i = 0; i < 3; i++) {
          expect((await store.authorizations.findCode(guessed.codeHash))?.revokedAt).toBeNull();
          await store.authorizations.countWrongVerifier(guessed.codeHash, NOW);
        }
        expect((await store.authorizations.findCode(guessed.codeHash))?.revokedAt).toBe(NOW);
        expect(await redeem(guessed, NOW)).toBe("refused");
      });

      it("rotates a refresh token for exactly one of 50 callers and remembers when", async () => {
        const { sid } = await busyUser(store);
        const next = (n: number) => ({ jti: `jti-${n}`, iat: n, exp: n + 1, kid: "k2" });
        const results = await times(50, (n) => store.authorizations.rotateRefreshToken(sid, 0, next(n), NOW + n));
        expect(results.filter((result) => result === "rotated")).toHaveLength(1);
        const winner = results.indexOf("rotated");
        expect(await store.authorizations.find(sid)).toMatchObject({
          generation: 1,
          refresh: next(winner),
          rotations: [[0, NOW + winner]],
        });
        for (let n = 1; n < 80; n++) {
          expect(await store.authorizations.rotateRefreshToken(sid, n, next(n), NOW + n)).toBe("rotated");
        }
        const { rotations } = (await store.authorizations.find(sid)) as Authorization;
        expect(rotations.length).toBeGreaterThan(20);
        expect(rotations.at(-1)).toEqual([79, NOW + 79]);
        expect(rotations.every(([generation, time]) => time === NOW + generation)).toBe(true);
        expect(await store.authorizations.revoke(sid, "reuse", NOW)).toBe(true);
        expect(await store.authorizations.revoke(sid, "reuse", NOW)).toBe(false);
        expect(await store.authorizations.rotateRefreshToken(sid, 80, next(1), NOW)).toBe("lost");
      });

      it("lists live authorizations newest first, page by page", async () => {
        const { user, session } = await busyUser(store);
        for (const offset of [1, 2, 2]) {
          const code = makeCode(session);
          await store.authorizations.createCode(code);
          const each = redemption(user, session);
          const authorization = { ...each.authorization, createdAt: NOW + offset };
          await store.authorizations.redeemCode(code.codeHash, { ...each, authorization }, NOW);
        }
        const all = await store.authorizations.listOfUser(user.uuid, null, 10, NOW);
        expect(all.map(({ createdAt }) => createdAt - NOW)).toEqual([2, 2, 1, 0]);
        const rest = await store.authorizations.listOfUser(user.uuid, all[0] as Authorization, 10, NOW);
        expect(rest).toEqual(all.slice(1));
      });

      it("lists what live authorizations are for, once a client and scope, and where the user is signed in", async () => {
        const { user, session, sid } = await busyUser(store);
        for (const over of [
          { createdAt: NOW + 1, scope: "openid" },
          { createdAt: NOW + 2, scope: "openid email" },
          { createdAt: NOW - 5, clientId: "album" },
          { createdAt: NOW - 4, clientId: "album" },
          { expiresAt: NOW, clientId: "over" },
        ]) {
          const code = makeCode(session);
          await store.authorizations.createCode(code);
          const each = redemption(user, session);
          const authorization = { ...each.authorization, ...over };
          await store.authorizations.redeemCode(code.codeHash, { ...each, authorization }, NOW);
        }
        expect(await store.authorizations.listGrants(user.uuid, NOW)).toEqual([
          { clientId: "album", scope: "openid", since: NOW - 5 },
          { clientId: "portal", scope: "openid", since: NOW },
          { clientId: "portal", scope: "openid email", since: NOW + 2 },
        ]);
        await store.authorizations.revoke(sid, "test", NOW);
        expect((await store.authorizations.listGrants(user.uuid, NOW))[1]?.since).toBe(NOW + 1);
        expect(await store.authorizations.listGrants((await signUp(store)).uuid, NOW)).toEqual([]);

        await store.sessions.create(makeSession(null));
        const second = { ...makeSession(user.uuid), createdAt: NOW + 1 };
        await store.sessions.create(second);
        expect(await store.sessions.listOfUser(user.uuid, NOW)).toEqual([second, session]);
        expect(await store.sessions.listOfUser(user.uuid, session.expiresAt)).toEqual([]);
      });

      it("remembers revoked access tokens and consents", async () => {
        const jti = randomUUID();
        const told: string[] = [];
        const stop = store.revocations.onAppend((revocations) => told.push(...revocations.map(({ value }) => value)));
        await store.authorizations.revokeAccessToken(jti, NOW + 1000, NOW);
        await store.authorizations.revokeAccessToken(jti, NOW + 1000, NOW);
        stop();
        expect(told).toEqual([jti]);
        const feed = (await store.revocations.after(0, 10_000, NOW)).filter(({ value }) => value === jti);
        expect(feed).toEqual([
          { id: expect.any(Number), kind: "token", value: jti, revokedAt: NOW, expiresAt: expect.any(Number) },
        ]);
        expect(await store.revocations.after(feed[0]?.id ?? 0, 10, NOW)).toEqual([]);
        const user = await signUp(store);
        expect(await store.authorizations.findConsent(user.uuid, "c")).toBeNull();
        await times(5, () => store.authorizations.saveConsent(user.uuid, "c", "openid", NOW));
        await store.authorizations.saveConsent(user.uuid, "c", "openid profile", NOW);
        expect(await store.authorizations.findConsent(user.uuid, "c")).toBe("openid profile");
        const consent = { clientId: "c", scope: "openid profile", updatedAt: NOW };
        expect(await store.authorizations.listConsents(user.uuid)).toEqual([consent]);
      });
    });

    describe("sessions", () => {
      it("hands pending requests over at sign-in and forgets the old session", async () => {
        const user = await signUp(store);
        const before = makeSession(null);
        await store.sessions.create(before);
        const request = { id: randomUUID(), sessionHash: before.idHash, parameters: { state: "ü" }, pushedHash: null };
        await store.sessions.saveRequest({ ...request, createdAt: NOW, expiresAt: NOW + 1000 }, 3);
        const after = makeSession(user.uuid);
        await store.sessions.signIn(after, { replaces: before.idHash, passwordHash: "hash-1" });
        expect(await store.sessions.find(before.idHash, NOW)).toBeNull();
        expect(await store.sessions.find(after.idHash, NOW)).toEqual(after);
        expect(await store.sessions.find(after.idHash, after.expiresAt)).toBeNull();
        const moved = await store.sessions.findRequest(request.id, after.idHash, NOW);
        expect(moved?.parameters).toEqual({ state: "ü" });
        await store.sessions.deleteRequest(request.id);
        expect(await store.sessions.latestRequest(after.idHash, NOW)).toBeNull();
      });

      it("keeps the newest requests of a session only", async () => {
        const session = makeSession(null);
        await store.sessions.create(session);
        for (let n = 0; n < 5; n++) {
          const request = {
            id: `${session.idHash.slice(0, 20)}-${n}`,
            sessionHash: session.idHash,
            parameters: {},
            pushedHash: null,
          };
          await store.sessions.saveRequest({ ...request, createdAt: NOW + n, expiresAt: NOW + 1000 }, 2);
        }
        expect((await store.sessions.latestRequest(session.idHash, NOW))?.id).toMatch(/-4$/);
        const first = `${session.idHash.slice(0, 20)}-2`;
        expect(await store.sessions.findRequest(first, session.idHash, NOW)).toBeNull();
        await store.sessions.touch(session.idHash, NOW + 9);
        expect((await store.sessions.find(session.idHash, NOW))?.lastSeenAt).toBe(NOW + 9);
      });

      it("revokes at log-out what came of the session, and no code is written for it afterwards", async () => {
        const { session, code, user, sid } = await busyUser(store);
        await store.sessions.end(session.idHash, NOW + 5);
        expect((await store.authorizations.find(sid))?.revokedAt).toBe(NOW + 5);
        expect(await store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW)).toBe("refused");
        expect(await store.authorizations.createCode(makeCode(session))).toBe("session_ended");
      });

      it("leaves no live authorization where log-out and redemption meet", async () => {
        const user = await signUp(store);
        const ends = await times(20, async () => {
          const session = await signIn(store, user);
          const code = makeCode(session);
          await store.authorizations.createCode(code);
          const each = redemption(user, session);
          await Promise.all([
            store.authorizations.redeemCode(code.codeHash, each, NOW),
            store.sessions.end(session.idHash, NOW),
          ]);
          return (await store.authorizations.find(each.authorization.id))?.revokedAt ?? "none";
        });
        expect(ends.filter((end) => end !== "none" && end !== NOW)).toEqual([]);
        expect(await store.authorizations.listOfUser(user.uuid, null, 100, NOW)).toEqual([]);
      });
    });

    describe("clients", () => {
      const registration = (clientId: string) =>
        ({ clientId, metadata, source: "command", createdAt: NOW, fileSecretHash: null }) as const;

      it("registers once, replaces metadata, and undoes only one's own disabling", async () => {
        const id = `c-${randomUUID()}`;
        const results = await times(5, () => store.clients.create(registration(id), hash("s")));
        expect(results.filter((result) => result === "created")).toHaveLength(1);
        await store.clients.replaceMetadata(id, { ...metadata, scope: "a" }, "file", NOW);
        expect(await store.clients.find(id)).toMatchObject({ source: "file", metadata: { scope: "a" } });
        expect(await store.clients.disable(id, "file", NOW)).toBe(true);
        expect(await store.clients.disable(id, "command", NOW)).toBe(true);
        expect(await store.clients.enable(id, "file", NOW)).toBe(false);
        const told = () => database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'client' AND value = ?", [id]);
        expect(await told()).toHaveLength(1);
        expect(await store.clients.enable(id, "command", NOW)).toBe(true);
        // what was revoked stays so: it applies to tokens issued before
        expect(await told()).toHaveLength(1);
        expect((await store.clients.list()).some(({ clientId }) => clientId === id)).toBe(true);
        expect(await store.clients.disable("nobody", "file", NOW)).toBe(false);
      });

      it("gives 20 callers the same standing authorization, and takes it back with its secret", async () => {
        const id = `c-${randomUUID()}`;
        await store.clients.create(registration(id), hash("one"));
        const [secret] = (await store.clients.find(id))?.secrets ?? [];
        const ids = await times(20, () =>
          store.clients.standingAuthorization(secret?.id ?? "", makeAuthorization(id), NOW),
        );
        expect(new Set(ids).size).toBe(1);
        await store.clients.addSecret(id, hash("two"), {
          now: NOW + 1,
          olderEndAt: NOW + 1,
          fileSecretHash: hash("f"),
        });
        const client = await store.clients.find(id);
        expect(client?.fileSecretHash).toBe(hash("f"));
        expect(client?.secrets.map(({ hash, expiresAt }) => [hash, expiresAt])).toEqual([
          [hash("two"), null],
          [hash("one"), NOW + 1],
        ]);
        expect((await store.authorizations.find(ids[0] as string))?.revokedAt).toBe(NOW + 1);
        const ended = store.clients.standingAuthorization(secret?.id ?? "", makeAuthorization(id), NOW + 2);
        await expect(ended).rejects.toMatchObject({ code: "invalid_client" });
      });

      it("gives 20 callers the same standing authorization of a client without a secret, until it is revoked", async () => {
        const id = `c-${randomUUID()}`;
        await store.clients.create(registration(id), null);
        const standing = (now: number) => {
          const fresh = makeAuthorization(id);
          return store.clients.standingAuthorization(
            null,
            { ...fresh, clientId: id, grantType: "client_credentials", createdAt: now },
            now,
          );
        };
        const ids = await times(20, () => standing(NOW));
        expect(new Set(ids).size).toBe(1);
        expect(await standing(NOW + 1)).toBe(ids[0]);
        await store.authorizations.revoke(ids[0] as string, "test", NOW + 2);
        expect(await standing(NOW + 3)).not.toBe(ids[0]);
      });
    });

    describe("registration", () => {
      it("registers exactly as many clients as an initial access token has uses, of 20 at once", async () => {
        const tokenHash = hash();
        await store.clients.saveInitialAccessToken({ tokenHash, uses: 3, createdAt: NOW, expiresAt: NOW + 1000 });
        expect(await store.clients.hasInitialAccessToken(tokenHash, NOW)).toBe(true);
        expect(await store.clients.hasInitialAccessToken(tokenHash, NOW + 1000)).toBe(false);
        const ids = Array.from({ length: 20 }, () => `r-${randomUUID()}`);
        const answers = await Promise.all(
          ids.map((clientId) =>
            store.clients.register(
              { clientId, metadata, createdAt: NOW },
              { initialToken: tokenHash, registrationToken: hash(clientId), secret: hash("s") },
            ),
          ),
        );
        expect(answers.filter((answer) => answer === "registered")).toHaveLength(3);
        expect(await store.clients.hasInitialAccessToken(tokenHash, NOW)).toBe(false);
        const found = await Promise.all(ids.map((id) => store.clients.find(id)));
        expect(found.filter((client) => client !== null)).toHaveLength(3);
        const own = found.find((client) => client !== null);
        const id = own?.clientId ?? "";
        expect(own).toMatchObject({ source: "registration", secrets: [{ hash: hash("s") }] });
        expect(await store.clients.findRegistered(id, hash(id))).toMatchObject({ clientId: id });
        expect(await store.clients.findRegistered(id, hash("other"))).toBeNull();
        await store.clients.disable(id, "command", NOW);
        expect(await store.clients.findRegistered(id, hash(id))).toBeNull();
      });

      it("uses up no expired token", async () => {
        const tokenHash = hash();
        await store.clients.saveInitialAccessToken({ tokenHash, uses: 1, createdAt: NOW, expiresAt: NOW + 1000 });
        const late = { clientId: `r-${randomUUID()}`, metadata, createdAt: NOW + 1000 };
        const hashes = { initialToken: tokenHash, registrationToken: hash(), secret: null };
        expect(await store.clients.register(late, hashes)).toBe("token_refused");
        expect(await store.clients.register({ ...late, createdAt: NOW }, hashes)).toBe("registered");
      });
    });

    describe("device codes", () => {
      async function opened(): Promise<{ code: NewDeviceCode; user: User; session: Session }> {
        const user = makeUser();
        await store.users.create(user, "hash", userSignup(user));
        const session = makeSession(user.uuid);
        await store.sessions.create(session);
        const code = makeDeviceCode();
        expect(await store.deviceCodes.save(code, 5_000)).toBe("saved");
        const by = { idHash: session.idHash, userId: user.uuid, authTime: NOW };
        expect(await store.deviceCodes.open(code.userCodeHash, by, NOW)).toMatchObject({ userId: user.uuid });
        return { code, user, session };
      }
      const redemptionOf = (user: User, attemptId: string = randomUUID()) => ({
        attemptId,
        authorization: makeAuthorization(user.uuid, { grantType: "device_code" }),
        event: userLogin(user, { ipAddress: "127.0.0.1", userAgent: "Test" }, NOW),
      });

      it("keeps user codes apart", async () => {
        const code = makeDeviceCode();
        expect(await store.deviceCodes.save(code, 5_000)).toBe("saved");
        const same = makeDeviceCode({ userCodeHash: code.userCodeHash });
        expect(await store.deviceCodes.save(same, 5_000)).toBe("user_code_taken");
      });

      it("S-147 takes one of 20 polls at once as in time and adds to the interval for each other", async () => {
        const code = makeDeviceCode();
        await store.deviceCodes.save(code, 5_000);
        const answers = await times(20, () => store.deviceCodes.poll(code.deviceCodeHash, 5_000, NOW));
        expect(answers.filter((answer) => answer === "in_time")).toHaveLength(1);
        const interval = 5_000 + 19 * 5_000;
        expect(await store.deviceCodes.poll(code.deviceCodeHash, 5_000, NOW + interval - 1)).toBe("too_fast");
        expect(await store.deviceCodes.poll(code.deviceCodeHash, 5_000, NOW + 2 * interval + 5_000)).toBe("in_time");
      });

      it("S-148 lets nobody but the session that opened a code decide, once", async () => {
        const { code, user, session } = await opened();
        const other = makeSession(user.uuid);
        await store.sessions.create(other);
        const by = { idHash: other.idHash, userId: user.uuid, authTime: NOW };
        expect(await store.deviceCodes.open(code.userCodeHash, by, NOW)).toBe("opened_elsewhere");
        expect(await store.deviceCodes.decide(code.userCodeHash, other.idHash, true, NOW)).toBe("opened_elsewhere");
        const answers = await times(10, () => store.deviceCodes.decide(code.userCodeHash, session.idHash, true, NOW));
        expect(answers.filter((answer) => answer === "decided")).toHaveLength(1);
        expect(await store.deviceCodes.decide(code.userCodeHash, session.idHash, false, NOW)).toBe("over");
        expect(await store.deviceCodes.find(code.deviceCodeHash)).toMatchObject({ allowedAt: NOW, deniedAt: null });
      });

      it("S-147 redeems an allowed code for exactly one of 20 callers, and again for the same attempt", async () => {
        const { code, user, session } = await opened();
        const early = await store.deviceCodes.redeem(code.deviceCodeHash, redemptionOf(user), NOW);
        expect(early).toBe("refused");
        await store.deviceCodes.decide(code.userCodeHash, session.idHash, true, NOW);
        const redemptions = Array.from({ length: 20 }, () => redemptionOf(user));
        const answers = await Promise.all(
          redemptions.map((each) => store.deviceCodes.redeem(code.deviceCodeHash, each, NOW)),
        );
        const won = answers.indexOf("redeemed");
        expect(answers.filter((answer) => answer === "redeemed")).toHaveLength(1);
        expect(answers.filter((answer) => answer === "replayed")).toHaveLength(19);
        const winner = redemptions[won] ?? redemptionOf(user);
        expect(await store.deviceCodes.redeem(code.deviceCodeHash, winner, NOW)).toBe("redeemed");
        expect(await store.authorizations.listOfUser(user.uuid, null, 100, NOW)).toHaveLength(1);
      });

      it("revokes allowed codes with the session, the user's things, and the consent", async () => {
        const causes: ((of: Awaited<ReturnType<typeof opened>>) => Promise<unknown>)[] = [
          ({ session }) => store.sessions.end(session.idHash, NOW),
          ({ user }) => store.sessions.endAllOf(user.uuid, NOW),
          ({ user }) => store.users.setDisabled(user.uuid, true, NOW),
          ({ user }) => store.users.delete(user.uuid, NOW),
          ({ user }) => store.users.changePassword(user.uuid, "hash", "other", NOW),
          ({ user }) => store.authorizations.withdrawConsent(user.uuid, "tv", NOW),
        ];
        for (const cause of causes) {
          const of = await opened();
          await store.deviceCodes.decide(of.code.userCodeHash, of.session.idHash, true, NOW);
          await cause(of);
          expect((await store.deviceCodes.find(of.code.deviceCodeHash))?.revokedAt).toBe(NOW);
          expect(await store.deviceCodes.redeem(of.code.deviceCodeHash, redemptionOf(of.user), NOW)).toBe("refused");
        }
      });

      it("refuses what is expired, and a session that is over", async () => {
        const { code, user, session } = await opened();
        const late = code.expiresAt + 1;
        expect(await store.deviceCodes.decide(code.userCodeHash, session.idHash, true, late)).toBe("over");
        await store.deviceCodes.decide(code.userCodeHash, session.idHash, true, NOW);
        expect(await store.deviceCodes.redeem(code.deviceCodeHash, redemptionOf(user), late)).toBe("refused");
        const gone = { idHash: hash(), userId: user.uuid, authTime: NOW };
        expect(await store.deviceCodes.open(hash(), gone, NOW)).toBe("session_ended");
        expect(await store.deviceCodes.decide(hash(), gone.idHash, true, NOW)).toBe("session_ended");
      });
    });

    describe("keys", () => {
      it("makes each generation once", async () => {
        const key = (kid: string) =>
          ({
            kid,
            use: "access",
            alg: "ES256",
            generation: 1,
            publicJwk: "{}",
            sealedPrivateJwk: "s",
            createdAt: NOW,
            activeFrom: NOW,
            distrustedAt: null,
          }) as const;
        const results = await times(10, (n) => store.keys.add(key(`k${n}`)));
        expect(results.filter((result) => result === "added")).toHaveLength(1);
        const kid = `k${results.indexOf("added")}`;
        expect(await store.keys.list()).toEqual([key(kid)]);
        await store.keys.remove([kid]);
        expect(await store.keys.list()).toEqual([]);
      });
    });

    describe("outbox", () => {
      it("numbers a user's events without a gap while many are written, and tells the relay of each commit", async () => {
        const lanes: number[] = [];
        const stop = store.outbox.onAppend((lane) => lanes.push(lane));
        const user = await signUp(store);
        const session = await signIn(store, user);
        const codes = Array.from({ length: 20 }, () => makeCode(session));
        for (const code of codes) await store.authorizations.createCode(code);
        await Promise.all(
          codes.flatMap((code) => [
            store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW),
            store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW),
          ]),
        );
        stop();
        expect(await seqs(database, user)).toEqual(Array.from({ length: 21 }, (_, index) => index + 1));
        expect(lanes).toHaveLength(21);
        expect(new Set(lanes).size).toBe(1);
      });

      it("gives gap-free runs, marks under its lease only, empties what is sent, and lets a parked event by", async () => {
        const user = await signUp(store);
        const session = await signIn(store, user);
        for (let n = 0; n < 4; n++) {
          const code = makeCode(session);
          await store.authorizations.createCode(code);
          const each = redemption(user, session);
          // created earlier than its predecessor, as clocks of two replicas may have it
          const event = { ...each.event, timestamp: NOW - 200 * DAY - n };
          await store.authorizations.redeemCode(code.codeHash, { ...each, event }, NOW);
        }
        const [{ lane = 0 } = {}] = await database.rows<{ lane: number }>(
          "SELECT lane FROM outbox WHERE user_id = ? LIMIT 1",
          [user.uuid],
        );
        const mine = async (limit: number) =>
          (await store.outbox.pending(lane, limit)).filter(({ userId }) => userId === user.uuid);
        expect((await mine(3)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
        const [first, second] = await mine(100);
        expect(first?.event).toMatchObject({ eventType: "USER_SIGNUP", payload: { uuid: user.uuid } });
        const owner = randomUUID();
        const lease = await store.leases.acquire(`lane-${owner}`, owner, 60_000);
        if (lease === null || first === undefined || second === undefined) throw new Error("no lease or no events");
        const stale = { ...lease, epoch: lease.epoch + 1 };
        expect(await store.outbox.markSent(stale, [first.eventId], NOW)).toBe(false);
        expect(await store.outbox.park(stale, first.eventId, "poison")).toBe(false);
        expect(await mine(100)).toHaveLength(5);
        await store.outbox.countAttempt([first.eventId]);
        expect((await mine(100))[0]?.attempts).toBe(1);
        expect(await store.outbox.markSent(lease, [first.eventId], NOW)).toBe(true);
        expect(await store.outbox.park(lease, second.eventId, "poison")).toBe(true);
        expect((await mine(100)).map(({ seq }) => seq)).toEqual([3, 4, 5]);
        const [sent] = await database.rows("SELECT payload FROM outbox WHERE event_id = ?", [first.eventId]);
        expect(sent).toEqual({ payload: "" });
        expect((await store.outbox.list("parked", 100)).map(({ reason }) => reason)).toContain("poison");
        expect((await store.outbox.stats()).parked).toBe(1);
        expect(await store.outbox.retry([second.eventId])).toBe(1);
        expect((await mine(100)).map(({ seq }) => seq)).toEqual([2, 3, 4, 5]);
        expect(await store.outbox.retry(null)).toBe(0);
      });

      it("hands out an event that cannot be opened as the error it is", async () => {
        const user = await signUp(store);
        const other = storeOn(database, { sealer: new Sealer(randomBytes(32)) });
        const lanes = await times(16, (lane) => other.outbox.pending(lane, 10_000));
        const entry = lanes.flat().find(({ userId }) => userId === user.uuid);
        expect(entry?.event).toBeInstanceOf(Error);
      });
    });

    describe("limits and leases", () => {
      it("counts exactly 10 of 50 uses at once, in the next window too", async () => {
        for (const now of [NOW, NOW + 1000]) {
          const results = await times(50, () => store.limits.take("key", 10, 1000, now));
          expect(results.filter((result) => result === null)).toHaveLength(10);
          expect(new Set(results.filter((result) => result !== null))).toEqual(new Set([now + 1000]));
        }
        await store.limits.giveBack("key");
        expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBeNull();
        expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBe(NOW + 2000);
        await store.limits.clear("key");
        expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBeNull();
      });

      it("gives a lease to one of 20, renews it only for its owner, and counts each take-over", async () => {
        const name = `job-${randomUUID()}`;
        const results = await times(20, (n) => store.leases.acquire(name, `owner-${n}`, 60_000));
        const [lease, ...others] = results.filter((result) => result !== null);
        if (lease === undefined) throw new Error("nobody got it");
        expect(others).toEqual([]);
        expect(await store.leases.renew(lease, 60_000)).toBe(true);
        expect(await store.leases.renew({ ...lease, owner: "other" }, 60_000)).toBe(false);
        expect(await store.leases.holders(name)).toEqual([{ name, owner: lease.owner }]);
        await store.leases.release(lease);
        expect(await store.leases.holders(name)).toEqual([]);
        const next = await store.leases.acquire(name, "next", 20);
        expect(next?.epoch).toBe(lease.epoch + 1);
        expect(await store.leases.renew(lease, 60_000)).toBe(false);
        await new Promise((done) => setTimeout(done, 60));
        expect((await store.leases.acquire(name, "third", 1000))?.epoch).toBe(lease.epoch + 2);
      });

      it("tells the database's time", async () => {
        expect(Math.abs((await store.time()) - Date.now())).toBeLessThan(10_000);
      });
    });

    describe("clean-up", () => {
      it("deletes what is over in batches and keeps what may still be asked for", async () => {
        const { session, sid, code } = await busyUser(store);
        await store.authorizations.revokeAccessToken("kept", NOW + 400 * DAY, NOW);
        const count = async (table: string) =>
          Number((await database.rows<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.n);
        await store.cleanUp(NOW + 7_200_000, 1000);
        expect(await store.authorizations.findCode(code.codeHash)).not.toBeNull();
        expect(await store.authorizations.find(sid)).not.toBeNull();
        expect(await store.sessions.find(session.idHash, NOW)).not.toBeNull();
        expect(await store.cleanUp(NOW + 60 * DAY, 2)).toBeLessThanOrEqual(20);
        for (let n = 0; (await store.cleanUp(NOW + 60 * DAY, 100)) > 0; n++) expect(n).toBeLessThan(100);
        for (const table of ["oauth2_authorization", "oauth2_authorization_code", "browser_session", "rate_limit"]) {
          expect([table, await count(table)]).toEqual([table, 0]);
        }
        const feed = await store.revocations.after(0, 10_000, NOW);
        expect(feed.map(({ value }) => value)).toContain("kept");
        expect((await store.outbox.stats()).pending).toBeGreaterThan(0);
      });
    });

    describe("statements", () => {
      it("finds every row by an index", async () => {
        const statements = await recordStatements(database, async () => {
          const busy = await busyUser(store);
          await walk(store, busy.user);
        });
        await fill(database, store);
        const scans: string[] = [];
        for (const { sql, parameters } of statements) {
          if (
            /FROM signing_key|FROM oauth2_registered_client c LEFT JOIN \S+ s ON s.client_id = c.client_id ORDER/.test(
              sql,
            )
          ) {
            continue; // asked for all of it
          }
          if (await scansTable(database, sql, parameters)) scans.push(sql);
        }
        expect(scans).toEqual([]);
        expect(statements.length).toBeGreaterThan(50);
      });
    });
  });
}

/** Calls what the contract's other cases have left out of `busyUser`. */
async function walk(store: Store, user: User): Promise<void> {
  const busy = await busyUser(store);
  const { session, sid, code } = busy;
  await store.users.list({ createdAt: NOW, uuid: user.uuid }, 5);
  await store.users.list(null, 5);
  await store.users.findMany([user.uuid, session.userId ?? ""]);
  await store.users.findByEmail(user.email);
  await store.users.update(user.uuid, { nickname: "n", roles: [] }, NOW);
  await store.users.findPasswordReset(busy.reset.tokenHash, NOW);
  await store.authorizations.findCode(code.codeHash);
  await store.authorizations.countWrongVerifier(code.codeHash, NOW);
  await store.authorizations.find(sid);
  await store.authorizations.listOfUser(user.uuid, { createdAt: NOW, id: sid }, 5, NOW);
  await store.authorizations.rotateRefreshToken(sid, 0, { jti: "j", iat: 1, exp: 2, kid: "k" }, NOW);
  await store.revocations.after(0, 10, NOW);
  await store.authorizations.findConsent(user.uuid, "c");
  await store.authorizations.listConsents(user.uuid);
  await store.authorizations.listGrants(user.uuid, NOW);
  await store.sessions.listOfUser(user.uuid, NOW);
  await store.sessions.latestRequest(session.idHash, NOW);
  await store.sessions.touch(session.idHash, NOW + 1);
  await store.clients.hasInitialAccessToken(hash(), NOW);
  const walked = { clientId: `walk-${randomUUID()}`, metadata, createdAt: NOW };
  await store.clients.register(walked, { initialToken: hash(), registrationToken: hash(), secret: null });
  await store.clients.findRegistered("portal", hash());
  const device = makeDeviceCode();
  await store.deviceCodes.save(device, 5_000);
  await store.deviceCodes.find(device.deviceCodeHash);
  await store.deviceCodes.poll(device.deviceCodeHash, 5_000, NOW);
  await store.deviceCodes.poll(device.deviceCodeHash, 5_000, NOW);
  const by = { idHash: session.idHash, userId: user.uuid, authTime: NOW };
  await store.deviceCodes.open(device.userCodeHash, by, NOW);
  await store.deviceCodes.decide(device.userCodeHash, session.idHash, true, NOW);
  const again = makeSession(session.userId);
  await store.sessions.signIn(again, { replaces: session.idHash, passwordHash: "hash-1" });
  await store.sessions.end(again.idHash, NOW);
  await store.clients.find("portal");
  await store.limits.take("walk", 5, 1000, NOW);
  await store.limits.take("walk", 5, 1000, NOW + 5000);
  const lease = await store.leases.acquire("walk", "me", 1000);
  const pending = (await Promise.all(Array.from({ length: 16 }, (_, lane) => store.outbox.pending(lane, 5)))).flat();
  const ids = pending.slice(0, 3).map(({ eventId }) => eventId);
  await store.outbox.countAttempt(ids);
  if (lease !== null) await store.outbox.markSent(lease, ids.slice(0, 1), NOW);
  await store.outbox.list("pending", 5);
  await store.users.changePassword(user.uuid, "hash-1", "hash-2", NOW);
  await store.users.delete(busy.user.uuid, NOW);
  await store.cleanUp(NOW, 10);
}

interface Statement {
  readonly sql: string;
  readonly parameters: readonly (string | number | null)[];
}

async function recordStatements(database: Database, work: () => Promise<void>): Promise<Statement[]> {
  const { dataSource } = database;
  const { logger } = dataSource;
  const seen = new Map<string, Statement>();
  const recorder = Object.create(logger) as typeof logger;
  recorder.logQuery = (sql, parameters) => {
    if (/^(SELECT|UPDATE|DELETE)\b/.test(sql) && / (WHERE|FROM|JOIN) /.test(sql)) {
      seen.set(sql, { sql, parameters: (parameters ?? []) as Statement["parameters"] });
    }
  };
  dataSource.logger = recorder;
  try {
    await work();
  } finally {
    dataSource.logger = logger;
  }
  return [...seen.values()];
}

/** Enough rows that an optimiser prefers an index. */
async function fill(database: Database, store: Store): Promise<void> {
  for (let n = 0; n < 4; n++) await times(40, async () => busyUser(store));
  await times(100, (n) => store.limits.take(`fill-${n}`, 5, 1_000_000, NOW));
  await times(100, () => store.deviceCodes.save(makeDeviceCode(), 5_000));
  await times(100, () =>
    store.clients.saveInitialAccessToken({ tokenHash: hash(), uses: 1, createdAt: NOW, expiresAt: NOW + 1000 }),
  );
  await times(100, (n) => store.leases.acquire(`fill-${n}`, "x", 1_000_000));
  await times(100, (n) => store.authorizations.revokeAccessToken(`fill-${n}`, NOW + 1000, NOW));
  if (database.dialect === "sqlite") return;
  const tables = await database.rows<{ name: string }>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
  );
  for (const { name } of tables) await database.rows(`ANALYZE TABLE ${name}`);
}

async function scansTable(database: Database, sql: string, parameters: Statement["parameters"]): Promise<boolean> {
  if (database.dialect === "sqlite") {
    const plan = await database.rows<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, parameters);
    return plan.some(({ detail }) => /^SCAN (?!CONSTANT)/.test(detail) && !/USING (COVERING )?INDEX/.test(detail));
  }
  const plan = await database.rows<{ type: string | null }>(`EXPLAIN ${sql}`, parameters);
  return plan.some(({ type }) => type === "ALL");
}
