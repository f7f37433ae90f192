import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { LogoutNotice } from "../../../src/store/logout-notices.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  changedEvent,
  deletedEvent,
  hash,
  makeAuthorization,
  makeCode,
  makeSession,
  metadata,
  NOW,
  type OpenedStore,
  redemption,
  signIn,
  signUp,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function logoutNoticesContract(opened: () => OpenedStore): void {
  describe("logout notices", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    async function register(over: object): Promise<string> {
      const clientId = `notices-${randomUUID()}`;
      const registration = { clientId, metadata: { ...metadata, ...over }, source: "command", createdAt: NOW } as const;
      await store.clients.create({ ...registration, fileSecretHash: null }, null);
      return clientId;
    }

    /** An authorization of a new user at a client, and the session it was given in. */
    async function authorizationAt(clientId: string) {
      const user = await signUp(store);
      const session = await signIn(store, user);
      const code = makeCode(session, { clientId });
      await store.authorizations.createCode(code);
      const given = redemption(user, session);
      const authorization = makeAuthorization(user.uuid, { sessionHash: session.idHash, clientId });
      await store.authorizations.redeemCode(code.codeHash, { ...given, authorization }, NOW);
      return { user, session, sid: authorization.id };
    }

    const noticesAt = async (clientId: string, now: number): Promise<LogoutNotice[]> =>
      store.logoutNotices.due(clientId, now, 10_000);

    const withLogoutUri = { backchannel_logout_uri: "https://client.example/logout" };

    it("writes one notice where a session ends with an authorization, and calls the listener after the commit", async () => {
      const clientId = await register(withLogoutUri);
      const { user, session, sid } = await authorizationAt(clientId);
      expect(await noticesAt(clientId, NOW + 1)).toEqual([]);
      let calls = 0;
      const stop = store.logoutNotices.onAppend(() => calls++);
      await store.sessions.end(session.idHash, NOW + 1);
      await store.sessions.end(session.idHash, NOW + 1);
      expect(calls).toBe(1);
      stop();
      const notice = { id: expect.any(String), clientId, sid, sub: user.uuid, attempts: 0, createdAt: NOW + 1 };
      expect(await noticesAt(clientId, NOW + 1)).toEqual([notice]);
      const other = await authorizationAt(clientId);
      await store.sessions.end(other.session.idHash, NOW + 1);
      expect(calls).toBe(1);
    });

    it("F-31 gives what waits also after the clock was set back", async () => {
      const clientId = await register(withLogoutUri);
      const { session, sid } = await authorizationAt(clientId);
      await store.sessions.end(session.idHash, NOW);
      const sids = async (now: number) => (await noticesAt(clientId, now)).map((notice) => notice.sid);
      const [earlier, before] = [NOW - 2 * 3_600_000, NOW - 1];
      expect(await sids(earlier)).toEqual([sid]);
      const [{ id } = { id: "" }] = await noticesAt(clientId, NOW);
      await store.logoutNotices.failed(id, "away", NOW + 1_000);
      expect([await sids(before), await sids(NOW + 1_000), await sids(earlier)]).toEqual([[], [sid], [sid]]);
      expect(await store.logoutNotices.dueClients(earlier, "", 10_000)).toContain(clientId);
      await store.logoutNotices.delivered(id);
    });

    it("C-15 tells each application of each session that ends, of 660 sessions too", async () => {
      const clientId = await register(withLogoutUri);
      const user = await signUp(store);
      for (let n = 0; n < 600; n++) {
        const idHash = `0${hash().slice(1)}`;
        await store.sessions.create(makeSession(user.uuid, { idHash, lastSeenAt: NOW - 10 }));
      }
      const sids: string[] = [];
      // the last one was used before all others
      for (let n = 0; n < 60; n++) {
        const idHash = `f${hash().slice(1)}`;
        const session = makeSession(user.uuid, { idHash, lastSeenAt: n === 59 ? NOW - 20 : NOW });
        await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" });
        const code = makeCode(session, { clientId });
        await store.authorizations.createCode(code);
        const authorization = makeAuthorization(user.uuid, { sessionHash: idHash, clientId });
        await store.authorizations.redeemCode(code.codeHash, { ...redemption(user, session), authorization }, NOW);
        await store.authorizations.revoke(authorization.id, "revoked", NOW);
        sids.push(authorization.id);
      }
      await store.sessions.endAllOf(user.uuid, NOW + 1);
      expect((await noticesAt(clientId, NOW + 1)).map(({ sid }) => sid).sort()).toEqual(sids.sort());
    });

    it("writes a notice for every way to end a user's sessions, and none for a revoked authorization", async () => {
      const clientId = await register(withLogoutUri);
      type Given = Awaited<ReturnType<typeof authorizationAt>>;
      const logouts: ((given: Given) => Promise<unknown>)[] = [
        ({ session }) => store.sessions.end(session.idHash, NOW),
        ({ user }) => store.sessions.endAllOf(user.uuid, NOW),
        ({ user }) => store.users.setDisabled(user.uuid, true, NOW),
        ({ user }) => store.users.delete(user.uuid, deletedEvent(user)),
        ({ user }) => store.users.changePassword(user.uuid, { from: "hash-1", to: "other" }, changedEvent(user)),
      ];
      const ended: string[] = [];
      for (const logout of logouts) {
        const given = await authorizationAt(clientId);
        await logout(given);
        ended.push(given.sid);
      }
      await store.authorizations.revoke((await authorizationAt(clientId)).sid, "test", NOW);
      expect((await noticesAt(clientId, NOW)).map(({ sid }) => sid).sort()).toEqual(ended.sort());
    });

    it("writes none for a client without a back-channel URI, or disabled", async () => {
      const without = await register({});
      const disabled = await register(withLogoutUri);
      const sessions = [(await authorizationAt(without)).session, (await authorizationAt(disabled)).session];
      await store.clients.disable(disabled, "command", NOW);
      for (const session of sessions) await store.sessions.end(session.idHash, NOW);
      expect(await noticesAt(without, NOW)).toEqual([]);
      expect(await noticesAt(disabled, NOW)).toEqual([]);
    });

    it("returns the notices that are due, those never tried first, until each is delivered or given up", async () => {
      const clientId = await register(withLogoutUri);
      for (const at of [3, 1, 2]) {
        await store.sessions.end((await authorizationAt(clientId)).session.idHash, NOW + at);
      }
      const [first, second, third] = await noticesAt(clientId, NOW + 3);
      const times = [first, second, third].map((notice) => notice?.createdAt);
      expect(times.sort()).toEqual([NOW + 1, NOW + 2, NOW + 3]);
      await store.logoutNotices.delivered(first?.id ?? "");
      await store.logoutNotices.failed(second?.id ?? "", "the client answered 500", NOW + 1000);
      await store.logoutNotices.failed(third?.id ?? "", "the client answered 500".repeat(100), null);
      expect(await noticesAt(clientId, NOW + 999)).toEqual([]);
      expect(await noticesAt(clientId, NOW + 1000)).toEqual([{ ...second, attempts: 1 }]);
      const { session, sid } = await authorizationAt(clientId);
      await store.sessions.end(session.idHash, NOW + 1000);
      expect((await noticesAt(clientId, NOW + 1000)).map((notice) => notice.sid)).toEqual([sid, second?.sid]);
    });
  });
}
