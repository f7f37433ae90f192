import { beforeAll, describe, expect, it } from "@jest/globals";
import { storeOn } from "../../../src/database/open-store.ts";
import { emailVerification, UNKNOWN_ASKER, userSignup } from "../../../src/events.ts";
import type { Store } from "../../../src/store/store.ts";
import { changedEvent, hash, makeUser, NOW, type OpenedStore, sealer, times } from "./fixtures.ts";

export function mailContract(opened: () => OpenedStore): void {
  describe("mail", () => {
    let store: Store;
    let silent: Store;
    let database: OpenedStore["database"];
    beforeAll(() => {
      ({ database } = opened());
      silent = storeOn(database, { sealer });
      store = storeOn(database, { sealer, sendsMail: true });
    });

    /** An account with the mail of its sign-up. @returns the mail's id */
    async function signUp(by: Store): Promise<string> {
      const user = makeUser();
      const link = { tokenHash: hash(), userId: user.uuid, email: user.email, createdAt: NOW, expiresAt: NOW + 1_000 };
      const mailed = { token: "t", url: "http://localhost/v?token=t", expiresAt: NOW + 1_000 };
      const event = emailVerification(user, mailed, UNKNOWN_ASKER, NOW);
      expect(await by.users.create(user, "hash-1", userSignup(user), { link, event })).toBe("created");
      return event.eventId;
    }

    it("is written with its event where the service sends mail, and gives each to one of many who ask", async () => {
      const ids = await times(12, () => signUp(store));
      const silentId = await signUp(silent);
      const claims = await times(20, () => store.mail.claim(NOW, NOW + 60_000, 12));
      const claimed = claims.flat();
      expect(claimed.map(({ eventId }) => eventId).sort()).toEqual(ids.sort());
      expect(claimed.map(({ eventId }) => eventId)).not.toContain(silentId);
      expect(claimed[0]?.event).toMatchObject({ eventType: "USER_EMAIL_VERIFICATION" });
      expect(await store.mail.claim(NOW + 59_000, NOW + 99_000, 12)).toEqual([]);
      // a replica that ended in the middle
      const again = await store.mail.claim(NOW + 60_000, NOW + 120_000, 12);
      expect(again.map(({ attempts }) => attempts)).toEqual(Array(12).fill(1));
      for (const { eventId } of again) await store.mail.sent(eventId, NOW + 60_000);
      expect(await store.mail.claim(NOW + 999_999, NOW + 999_999, 12)).toEqual([]);
    });

    it("comes again when it failed for now, and stays aside when it failed for good", async () => {
      const [later, never] = [await signUp(store), await signUp(store)];
      await store.mail.claim(NOW, NOW + 60_000, 12);
      await store.mail.failed(later, "greylisted", NOW + 5_000);
      const { parked } = await store.mail.stats();
      await store.mail.failed(never, "no such user", null);
      expect((await store.mail.stats()).parked).toBe(parked + 1);
      // what the clean-up deletes a week later
      const due = await database.rows("SELECT event_id FROM mail WHERE sent_at < ? AND event_id = ?", [NOW + 1, never]);
      expect(due).toHaveLength(1);
      expect((await store.mail.claim(NOW + 5_000, NOW + 60_000, 12)).map(({ eventId }) => eventId)).toEqual([later]);
      await store.mail.sent(later, NOW);
    });

    it("F-31 gives what waits also after the clock was set back", async () => {
      const id = await signUp(store);
      const claim = async (now: number) =>
        (await store.mail.claim(now, now + 60_000, 12)).map(({ eventId }) => eventId);
      const earlier = NOW - 3_600_000;
      expect(await claim(earlier)).toEqual([id]);
      await store.mail.failed(id, "away", NOW + 1_000);
      expect(await claim(NOW)).toEqual([]);
      expect(await claim(earlier)).toEqual([id]);
      await store.mail.sent(id, NOW);
    });

    it("is deleted unsent after a time where no mail is sent any more", async () => {
      const [old, fresh] = [await signUp(store), await signUp(store)];
      await database.change("UPDATE mail SET created_at = ? WHERE event_id = ?", [NOW - 10, old]);
      const waiting = await store.mail.leave(NOW - 5);
      expect(waiting).toBeGreaterThan(0);
      const claimed = await store.mail.claim(NOW, NOW + 60_000, 1_000);
      const ids = claimed.map(({ eventId }) => eventId);
      expect([ids.includes(old), ids.includes(fresh)]).toEqual([false, true]);
      for (const id of ids) await store.mail.sent(id, NOW);
      expect(await store.mail.leave(NOW - 5)).toBe(0);
    });

    it("calls its listeners after the commit, and not for a change that did not happen", async () => {
      let told = 0;
      const stop = store.mail.onAppend(() => told++);
      const user = makeUser();
      expect(await store.users.changePassword(user.uuid, { from: "a", to: "b" }, changedEvent(user))).toBe("lost");
      expect(told).toBe(0);
      const id = await signUp(store);
      stop();
      expect(told).toBe(1);
      await store.mail.sent(id, NOW);
    });
  });
}
