import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { plannedOnce } from "../../../src/database/sqlite-connection.ts";
import { type Database, rollback, type Sql } from "../../../src/database/transaction.ts";
import { EVENT_TYPES, UNKNOWN_ASKER, userSecurity } from "../../../src/events.ts";
import { OUTBOX_LANES, type OutboxPage } from "../../../src/store/outbox.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import {
  busyUser,
  changedEvent,
  consentIn,
  DAY,
  deletedEvent,
  hash,
  makeCode,
  makeDeviceCode,
  makePushedRequest,
  makeSession,
  metadata,
  NOW,
  type OpenedStore,
  signUp,
  times,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function statementsContract(opened: () => OpenedStore): void {
  describe("statements", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    it("C-22 finds every row by an index, counted by what the server read: its plans differ by version", async () => {
      const statements = await recordStatements(database, async () => {
        const busy = await busyUser(store);
        await walk(store, busy.user);
      });
      await fill(database, store);
      const scans: string[] = [];
      for (const { sql, parameters } of statements) {
        if (
          /FROM signing_key|FROM access_token_lifetime|FROM oauth2_registered_client c LEFT JOIN \S+ s ON s.client_id = c.client_id ORDER/.test(
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
}

/** Calls what the contract's other cases have left out of `busyUser`. */
async function walk(store: Store, user: User): Promise<void> {
  const busy = await busyUser(store);
  const { session, sid, code } = busy;
  await store.users.list({ createdAt: NOW + 500, uuid: user.uuid }, 5);
  await store.users.list(null, 5);
  await store.users.findMany([user.uuid, session.userId ?? ""]);
  await store.users.findByEmail(user.email);
  await store.users.update(user.uuid, () => ({ nickname: "n", roles: [] }), NOW);
  const link = { tokenHash: hash(), userId: user.uuid, email: "other@example.com", createdAt: NOW, expiresAt: NOW + 1 };
  await store.emailVerifications.create(link, null);
  await store.emailVerifications.find(link.tokenHash, NOW);
  await store.emailVerifications.pendingOf(user.uuid, NOW);
  await store.emailVerifications.redeem(link.tokenHash, changedEvent, NOW);
  await store.users.findPasswordReset(busy.reset.tokenHash, NOW);
  await store.authorizations.findCode(code.codeHash);
  await store.authorizations.countWrongVerifier(code.codeHash, NOW);
  await store.authorizations.find(sid);
  await store.authorizations.listOfUser(user.uuid, { createdAt: NOW, id: sid }, 5, NOW);
  await store.authorizations.rotateRefreshToken(sid, 0, { jti: "j", iat: 1, exp: 2, kid: "k" }, NOW);
  await store.revocations.after(0, 10, NOW);
  await store.authorizations.addConsent(consentIn(session, "c", "openid"), NOW);
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
  await store.clients.remove(walked.clientId, NOW);
  const device = makeDeviceCode();
  await store.deviceCodes.save(device, 5_000);
  await store.deviceCodes.find(device.deviceCodeHash);
  await store.deviceCodes.poll(device.deviceCodeHash, 5_000, NOW);
  await store.deviceCodes.poll(device.deviceCodeHash, 5_000, NOW);
  const by = { idHash: session.idHash, userId: user.uuid, authTime: NOW, methods: ["pwd"] };
  await store.deviceCodes.open(device.userCodeHash, by, NOW);
  await store.deviceCodes.decide(device.userCodeHash, session.idHash, true, NOW);
  await store.deviceCodes.findDecision(device.userCodeHash, user.uuid);
  const again = makeSession(session.userId);
  await store.sessions.signIn(again, { replaces: session.idHash, passwordHash: "hash-1" });
  await store.sessions.end(again.idHash, NOW);
  await store.clients.find("portal");
  const pushed = makePushedRequest();
  await store.pushedRequests.save(pushed);
  await store.pushedRequests.find(pushed.uriHash, NOW);
  await store.authorizations.createCode(makeCode(busy.session), { hash: pushed.uriHash, mayRepeat: true });
  await store.logoutNotices.dueClients(NOW, "c", 5);
  await store.logoutNotices.due("portal", NOW, 5);
  await store.logoutNotices.failed(randomUUID(), "no answer", NOW + 1000);
  await store.logoutNotices.delivered(randomUUID());
  await store.limits.take("walk", 5, 1000, NOW);
  await store.limits.take("walk", 5, 1000, NOW + 5000);
  await store.limits.open("walk", 1000, NOW);
  await store.limits.takeOpened("walk", 5, NOW);
  await useFactors(store, user);
  const lease = await store.leases.acquire("walk", "me", 1000);
  await store.outbox.queues();
  const logins = (lane: number, end: OutboxPage["end"]) =>
    store.outbox.pending({ lane, eventType: "USER_LOGIN" }, 5, end === null ? null : { end, users: new Set() });
  const firsts = await times(16, (lane) => logins(lane, null));
  const pages = [...firsts, ...(await times(16, (lane) => logins(lane, firsts[lane]?.end ?? null)))];
  const pending = pages.flatMap(({ entries }) => entries);
  const ids = pending.slice(0, 3).map(({ eventId }) => eventId);
  await store.outbox.countAttempt(ids);
  if (lease !== null) await store.outbox.markSent(lease, ids.slice(0, 1), NOW);
  await store.outbox.list("pending", 5);
  await store.outbox.retry(null);
  await store.outbox.discard(null);
  await store.users.changePassword(user.uuid, { from: "hash-1", to: "hash-2" }, changedEvent(user));
  await store.users.delete(busy.user.uuid, deletedEvent(busy.user));
  await store.users.listDeleted("", 5);
  await store.users.listClosed(NOW, null, 5);
  await store.users.forgetTraces(busy.user.uuid, 5);
  await store.cleanUp(NOW, 10);
}

/** Gives a user every factor, and uses and removes them. */
async function useFactors(store: Store, user: User): Promise<void> {
  const passkey = await giveFactors(store, user);
  await store.factors.find(user.uuid);
  await store.factors.useTotpStep(user.uuid, 2, "form");
  await store.factors.listTotp(null, 10);
  await store.factors.resealTotp(user.uuid, { from: "a", to: "b" });
  await store.factors.useRecoveryCode(user.uuid, hash(), "form", factorEvent(user));
  await store.factors.findPasskey(passkey);
  await store.users.findByPasskey(passkey);
  const use = { credentialId: passkey, signCount: 0, challengeHash: hash(), expiresAt: NOW + 60_000 };
  await store.factors.usePasskey({ ...use, attempt: "a form" }, NOW);
  await store.factors.usePasskey({ ...use, attempt: "another form" }, NOW);
  const proof = { replaces: null, passwordHash: "hash-1", passkey: { ...use, attempt: "another form" } };
  await store.sessions.signIn(makeSession(user.uuid), proof);
  await store.sessions.signIn(makeSession(user.uuid), {
    ...proof,
    passkey: { ...proof.passkey, credentialId: "gone", challengeHash: hash() },
  });
  await store.factors.renamePasskey(user.uuid, { credentialId: passkey, name: "Key ring" }, NOW);
  await store.factors.removePasskey(user.uuid, passkey, factorEvent(user));
  await store.factors.removeTotp(user.uuid, factorEvent(user));
  await store.factors.reset(user.uuid, factorEvent(user));
}

/** @returns the id of the passkey */
async function giveFactors(store: Store, user: User): Promise<string> {
  const credentialId = hash();
  const codes = { hashes: [hash(), hash()], attempt: hash(), expiresAt: NOW + 60_000 };
  await store.factors.addTotp(user.uuid, { sealedSecret: "sealed", step: 1 }, factorEvent(user));
  await store.factors.setRecoveryCodes(user.uuid, codes, factorEvent(user));
  await store.factors.setRecoveryCodes(user.uuid, codes, factorEvent(user));
  await store.factors.addPasskey(
    {
      ...{ credentialId, userId: user.uuid, publicKey: "key", signCount: 0, transports: [], isSynced: true },
      ...{ name: "Phone", createdAt: NOW, lastUsedAt: null },
    },
    factorEvent(user),
  );
  return credentialId;
}

function factorEvent(user: User) {
  return userSecurity(user, { kind: "FACTOR_ADDED", detail: "" }, UNKNOWN_ASKER, NOW);
}

const READ_AS_A_WHOLE = ["access_token_lifetime", "auth_migrations", "clients_file", "issuer", "signing_key"];

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

/** Of one statement that finds its rows by an index. Each table holds more, so that a scan is noticed. */
const MOST_ROWS_READ = 40;
/** Of the one that asks for every queue: a few for each, however many events wait in it. */
const ROWS_OF_QUEUES = 3 * OUTBOX_LANES * EVENT_TYPES.length;

/** Enough rows that an optimiser prefers an index. */
async function fill(database: Database, store: Store): Promise<void> {
  for (let n = 0; n < 4; n++) await times(40, async () => busyUser(store));
  // later than those, one a millisecond, so that a page of users begins in the middle
  for (let n = 0; n < 1_000; n += 100) await times(100, (i) => signUp(store, { createdAt: NOW + n + i }));
  await times(100, (n) => store.limits.take(`fill-${n}`, 5, 1_000_000, NOW));
  await times(100, () => store.deviceCodes.save(makeDeviceCode(), 5_000));
  await times(100, async () => {
    const user = await signUp(store);
    const { uuid: userId, email } = user;
    await giveFactors(store, user);
    const link = { tokenHash: hash(), userId, email, createdAt: NOW, expiresAt: NOW + DAY };
    await store.emailVerifications.create(link, null);
    await database.change(
      `INSERT INTO mail (event_id, user_id, status, attempts, payload, created_at, next_attempt_at)
       VALUES (?, ?, 'pending', 0, '', ?, ?)`,
      [randomUUID(), userId, NOW, NOW + DAY],
    );
  });
  await times(100, () =>
    store.clients.saveInitialAccessToken({ tokenHash: hash(), uses: 1, createdAt: NOW, expiresAt: NOW + 1000 }),
  );
  await times(100, (n) => store.leases.acquire(`fill-${n}`, "x", 1_000_000));
  await times(100, (n) => store.authorizations.revokeAccessToken(`fill-${n}`, NOW + 1000, NOW));
  await times(100, () => store.pushedRequests.save(makePushedRequest({ clientId: "c", expiresAt: NOW + 1000 })));
  await times(100, () => store.usedOnce.use(hash(), NOW + 1000));
  await times(100, async () => {
    const session = makeSession(randomUUID());
    await store.sessions.create(session);
    await store.authorizations.addConsent(consentIn(session, "c", "openid"), NOW);
  });
  await times(100, (n) =>
    store.clients.create(
      { clientId: `fill-${randomUUID()}-${n}`, metadata, source: "command", createdAt: NOW, fileSecretHash: null },
      hash(),
    ),
  );
  await times(100, () =>
    database.change("INSERT INTO removed_client (client_id, epoch) VALUES (?, 1)", [randomUUID()]),
  );
  await times(100, () =>
    database.change(
      `INSERT INTO logout_notice (id, client_id, sid, sub, status, attempts, created_at, next_attempt_at, expires_at)
       VALUES (?, 'c', ?, 's', 'pending', 0, ?, ?, ?)`,
      [randomUUID(), randomUUID(), NOW, NOW + DAY, NOW + DAY],
    ),
  );
  if (database.dialect === "sqlite") return;
  const tables = await database.rows<{ name: string }>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
  );
  for (const { name } of tables) {
    await database.rows(`ANALYZE TABLE ${name}`);
    if (READ_AS_A_WHOLE.includes(name)) continue;
    const [count] = await database.rows<{ n: number }>(`SELECT COUNT(*) AS n FROM ${name}`);
    expect([name, Number(count?.n) > MOST_ROWS_READ]).toEqual([name, true]);
  }
}

async function scansTable(database: Database, sql: string, parameters: Statement["parameters"]): Promise<boolean> {
  if (database.dialect === "sqlite") {
    const plan = await database.rows<{ detail: string }>(`EXPLAIN QUERY PLAN ${plannedOnce(sql)}`, parameters);
    return plan.some(({ detail }) => /^SCAN (?!CONSTANT)/.test(detail) && !/USING (COVERING )?INDEX/.test(detail));
  }
  const queues = sql.includes(" AS q47");
  return (await rowsRead(database, sql, parameters)) > (queues ? ROWS_OF_QUEUES : MOST_ROWS_READ);
}

/**
 * How many rows a statement reads. The plan that EXPLAIN shows is an estimate, which differs between versions of the server.
 * What the statement writes is rolled back.
 */
function rowsRead(database: Database, sql: string, parameters: Statement["parameters"]): Promise<number> {
  return database.transaction(async (session) => {
    const before = await handlerReads(session);
    if (sql.startsWith("SELECT")) await session.rows(sql, parameters);
    else await session.change(sql, parameters);
    return rollback((await handlerReads(session)) - before);
  });
}

/** Rows that the session has read so far. */
async function handlerReads(session: Sql): Promise<number> {
  const counters = await session.rows<{ Value: string }>("SHOW SESSION STATUS LIKE 'Handler_read%'");
  return counters.reduce((sum, { Value }) => sum + Number(Value), 0);
}
