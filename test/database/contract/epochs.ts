import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { CHECKED_EVERY } from "../../../src/database/redemption.ts";
import type { Database } from "../../../src/database/transaction.ts";
import { type Authorization, KEPT_PER_CLIENT } from "../../../src/store/authorizations.ts";
import type { Session } from "../../../src/store/session.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import {
  changedEvent,
  deletedEvent,
  hash,
  makeCode,
  makeSession,
  NOW,
  type OpenedStore,
  redemption,
  resetEvent,
  signIn,
  signUp,
} from "./fixtures.ts";

const HOUR = 3_600_000;
const MARGIN = 10 * 60_000;

/** @param opened gives the store once the tests run */
export function epochsContract(opened: () => OpenedStore): void {
  describe("epochs", () => {
    let store: Store;
    let database: Database;
    beforeAll(() => {
      ({ store, database } = opened());
    });
    // the clean-up of other cases takes a few rows at a time; a busy MariaDB does not DELETE them all within the deadline of a statement
    afterAll(async () => {
      const empty = database.dialect === "sqlite" ? "DELETE FROM" : "TRUNCATE TABLE";
      for (const table of ["oauth2_authorization", "revocation"]) await database.change(`${empty} ${table}`);
    });

    it.each([
      [
        "a password change",
        (user: User) =>
          store.users.changePassword(user.uuid, { from: "hash-1", to: "hash-2" }, changedEvent(user, NOW + 5)),
      ],
      ["a password reset", (user: User) => reset(store, user)],
      ["disabling", (user: User) => store.users.setDisabled(user.uuid, true, NOW + 5)],
      ["signing out everywhere", (user: User) => store.sessions.endAllOf(user.uuid, NOW + 5)],
      ["deletion", (user: User) => store.users.delete(user.uuid, deletedEvent(user, NOW + 5))],
    ])("C-02 %s ends 20,000 authorizations in as many statements as it ends 2,000", async (_, end) => {
      const counts: number[] = [];
      for (const size of [2_000, 20_000]) {
        const user = await signUp(store);
        const [first] = await addAuthorizations(database, user, size, 0);
        counts.push(await countStatements(database, () => end(user)));
        expect((await store.authorizations.find(first ?? ""))?.revokedAt).not.toBeNull();
        expect(await store.authorizations.listOfUser(user.uuid, null, 5, NOW)).toEqual([]);
        expect(await store.authorizations.listGrants(user.uuid, NOW)).toEqual([]);
      }
      expect(counts[1]).toBe(counts[0]);
    });

    it("ends what the release before epochs wrote, however much it is", async () => {
      const user = await signUp(store);
      const ids = await addAuthorizations(database, user, 1_500, null);
      expect((await store.authorizations.find(ids[0] ?? ""))?.revokedAt).toBeNull();
      await store.sessions.endAllOf(user.uuid, NOW + 5);
      const live = await database.rows("SELECT id FROM oauth2_authorization WHERE subject = ? AND revoked_at IS NULL", [
        user.uuid,
      ]);
      expect(live).toEqual([]);
    });

    it("raises the epoch by one each time and tells of it in one line of the feed", async () => {
      const user = await signUp(store);
      await store.sessions.endAllOf(user.uuid, NOW);
      await store.sessions.endAllOf(user.uuid, NOW);
      expect((await store.users.find(user.uuid))?.epoch).toBe(2);
      const told = (await feedOf(store)).filter(({ kind, value }) => kind === "user" && value === user.uuid);
      expect(told.map(({ epoch }) => epoch)).toEqual([1, 2]);
    });

    it("C-03 a sign-out everywhere that is repeated adds one line to the feed, however much the first ended", async () => {
      const user = await signUp(store);
      await addAuthorizations(database, user, 2_500, 0);
      const lines = async () =>
        Number((await database.rows<{ n: number }>("SELECT COUNT(*) AS n FROM revocation"))[0]?.n);
      await store.sessions.endAllOf(user.uuid, NOW + 5);
      const before = await lines();
      await store.sessions.endAllOf(user.uuid, NOW + 6);
      expect(await lines()).toBe(before + 1);
    });

    it("refuses an authorization that was signed before everything was ended, and takes one signed after", async () => {
      const user = await signUp(store);
      await store.sessions.endAllOf(user.uuid, NOW);
      const session = await signIn(store, user);
      expect(await redeem(store, user, session)).toBe("refused");
      expect(await redeem(store, { ...user, epoch: 1 }, session)).toBe("redeemed");
      const [live] = await store.authorizations.listOfUser(user.uuid, null, 5, NOW);
      expect(live).toMatchObject({ userEpoch: 1, revokedAt: null });
    });

    it("C-02 keeps a bounded number of a user's authorizations for one client and ends the oldest beyond", async () => {
      const user = await signUp(store);
      const session = await signIn(store, user);
      const ids = await addAuthorizations(database, user, KEPT_PER_CLIENT, 0);
      expect(await redeem(store, user, session, { clientId: "another" })).toBe("redeemed");
      expect((await store.authorizations.find(ids[0] ?? ""))?.revokedAt).toBeNull();
      const newer = { createdAt: NOW + KEPT_PER_CLIENT };
      for (let n = 0; n < 2 * CHECKED_EVERY; n++) expect(await redeem(store, user, session, newer)).toBe("redeemed");
      const live = await database.rows(
        "SELECT id FROM oauth2_authorization WHERE subject = ? AND client_id = 'portal' AND revoked_at IS NULL",
        [user.uuid],
      );
      expect(live.length).toBeGreaterThanOrEqual(KEPT_PER_CLIENT);
      expect(live.length).toBeLessThan(KEPT_PER_CLIENT + CHECKED_EVERY);
      expect((await store.authorizations.find(ids[0] ?? ""))?.revokedAt).toBe(NOW);
      expect((await store.authorizations.find(ids.at(-1) ?? ""))?.revokedAt).toBeNull();
      expect((await feedOf(store)).some(({ value }) => value === ids[0])).toBe(true);
    });

    it("C-06 remembers a revocation for the longest lifetime that was declared, until that has passed", async () => {
      await database.change("DELETE FROM access_token_lifetime");
      const keptFor = async (now: number) => {
        const sid = randomUUID();
        await addAuthorizations(database, await signUp(store), 1, 0, sid);
        await store.authorizations.revoke(sid, "test", now);
        const row = (await feedOf(store)).find(({ value }) => value === sid);
        return (row?.expiresAt ?? 0) - now - MARGIN;
      };
      // nothing is known of the releases that declare nothing
      expect(await keptFor(NOW)).toBe(24 * HOUR);
      await store.revocations.declareLifetime(120_000, NOW);
      expect(await keptFor(NOW)).toBe(24 * HOUR);
      const later = NOW + 3 * 24 * HOUR;
      await store.revocations.declareLifetime(2 * HOUR, later);
      await store.revocations.declareLifetime(120_000, later);
      // a replica with the shorter lifetime revokes what one with the longer has issued
      expect(await keptFor(later)).toBe(2 * HOUR);
      await store.revocations.declareLifetime(120_000, later + 40 * HOUR);
      expect(await keptFor(later + 40 * HOUR)).toBe(2 * HOUR);
      expect(await keptFor(later + 51 * HOUR)).toBe(120_000);
    });
  });
}

async function feedOf(store: Store) {
  const rows = [];
  for (let id = 0; ; ) {
    const page = await store.revocations.after(id, 10_000, NOW);
    rows.push(...page);
    id = page.at(-1)?.id ?? id;
    if (page.length < 10_000) return rows;
  }
}

async function redeem(store: Store, user: User, session: Session, over: Partial<Authorization> = {}) {
  const code = makeCode(session);
  await store.authorizations.createCode(code);
  const made = redemption(user, session);
  const authorization = { ...made.authorization, userEpoch: user.epoch, ...over };
  return store.authorizations.redeemCode(code.codeHash, { ...made, authorization }, NOW);
}

async function reset(store: Store, user: User): Promise<void> {
  const tokenHash = hash();
  const token = { tokenHash, userId: user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
  await store.users.createPasswordReset(token, resetEvent(user));
  expect(await store.users.redeemPasswordReset(tokenHash, "hash-2", changedEvent(user, NOW + 5), null)).toBe("reset");
}

/** Written in bulk. @returns their ids, oldest first */
async function addAuthorizations(
  database: Database,
  user: User,
  count: number,
  userEpoch: number | null,
  id?: string,
): Promise<string[]> {
  const session = makeSession(user.uuid);
  const ids: string[] = [];
  const columns = `id, grant_type, client_id, subject, session_hash, scope, ip_address, user_agent, created_at, expires_at,
    generation, rotations, user_epoch`;
  for (let done = 0; done < count; done += 500) {
    const batch = Array.from({ length: Math.min(500, count - done) }, () => id ?? randomUUID());
    const rows = batch.map(() => "(?, 'authorization_code', 'portal', ?, ?, 'openid', '', '', ?, ?, 0, '', ?)");
    await database.change(
      `INSERT INTO oauth2_authorization (${columns}) VALUES ${rows.join(", ")}`,
      batch.flatMap((each, n) => [each, user.uuid, session.idHash, NOW + done + n, NOW + 30 * 24 * HOUR, userEpoch]),
    );
    ids.push(...batch);
  }
  return ids;
}

async function countStatements(database: Database, work: () => Promise<unknown>): Promise<number> {
  const { dataSource } = database;
  const { logger } = dataSource;
  let count = 0;
  const counter = Object.create(logger) as typeof logger;
  counter.logQuery = () => {
    count++;
  };
  dataSource.logger = counter;
  try {
    await work();
  } finally {
    dataSource.logger = logger;
  }
  return count;
}
