import { randomBytes, randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { keysFor } from "../../../src/crypto/keys-for.ts";
import { Sealer } from "../../../src/crypto/sealing.ts";
import { storeOn } from "../../../src/database/open-store.ts";
import type { Database } from "../../../src/database/transaction.ts";
import type { Store } from "../../../src/store/store.ts";
import { DAY, makeCode, NOW, type OpenedStore, redemption, seqs, signIn, signUp, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function outboxContract(opened: () => OpenedStore): void {
  describe("outbox", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    it("C-84 deletes parked events on command, and no others", async () => {
      const [parked, pending] = [await signUp(store), await signUp(store)];
      const ids = async (user: { uuid: string }) =>
        (await store.outbox.list(null, 100_000))
          .filter(({ userId }) => userId === user.uuid)
          .map(({ eventId }) => eventId);
      const [[lost = ""], [kept = ""]] = [await ids(parked), await ids(pending)];
      const owner = randomUUID();
      const lease = await store.leases.acquire(`lane-${owner}`, owner, 60_000);
      if (lease === null) throw new Error("no lease");
      await store.outbox.park(lease, lost, "poison");
      expect(await store.outbox.discard([])).toBe(0);
      expect(await store.outbox.discard([lost, kept])).toBe(1);
      expect([await ids(parked), await ids(pending)]).toEqual([[], [kept]]);
    });

    it("puts back and deletes more parked events than one statement is about, and no others", async () => {
      const userId = randomUUID();
      const park = async (count: number) => {
        for (let from = 0; from < count; from += 100) {
          const some = Math.min(100, count - from);
          const row = "(?, 'USER_LOGIN', ?, ?, 3, 'parked', 5, 'sealed', 'poison', ?)";
          await database.change(
            `INSERT INTO outbox (event_id, event_type, user_id, seq, lane, status, attempts, payload, reason, created_at)
             VALUES ${Array(some).fill(row).join(", ")}`,
            // many of one moment
            Array.from({ length: some }, (_, n) => [randomUUID(), userId, from + n + 1, NOW + ((from + n) % 2)]).flat(),
          );
        }
      };
      const count = async (status: string) => {
        const sql = "SELECT COUNT(*) AS n FROM outbox WHERE user_id = ? AND status = ?";
        return Number((await database.rows<{ n: number }>(sql, [userId, status]))[0]?.n);
      };
      await store.outbox.discard(null);
      await park(1_201);
      expect(await store.outbox.retry(null)).toBe(1_201);
      expect([await count("pending"), await count("parked")]).toEqual([1_201, 0]);
      await database.change("DELETE FROM outbox WHERE user_id = ?", [userId]);
      await park(1_201);
      const ids = await database.rows<{ event_id: string }>("SELECT event_id FROM outbox WHERE user_id = ?", [userId]);
      expect(await store.outbox.discard(ids.slice(0, 700).map(({ event_id }) => event_id))).toBe(700);
      expect(await store.outbox.discard(null)).toBe(501);
      expect(await count("parked")).toBe(0);
    });

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
      const queue = { lane, eventType: "USER_LOGIN" } as const;
      const mine = async (limit: number) =>
        (await store.outbox.pending(queue, limit, null)).entries.filter(({ userId }) => userId === user.uuid);
      expect((await mine(3)).map(({ seq }) => seq)).toEqual([2, 3, 4]);
      const [first, second] = await mine(100);
      expect(first?.event).toMatchObject({ eventType: "USER_LOGIN", payload: { uuid: user.uuid } });
      const owner = randomUUID();
      const lease = await store.leases.acquire(`lane-${owner}`, owner, 60_000);
      if (lease === null || first === undefined || second === undefined) throw new Error("no lease or no events");
      const stale = { ...lease, epoch: lease.epoch + 1 };
      expect(await store.outbox.markSent(stale, [first.eventId], NOW)).toBe(false);
      expect(await store.outbox.park(stale, first.eventId, "poison")).toBe(false);
      expect(await mine(100)).toHaveLength(4);
      await store.outbox.countAttempt([first.eventId]);
      expect((await mine(100))[0]?.attempts).toBe(1);
      expect(await store.outbox.markSent(lease, [first.eventId], NOW)).toBe(true);
      expect(await store.outbox.park(lease, second.eventId, "poison")).toBe(true);
      expect((await mine(100)).map(({ seq }) => seq)).toEqual([4, 5]);
      const [sent] = await database.rows("SELECT payload FROM outbox WHERE event_id = ?", [first.eventId]);
      expect(sent).toEqual({ payload: "" });
      expect((await store.outbox.list("parked", 100)).map(({ reason }) => reason)).toContain("poison");
      expect((await store.outbox.stats()).parked).toBe(1);
      // C-84: what is parked alone
      expect(await store.outbox.discard([first.eventId])).toBe(0);
      expect(await store.outbox.retry([second.eventId])).toBe(1);
      expect((await mine(100)).map(({ seq }) => seq)).toEqual([3, 4, 5]);
      expect(await store.outbox.retry(null)).toBe(0);
    });

    it("hands out an event that cannot be opened as the error it is", async () => {
      const user = await signUp(store);
      const other = storeOn(database, { sealer: new Sealer(keysFor("sealing", [randomBytes(32)])) });
      const pages = await times(16, (lane) => other.outbox.pending({ lane, eventType: "USER_SIGNUP" }, 10_000, null));
      const entry = pages.flatMap(({ entries }) => entries).find(({ userId }) => userId === user.uuid);
      expect(entry?.event).toBeInstanceOf(Error);
    });

    it("C-09 gives each topic's events by themselves, page after page", async () => {
      const user = await signUp(store);
      const session = await signIn(store, user);
      for (let n = 0; n < 7; n++) {
        const code = makeCode(session);
        await store.authorizations.createCode(code);
        await store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW);
      }
      const [{ lane = 0 } = {}] = await database.rows<{ lane: number }>(
        "SELECT lane FROM outbox WHERE user_id = ? LIMIT 1",
        [user.uuid],
      );
      const waiting = (await store.outbox.queues()).filter((queue) => queue.lane === lane);
      expect(waiting.map(({ eventType }) => eventType)).toEqual(expect.arrayContaining(["USER_LOGIN", "USER_SIGNUP"]));
      const logins = { lane, eventType: "USER_LOGIN" } as const;
      const first = await store.outbox.pending(logins, 1_000, null);
      const mine = first.entries.filter(({ userId }) => userId === user.uuid);
      expect(mine.map(({ seq }) => seq)).toEqual([2, 3, 4, 5, 6, 7, 8]);
      expect(first.entries.every(({ eventType }) => eventType === "USER_LOGIN")).toBe(true);
      // a user who is held back hides nobody behind them
      const others = new Set(first.entries.map(({ userId }) => userId).filter((id) => id !== user.uuid));
      const seen = new Set<string>();
      const held = new Set([user.uuid]);
      for (let page = await store.outbox.pending(logins, 3, null); ; ) {
        for (const { userId } of page.entries) if (userId !== user.uuid) seen.add(userId);
        if (page.isLast || page.end === null) break;
        page = await store.outbox.pending(logins, 3, { end: page.end, users: held });
        expect(page.entries.some(({ userId }) => userId === user.uuid)).toBe(false);
      }
      expect(seen).toEqual(others);
    });
  });
}
