import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { userLogin, userSignup } from "../../../src/events.ts";
import type { NewDeviceCode } from "../../../src/store/device-codes.ts";
import type { Session } from "../../../src/store/session.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import {
  changedEvent,
  deletedEvent,
  hash,
  makeAuthorization,
  makeDeviceCode,
  makeSession,
  makeUser,
  NOW,
  type OpenedStore,
  times,
} from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function deviceCodesContract(opened: () => OpenedStore): void {
  describe("device codes", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    async function openedCode(): Promise<{ code: NewDeviceCode; user: User; session: Session }> {
      const user = makeUser();
      await store.users.create(user, "hash", userSignup(user));
      const session = makeSession(user.uuid);
      await store.sessions.create(session);
      const code = makeDeviceCode();
      expect(await store.deviceCodes.save(code, 5_000)).toBe("saved");
      const by = { idHash: session.idHash, userId: user.uuid, authTime: NOW, methods: ["pwd"] };
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
      expect(await store.deviceCodes.poll(code.deviceCodeHash, 5_000, NOW + interval - 1_001)).toBe("too_fast");
      expect(await store.deviceCodes.poll(code.deviceCodeHash, 5_000, NOW + 2 * interval + 5_000)).toBe("in_time");
    });

    it("S-148 lets only the session that opened a code decide, once", async () => {
      const { code, user, session } = await openedCode();
      const other = makeSession(user.uuid);
      await store.sessions.create(other);
      const by = { idHash: other.idHash, userId: user.uuid, authTime: NOW, methods: ["pwd"] };
      expect(await store.deviceCodes.open(code.userCodeHash, by, NOW)).toBe("opened_elsewhere");
      expect(await store.deviceCodes.decide(code.userCodeHash, other.idHash, true, NOW)).toBe("opened_elsewhere");
      const answers = await times(10, () => store.deviceCodes.decide(code.userCodeHash, session.idHash, true, NOW));
      expect(answers.filter((answer) => answer === "decided")).toHaveLength(1);
      expect(await store.deviceCodes.decide(code.userCodeHash, session.idHash, false, NOW)).toBe("over");
      expect(await store.deviceCodes.find(code.deviceCodeHash)).toMatchObject({ allowedAt: NOW, deniedAt: null });
    });

    it("C-30 tells the user who decided what they decided, until it is revoked, and others nothing", async () => {
      const [allowed, denied, waiting] = [await openedCode(), await openedCode(), await openedCode()];
      await store.deviceCodes.decide(allowed.code.userCodeHash, allowed.session.idHash, true, NOW);
      await store.deviceCodes.decide(denied.code.userCodeHash, denied.session.idHash, false, NOW);
      const decisionOf = ({ code, user }: typeof allowed, by = user) =>
        store.deviceCodes.findDecision(code.userCodeHash, by.uuid);
      expect([await decisionOf(allowed), await decisionOf(denied)]).toEqual(["allowed", "denied"]);
      expect([await decisionOf(waiting), await decisionOf(allowed, denied.user)]).toEqual([null, null]);
      await store.sessions.end(allowed.session.idHash, NOW);
      expect(await decisionOf(allowed)).toBeNull();
    });

    it("S-147 redeems an allowed code for exactly one of 20 callers, and again for the same attempt", async () => {
      const { code, user, session } = await openedCode();
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
      const causes: ((of: Awaited<ReturnType<typeof openedCode>>) => Promise<unknown>)[] = [
        ({ session }) => store.sessions.end(session.idHash, NOW),
        ({ user }) => store.sessions.endAllOf(user.uuid, NOW),
        ({ user }) => store.users.setDisabled(user.uuid, true, NOW),
        ({ user }) => store.users.delete(user.uuid, deletedEvent(user)),
        ({ user }) => store.users.changePassword(user.uuid, { from: "hash", to: "other" }, changedEvent(user)),
        ({ user }) => store.authorizations.withdrawConsent(user.uuid, "tv", NOW),
      ];
      for (const cause of causes) {
        const of = await openedCode();
        await store.deviceCodes.decide(of.code.userCodeHash, of.session.idHash, true, NOW);
        await cause(of);
        expect((await store.deviceCodes.find(of.code.deviceCodeHash))?.revokedAt).toBe(NOW);
        expect(await store.deviceCodes.redeem(of.code.deviceCodeHash, redemptionOf(of.user), NOW)).toBe("refused");
      }
    });

    it("refuses what is expired, and a session that is over", async () => {
      const { code, user, session } = await openedCode();
      const late = code.expiresAt + 1;
      expect(await store.deviceCodes.decide(code.userCodeHash, session.idHash, true, late)).toBe("over");
      await store.deviceCodes.decide(code.userCodeHash, session.idHash, true, NOW);
      expect(await store.deviceCodes.redeem(code.deviceCodeHash, redemptionOf(user), late)).toBe("refused");
      const gone = { idHash: hash(), userId: user.uuid, authTime: NOW, methods: ["pwd"] };
      expect(await store.deviceCodes.open(hash(), gone, NOW)).toBe("session_ended");
      expect(await store.deviceCodes.decide(hash(), gone.idHash, true, NOW)).toBe("session_ended");
    });
  });
}
