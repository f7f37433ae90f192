import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import { emailVerification, UNKNOWN_ASKER, userSecurity } from "../../../src/events.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import { busyUser, changedEvent, hash, NOW, type OpenedStore, seqs, signUp, times } from "./fixtures.ts";

export function emailVerificationContract(opened: () => OpenedStore): void {
  describe("e-mail verifications", () => {
    let store: Store;
    let database: Database;
    beforeAll(() => {
      ({ store, database } = opened());
    });

    const linkOf = (user: User, email = user.email) => ({
      link: { tokenHash: hash(), userId: user.uuid, email, createdAt: NOW, expiresAt: NOW + 60_000 },
      event: emailVerification(
        { ...user, email },
        { token: "t", url: "http://localhost/v", expiresAt: NOW },
        UNKNOWN_ASKER,
        NOW,
      ),
    });
    const make = async (user: User, email = user.email) => {
      const { link, event } = linkOf(user, email);
      expect(await store.emailVerifications.create(link, event)).toBe(true);
      return link.tokenHash;
    };
    const redeem = (tokenHash: string, now = NOW) =>
      store.emailVerifications.redeem(
        tokenHash,
        (before) => userSecurity(before, { kind: "EMAIL_CHANGED", detail: "" }, UNKNOWN_ASKER, now),
        now,
      );
    const newAddress = () => `${randomUUID()}@example.com`;

    it("lets one of 50 callers verify an address, and tells the others that it is verified", async () => {
      const user = await signUp(store);
      const tokenHash = await make(user);
      const results = await times(50, () => redeem(tokenHash));
      expect(results.filter((result) => result === "now_verified")).toHaveLength(1);
      expect(results.filter((result) => result === "verified")).toHaveLength(49);
      expect(await store.users.find(user.uuid)).toMatchObject({ email: user.email, emailVerified: true });
      expect(await seqs(database, user)).toEqual([1, 2]);
    });

    it("gives the account its new address when that is verified, by the newest link alone, and tells the old one once", async () => {
      const user = await signUp(store);
      const [first, second] = [newAddress(), newAddress()];
      const [old, newest] = [await make(user, first), await make(user, second)];
      expect(await store.emailVerifications.pendingOf(user.uuid, NOW)).toBe(second);
      expect(await redeem(old)).toBe("replaced");
      expect((await store.users.find(user.uuid))?.email).toBe(user.email);
      const results = await times(20, () => redeem(newest));
      expect(results.filter((result) => result === "now_verified")).toHaveLength(1);
      expect(await store.users.find(user.uuid)).toMatchObject({ email: second, emailVerified: true });
      expect(await store.emailVerifications.pendingOf(user.uuid, NOW)).toBeNull();
      expect(await seqs(database, user)).toEqual([1, 2, 3, 4]);
      expect(await redeem(old)).toBe("replaced");
    });

    it("refuses links that are unknown, expired, or of an address that another account took", async () => {
      const [user, other] = [await signUp(store), await signUp(store)];
      expect(await redeem(hash())).toBeNull();
      const late = await make(user);
      expect(await redeem(late, NOW + 60_000)).toBe("expired");
      const taken = await make(user, other.email);
      expect(await redeem(taken)).toBe("email_taken");
      expect(await store.users.find(user.uuid)).toMatchObject({ email: user.email, emailVerified: false });
      await store.users.setDisabled(user.uuid, true, NOW);
      expect(await redeem(taken)).toBeNull();
      expect(await store.emailVerifications.create(linkOf(user).link, linkOf(user).event)).toBe(false);
      expect(await store.emailVerifications.create({ ...linkOf(user).link, userId: randomUUID() }, null)).toBe(false);
    });

    it("ends a link to another address with the password, and reset links with the address that they went to", async () => {
      const { user, reset } = await busyUser(store);
      const own = await make(user);
      const moving = await make(user, newAddress());
      const change = { from: "hash-1", to: "hash-2" };
      expect(await store.users.changePassword(user.uuid, change, changedEvent(user))).toBe("changed");
      expect(await redeem(moving)).toBe("replaced");
      expect(await redeem(own)).toBe("replaced");
      const again = await busyUser(store);
      expect(await redeem(await make(again.user, newAddress()))).toBe("now_verified");
      expect(await store.users.findPasswordReset(again.reset.tokenHash, NOW)).toBeNull();
      expect(await store.users.findPasswordReset(reset.tokenHash, NOW)).toBeNull();
    });

    it("makes the link of a sign-up with the account, in one transaction", async () => {
      const known = await signUp(store);
      const user = { ...known, uuid: randomUUID(), email: newAddress() };
      const verification = linkOf(user);
      const taken = { ...user, email: known.email };
      const event = verification.event;
      expect(await store.users.create(taken, "hash-1", event, verification)).toBe("email_taken");
      expect(await redeem(verification.link.tokenHash)).toBeNull();
      expect(await store.users.create(user, "hash-1", { ...event, eventId: randomUUID() }, verification)).toBe(
        "created",
      );
      expect(await redeem(verification.link.tokenHash)).toBe("now_verified");
      expect(await seqs(database, user)).toEqual([1, 2]);
    });
  });
}
