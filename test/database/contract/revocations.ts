import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { consentIn, NOW, type OpenedStore, register, signIn, signUp, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function revocationsContract(opened: () => OpenedStore): void {
  describe("revoked access tokens and consents", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("remembers revoked access tokens and consents", async () => {
      const jti = randomUUID();
      const told: string[] = [];
      const stop = store.revocations.onAppend((revocations) => told.push(...revocations.map(({ value }) => value)));
      await store.authorizations.revokeAccessToken(jti, NOW + 1000, NOW);
      await store.authorizations.revokeAccessToken(jti, NOW + 1000, NOW);
      stop();
      expect(told).toEqual([jti]);
      const feed = (await store.revocations.after(0, 10_000, NOW)).filter(({ value }) => value === jti);
      expect(feed).toEqual([
        {
          id: expect.any(Number),
          kind: "token",
          value: jti,
          epoch: null,
          revokedAt: NOW,
          expiresAt: expect.any(Number),
        },
      ]);
      expect(await store.revocations.after(feed[0]?.id ?? 0, 10, NOW)).toEqual([]);
      await register(store, "c");
      const user = await signUp(store);
      expect(await store.authorizations.findConsent(user.uuid, "c")).toBeNull();
      const session = await signIn(store, user);
      const add = (scope: string) => store.authorizations.addConsent(consentIn(session, "c", scope), NOW);
      expect(await times(5, () => add("openid"))).toEqual(Array(5).fill("saved"));
      expect(await add("profile")).toBe("saved");
      const foreign = { ...consentIn(session, "c", "email"), userId: (await signUp(store)).uuid };
      expect(await store.authorizations.addConsent(foreign, NOW)).toBe("session_ended");
      expect(await store.authorizations.findConsent(user.uuid, "c")).toBe("openid profile");
      const consent = { clientId: "c", scope: "openid profile", updatedAt: NOW };
      expect(await store.authorizations.listConsents(user.uuid)).toEqual([consent]);
    });
  });
}
