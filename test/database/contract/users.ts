import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { hashOf } from "../../../src/crypto/hashes.ts";
import type { Database } from "../../../src/database/transaction.ts";
import { userSignup } from "../../../src/events.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User, UserWithPassword } from "../../../src/store/users.ts";
import {
  busyUser,
  changedEvent,
  consentIn,
  DAY,
  deletedEvent,
  expectAllEnded,
  hash,
  losesNextCommit,
  makeSession,
  makeUser,
  NOW,
  type OpenedStore,
  register,
  resetEvent,
  seqs,
  signUp,
  times,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function usersContract(opened: () => OpenedStore): void {
  describe("users", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    const signingIn = {
      passwordHash: "hash-1",
      passwordGeneration: hashOf("hash-1"),
      signedInAt: null,
      closedAt: null,
      hasPassword: true,
      factorsGeneration: 0,
    };

    it("answers a change of the password and a reset alike where the answer to COMMIT was lost", async () => {
      const user = await signUp(store);
      losesNextCommit(database);
      const change = { from: "hash-1", to: "hash-2" };
      expect(await store.users.changePassword(user.uuid, change, changedEvent(user))).toBe("changed");
      expect(await store.users.changePassword(user.uuid, { from: "hash-1", to: "hash-3" }, changedEvent(user))).toBe(
        "lost",
      );
      const link = { tokenHash: hash(), userId: user.uuid, createdAt: NOW, expiresAt: NOW + DAY };
      await store.users.createPasswordReset(link, resetEvent(user));
      const redeem = (to: string) => store.users.redeemPasswordReset(link.tokenHash, to, changedEvent(user), null);
      losesNextCommit(database);
      expect(await redeem("hash-4")).toBe("reset");
      expect(await redeem("hash-4")).toBe("invalid");
      expect(await seqs(database, user)).toEqual([1, 2, 3, 4]);
    });

    it("keeps the claims that others set when some are changed", async () => {
      const user = await signUp(store);
      const claims = { name: "A", website: "https://a.example" };
      await store.users.update(user.uuid, () => ({ claims }), NOW);
      await Promise.all([
        store.users.update(
          user.uuid,
          ({ claims: { website: _, ...others } }) => ({ claims: { ...others, name: "B" } }),
          NOW,
        ),
        store.users.update(user.uuid, ({ claims }) => ({ claims: { ...claims, locale: "ko" } }), NOW),
      ]);
      expect((await store.users.find(user.uuid))?.claims).toEqual({ name: "B", locale: "ko" });
    });

    it("makes one account of 50 sign-ups with the same address at once", async () => {
      const email = `${randomUUID()}@example.com`;
      const users = Array.from({ length: 50 }, () => makeUser({ email }));
      const results = await Promise.all(users.map((user) => store.users.create(user, "hash-1", userSignup(user))));
      expect(results.filter((result) => result === "created")).toHaveLength(1);
      expect(results.filter((result) => result === "email_taken")).toHaveLength(49);
      const winner = users[results.indexOf("created")] as User;
      expect(await store.users.findByEmail(email)).toEqual({ ...winner, ...signingIn });
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

    it("finds by address or id the user whose password is checked, and tells whether its guesses are used up, also for an unknown one", async () => {
      const user = await signUp(store);
      const known = { ...user, ...signingIn };
      const key = `guesses ${user.uuid}`;
      const look = { key, limit: 2, windowMs: 1_000, now: NOW };
      const unknown = { email: `nobody-${randomUUID()}@example.com` };
      for (const account of [{ email: user.email }, { uuid: user.uuid }]) {
        expect(await store.users.findToCheck(account, look)).toEqual({ found: known, usedUpUntil: null });
      }
      await times(2, () => store.limits.take(key, 2, 1_000, NOW));
      expect(await store.users.findToCheck({ uuid: user.uuid }, look)).toEqual({
        found: known,
        usedUpUntil: NOW + 1_000,
      });
      expect(await store.users.findToCheck(unknown, look)).toEqual({ found: null, usedUpUntil: NOW + 1_000 });
      const later = { ...look, now: NOW + 1_000 };
      expect(await store.users.findToCheck(unknown, later)).toEqual({ found: null, usedUpUntil: null });
    });

    it("tells addresses apart by every letter", async () => {
      const user = await signUp(store, { email: `é-${randomUUID()}@example.com` });
      expect(await store.users.findByEmail(user.email.replace("é", "e"))).toBeNull();
      expect(await store.users.findByEmail(user.email)).not.toBeNull();
    });

    it("C-84 lists users by a part of their address, which is taken as it is written, page by page", async () => {
      const part = randomUUID();
      const users: User[] = [];
      for (const name of ["a%", "b", "é"]) users.push(await signUp(store, { email: `${name}-${part}@example.com` }));
      const found = async (emailPart: string, after: User | null = null) =>
        (await store.users.list(after, 100, emailPart)).map(({ email }) => email);
      const emails = users.toSorted((a, b) => a.uuid.localeCompare(b.uuid)).map(({ email }) => email);
      expect(await found(`-${part}@`)).toEqual(emails);
      const first = users.find(({ email }) => email === emails[0]) as User;
      expect(await found(part, first)).toEqual(emails.slice(1));
      expect(await found(`%-${part}`)).toEqual([`a%-${part}@example.com`]);
      expect(await found(`e-${part}`)).toEqual([]);
    });

    it("changes profile and roles, lists by creation, and pages without a gap", async () => {
      const users: User[] = [];
      for (const offset of [3, 1, 2]) users.push(await signUp(store, { createdAt: NOW - 100 * DAY + offset }));
      const first = await store.users.list(null, 2);
      const second = await store.users.list(first[1] as User, 1);
      expect([...first, ...second].map(({ uuid }) => uuid)).toEqual([1, 2, 0].map((i) => users[i]?.uuid));
      const uuid = first[0]?.uuid as string;
      const changed = await store.users.update(uuid, () => ({ nickname: "Zoë 🦊", roles: ["ROLE_ADMIN"] }), NOW);
      expect(changed).toMatchObject({ nickname: "Zoë 🦊", roles: ["ROLE_ADMIN"], emailVerified: false });
      expect(await store.users.find(uuid)).toEqual(changed);
      expect(await store.users.update(uuid, () => ({ emailVerified: true }), NOW)).toEqual({
        ...changed,
        emailVerified: true,
      });
      expect(await store.users.update(randomUUID(), () => ({ nickname: "x" }), NOW)).toBeNull();
      expect(await store.users.findMany([uuid, randomUUID()])).toHaveLength(1);
    });

    it("keeps the generation of a password that is hashed again, however often, and of no other", async () => {
      const { uuid } = await signUp(store);
      const found = async () => (await store.users.findWithPassword(uuid)) as UserWithPassword;
      const first = await found();
      expect(await store.users.rehash({ ...first, passwordHash: "other" }, "lost")).toBe(false);
      expect(await store.users.rehash(first, "hash-2")).toBe(true);
      const second = await found();
      expect(second).toMatchObject({ passwordHash: "hash-2", passwordGeneration: first.passwordGeneration });
      expect(await store.users.rehash(second, "hash-3")).toBe(true);
      expect(await found()).toMatchObject({ passwordHash: "hash-3", passwordGeneration: first.passwordGeneration });
      await store.users.changePassword(uuid, { from: "hash-3", to: "hash-4" }, changedEvent(first, NOW));
      const changed = await found();
      expect(changed.passwordHash).toBe("hash-4");
      expect(changed.passwordGeneration).not.toBe(first.passwordGeneration);
      await store.users.rehash(changed, "hash-5");
      expect((await found()).passwordGeneration).toBe(changed.passwordGeneration);
    });

    it("ends everything when the password is changed", async () => {
      const busy = await busyUser(store);
      expect(
        await store.users.changePassword(
          busy.user.uuid,
          { from: "wrong", to: "hash-2" },
          changedEvent(busy.user, NOW + 5),
        ),
      ).toBe("lost");
      expect(await store.sessions.find(busy.session.idHash, NOW)).not.toBeNull();
      expect(
        await store.users.changePassword(
          busy.user.uuid,
          { from: "hash-1", to: "hash-2" },
          changedEvent(busy.user, NOW + 5),
        ),
      ).toBe("changed");
      await expectAllEnded(store, database, busy);
      const late = makeSession(busy.user.uuid);
      expect(await store.sessions.signIn(late, { replaces: null, passwordHash: "hash-1" })).toBe("refused");
    });

    it("ends everything when the user is disabled, and nothing starts until enabled", async () => {
      const busy = await busyUser(store);
      expect(await store.users.setDisabled(busy.user.uuid, true, NOW + 5)).toBe(true);
      await expectAllEnded(store, database, busy);
      const session = makeSession(busy.user.uuid);
      expect(
        await store.sessions.signIn(session, {
          replaces: null,
          passwordHash: "hash-1",
        }),
      ).toBe("refused");
      expect((await store.users.find(busy.user.uuid))?.disabledAt).toBe(NOW + 5);
      await store.users.setDisabled(busy.user.uuid, false, NOW + 6);
      expect(
        await store.sessions.signIn(session, {
          replaces: null,
          passwordHash: "hash-1",
        }),
      ).toBe("signed_in");
    });

    it("deletes a user with everything but the events still to be told", async () => {
      const busy = await busyUser(store);
      expect(await store.authorizations.addConsent(consentIn(busy.session, "portal", "openid"), NOW)).toBe("saved");
      expect(await store.users.delete(busy.user.uuid, deletedEvent(busy.user, NOW + 5))).toBe(true);
      await expectAllEnded(store, database, busy);
      expect(await store.users.find(busy.user.uuid)).toBeNull();
      expect(await store.authorizations.findConsent(busy.user.uuid, "portal")).toBeNull();
      expect(await seqs(database, busy.user)).toEqual([1, 2, 3, 4]);
      expect(await store.users.delete(busy.user.uuid, deletedEvent(busy.user, NOW + 5))).toBe(false);
    });

    it("C-40 forgets every consent when the password is reset, keeps them when it is changed, and takes none after either", async () => {
      await register(store, "portal");
      const [reset, changed] = [await busyUser(store), await busyUser(store)];
      const consented = ({ user }: typeof reset) => store.authorizations.findConsent(user.uuid, "portal");
      for (const { session } of [reset, changed]) {
        const consent = consentIn(session, "portal", "openid");
        expect(await store.authorizations.addConsent(consent, NOW)).toBe("saved");
      }
      expect(
        await store.users.redeemPasswordReset(reset.reset.tokenHash, "hash-2", changedEvent(reset.user, NOW + 5), null),
      ).toBe("reset");
      expect(
        await store.users.changePassword(
          changed.user.uuid,
          { from: "hash-1", to: "hash-2" },
          changedEvent(changed.user, NOW + 5),
        ),
      ).toBe("changed");
      for (const { session } of [reset, changed]) {
        const late = consentIn(session, "portal", "openid profile");
        expect(await store.authorizations.addConsent(late, NOW + 6)).toBe("session_ended");
      }
      expect([await consented(reset), await consented(changed)]).toEqual([null, "openid"]);
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
      const results = await times(20, (index) =>
        store.users.redeemPasswordReset(fresh, `new-${index}`, changedEvent(user), null),
      );
      expect(results.filter((result) => result === "reset")).toHaveLength(1);
      expect(await store.users.redeemPasswordReset(old, "x", changedEvent(user), null)).toBe("invalid");
      expect(await seqs(database, user)).toEqual([1, 2, 3, 4]);
    });
  });
}
