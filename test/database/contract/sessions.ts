import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { CHECKED_EVERY } from "../../../src/database/redemption.ts";
import { UNKNOWN_ASKER, userSecurity } from "../../../src/events.ts";
import type { Session } from "../../../src/store/session.ts";
import { KEPT_SESSIONS } from "../../../src/store/sessions.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  busyUser,
  makeCode,
  makePushedRequest,
  makeSession,
  NOW,
  type OpenedStore,
  redemption,
  signIn,
  signUp,
  times,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function sessionsContract(opened: () => OpenedStore): void {
  describe("sessions", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

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
      expect(await store.sessions.latestRequest(after.idHash, NOW)).toEqual(moved);
      expect(await store.sessions.latestRequest(after.idHash, NOW + 1000)).toBeNull();
    });

    it("stores a login with its first code, or without it where the pushed request was used, or neither", async () => {
      const user = await signUp(store);
      const proof = { replaces: null, passwordHash: "hash-1" };
      const pushed = makePushedRequest();
      await store.pushedRequests.save(pushed);
      const answered = { hash: pushed.uriHash, mayRepeat: false };
      const login = async (passwordHash: string) => {
        const session = makeSession(user.uuid);
        const code = makeCode(session);
        const outcome = await store.sessions.signIn(session, { ...proof, passwordHash }, { code, pushed: answered });
        const found = await store.sessions.find(session.idHash, NOW);
        return [outcome, found !== null, (await store.authorizations.findCode(code.codeHash)) !== null];
      };
      expect(await login("hash-1")).toEqual(["signed_in", true, true]);
      expect(await login("hash-1")).toEqual(["without_code", true, false]);
      expect(await login("another hash")).toEqual(["refused", false, false]);
    });

    it("keeps the language of a sign-in that brings one, and the one of before otherwise", async () => {
      const user = await signUp(store, { language: "de-AT" });
      const proof = { replaces: null, passwordHash: "hash-1" };
      const after = async (language: object, passwordHash = "hash-1") => {
        await store.sessions.signIn(makeSession(user.uuid), { ...proof, passwordHash, ...language });
        return (await store.users.find(user.uuid))?.language;
      };
      expect(await after({})).toBe("de-AT");
      expect(await after({ language: "ko" }, "another hash")).toBe("de-AT");
      expect(await after({ language: "ko" })).toBe("ko");
      const session = await signIn(store, user);
      const code = makeCode(session);
      await store.authorizations.createCode(code, null);
      expect((await store.authorizations.findCodeWithUser(code.codeHash))?.user?.language).toBe("ko");
    });

    it("C-30 makes one session of 20 sign-ins with the same one, and takes none of another user for it", async () => {
      const user = await signUp(store);
      const session = makeSession(user.uuid);
      const proof = { replaces: session.idHash, passwordHash: "hash-1" };
      const outcomes = await times(20, () => store.sessions.signIn(session, proof));
      expect(new Set(outcomes)).toEqual(new Set(["signed_in"]));
      const stored = await store.sessions.listOfUser(user.uuid, NOW);
      expect(stored.map(({ idHash }) => idHash)).toEqual([session.idHash]);
      const foreign = { ...session, userId: (await signUp(store)).uuid };
      await expect(store.sessions.signIn(foreign, { ...proof, replaces: null })).rejects.toThrow();
    });

    it("raises a session that lives alone, once, whoever signs out meanwhile", async () => {
      const user = await signUp(store);
      const raise = async (from: Session, to = makeSession(user.uuid)) => {
        const proof = { replaces: from.idHash, raises: from.idHash, passwordHash: "hash-1" };
        const outcome = await store.sessions.signIn(to, proof).catch((error: { code?: string }) => error.code);
        return [outcome, (await store.sessions.find(to.idHash, NOW)) !== null];
      };
      const ended = await signIn(store, user);
      await store.sessions.end(ended.idHash, NOW);
      expect(await raise(ended)).toEqual(["login_required", false]);
      const foreign = await signIn(store, await signUp(store));
      expect(await raise(foreign)).toEqual(["login_required", false]);
      const session = await signIn(store, user);
      const to = makeSession(user.uuid);
      expect(await raise(session, to)).toEqual(["signed_in", true]);
      // the same form again: its session is there
      expect(await raise(session, to)).toEqual(["signed_in", true]);
      expect(await raise(session)).toEqual(["login_required", false]);
      for (let round = 0; round < 10; round++) {
        const from = await signIn(store, user);
        const outcomes = await times(4, () => raise(from));
        expect(outcomes.filter(([outcome]) => outcome === "signed_in")).toHaveLength(1);
      }
    });

    it("refuses a sign-in whose user has got other factors since they were looked at", async () => {
      const user = await signUp(store);
      const proof = { replaces: null, passwordHash: "hash-1", factorsGeneration: 0 };
      expect(await store.sessions.signIn(makeSession(user.uuid), proof)).toBe("signed_in");
      const event = userSecurity(user, { kind: "FACTOR_ADDED", detail: "totp" }, UNKNOWN_ASKER, NOW);
      await store.factors.addTotp(user.uuid, { sealedSecret: "sealed", step: 1 }, event);
      expect(await store.sessions.signIn(makeSession(user.uuid), proof)).toBe("refused");
      expect(await store.sessions.signIn(makeSession(user.uuid), { ...proof, factorsGeneration: 1 })).toBe("signed_in");
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

    it("C-02 keeps at most a thousand sessions of a user, and ends the least recently used with their authorizations", async () => {
      const user = await signUp(store);
      const idle = await signIn(store, user);
      const code = makeCode(idle);
      await store.authorizations.createCode(code);
      const given = redemption(user, idle);
      await store.authorizations.redeemCode(code.codeHash, given, NOW);
      const used = await signIn(store, user);
      for (let n = 0; n < KEPT_SESSIONS; n += 100) {
        await times(100, () => store.sessions.create({ ...makeSession(user.uuid), lastSeenAt: NOW + 60_000 }));
      }
      await store.sessions.touch(used.idHash, NOW + 60_001);
      for (let n = 0; n < CHECKED_EVERY; n++) {
        const session = { ...makeSession(user.uuid), lastSeenAt: NOW + 60_002 };
        expect(await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" })).toBe("signed_in");
      }
      const left = (await store.sessions.listOfUser(user.uuid, NOW)).length;
      expect(left).toBeGreaterThanOrEqual(KEPT_SESSIONS);
      expect(left).toBeLessThan(KEPT_SESSIONS + CHECKED_EVERY);
      expect(await store.sessions.find(used.idHash, NOW)).not.toBeNull();
      expect(await store.sessions.find(idle.idHash, NOW)).toBeNull();
      expect((await store.authorizations.find(given.authorization.id))?.revokedAt).not.toBeNull();
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
}
