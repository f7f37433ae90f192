import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { Authorization, NewAuthorizationCode } from "../../../src/store/authorizations.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  busyUser,
  makeCode,
  makeSession,
  NOW,
  type OpenedStore,
  redemption,
  register,
  seqs,
  signIn,
  signUp,
  times,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function authorizationsContract(opened: () => OpenedStore): void {
  describe("codes and authorizations", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

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
      await register(store, "album", "portal", "over");
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
      expect(await store.sessions.listOfUser(user.uuid, NOW)).toEqual([
        second,
        { ...session, lastSeenAt: expect.any(Number) },
      ]);
      expect(await store.sessions.listOfUser(user.uuid, session.expiresAt)).toEqual([]);
    });
  });
}
