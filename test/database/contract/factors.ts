import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import { type SecurityKind, UNKNOWN_ASKER, userSecurity, userSignup } from "../../../src/events.ts";
import type { Passkey, PasskeyUse } from "../../../src/store/factors.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import { changedEvent, deletedEvent, hash, NOW, type OpenedStore, seqs, signUp, times } from "./fixtures.ts";

export function factorsContract(opened: () => OpenedStore): void {
  describe("factors", () => {
    let store: Store;
    let database: Database;
    beforeAll(() => {
      ({ store, database } = opened());
    });

    const told = (user: User, kind: SecurityKind = "FACTOR_ADDED", now = NOW) =>
      userSecurity(user, { kind, detail: "" }, UNKNOWN_ASKER, now);
    const withTotp = async () => {
      const user = await signUp(store);
      expect(await store.factors.addTotp(user.uuid, { sealedSecret: "sealed", step: 10 }, told(user))).toBe(true);
      return user;
    };
    const passkeyOf = (user: User, over: Partial<Passkey> = {}): Passkey => ({
      credentialId: `id-${hash()}`,
      userId: user.uuid,
      publicKey: "key",
      signCount: 0,
      transports: ["internal"],
      isSynced: true,
      name: "Phone",
      createdAt: NOW,
      lastUsedAt: null,
      ...over,
    });
    const useOf = (passkey: Passkey, over: Partial<PasskeyUse> = {}): PasskeyUse => ({
      credentialId: passkey.credentialId,
      signCount: 0,
      challengeHash: hash(),
      expiresAt: NOW + 60_000,
      attempt: hash(),
      ...over,
    });
    const withPasskey = async (over: Partial<Passkey> = {}) => {
      const user = await signUp(store);
      const passkey = passkeyOf(user, over);
      expect(await store.factors.addPasskey(passkey, told(user))).toBe(true);
      return { user, passkey };
    };
    const generation = async (user: User) => (await store.users.findWithPassword(user.uuid))?.factorsGeneration;

    it("keeps one authenticator app a user, and tells of it once", async () => {
      const user = await withTotp();
      expect(await generation(user)).toBe(1);
      expect(await store.factors.addTotp(user.uuid, { sealedSecret: "other", step: 11 }, told(user))).toBe(false);
      expect(await store.factors.find(user.uuid)).toEqual({
        totp: { sealedSecret: "sealed", createdAt: NOW },
        passkeys: [],
        recoveryCodes: 0,
      });
      expect(await generation(user)).toBe(1);
      expect(await seqs(database, user)).toEqual([1, 2]);
    });

    it("lets one of 50 callers use a step, never an earlier one, and the same form again", async () => {
      const user = await withTotp();
      const results = await times(50, (index) => store.factors.useTotpStep(user.uuid, 12, `form-${index}`));
      expect(results.filter(Boolean)).toHaveLength(1);
      const winner = `form-${results.indexOf(true)}`;
      expect(await store.factors.useTotpStep(user.uuid, 12, winner)).toBe(true);
      expect(await store.factors.useTotpStep(user.uuid, 11, winner)).toBe(false);
      expect(await store.factors.useTotpStep(user.uuid, 10, "other")).toBe(false);
      expect(await store.factors.useTotpStep(user.uuid, 13, "other")).toBe(true);
    });

    it("lets one of 50 callers use a recovery code, tells of it once, and knows the form that used it for a minute", async () => {
      const user = await withTotp();
      const [code, other] = [hash(), hash()];
      expect(await store.factors.setRecoveryCodes(user.uuid, [code, other], NOW)).toBe(true);
      const use = (attempt: string, now = NOW) =>
        store.factors.useRecoveryCode(user.uuid, code, attempt, told(user, "RECOVERY_CODE_USED", now));
      const results = await times(50, (index) => use(`form-${index}`));
      expect(results.filter(Boolean)).toHaveLength(1);
      const winner = `form-${results.indexOf(true)}`;
      expect(await use(winner, NOW + 59_000)).toBe(true);
      expect(await use(winner, NOW + 61_000)).toBe(false);
      expect((await store.factors.find(user.uuid)).recoveryCodes).toBe(1);
      expect(await seqs(database, user)).toEqual([1, 2, 3]);
      const stranger = await signUp(store);
      expect(await store.factors.useRecoveryCode(stranger.uuid, other, "x", told(stranger))).toBe(false);
      expect(await store.factors.setRecoveryCodes(user.uuid, [hash()], NOW)).toBe(true);
      expect(await store.factors.useRecoveryCode(user.uuid, other, "x", told(user))).toBe(false);
    });

    it("finds a passkey by its id, and takes a counter that rises alone", async () => {
      const { passkey } = await withPasskey({ signCount: 5, credentialId: "x".repeat(1300) });
      expect(await store.factors.findPasskey(passkey.credentialId)).toEqual(passkey);
      expect(await store.factors.findPasskey("unknown")).toBeNull();
      const use = (signCount: number) => store.factors.usePasskey(useOf(passkey, { signCount }), NOW + 1);
      expect(await use(5)).toBe("refused");
      expect(await use(0)).toBe("refused");
      expect(await use(6)).toBe("used");
      expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({
        signCount: 6,
        lastUsedAt: NOW + 1,
      });
      const uncounted = await withPasskey();
      expect(await store.factors.usePasskey(useOf(uncounted.passkey), NOW)).toBe("used");
      expect(await store.factors.usePasskey(useOf(uncounted.passkey), NOW)).toBe("used");
    });

    it("lets one of 50 forms bring the answer to a challenge, and knows that form for a minute", async () => {
      for (const signCount of [0, 7]) {
        const { passkey } = await withPasskey();
        const one = useOf(passkey, { signCount });
        const use = (attempt: string, now = NOW) => store.factors.usePasskey({ ...one, attempt }, now);
        const results = await times(50, (index) => use(`form-${index}`));
        expect(results.filter((result) => result === "used")).toHaveLength(1);
        const winner = `form-${results.indexOf("used")}`;
        expect(await use(winner, NOW + 59_000)).toBe("used");
        expect(await use(winner, NOW + 61_000)).not.toBe("used");
        expect(await use("another", NOW)).not.toBe("used");
        expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({ signCount, lastUsedAt: NOW });
      }
    });

    it("makes an account with a passkey and no password, once", async () => {
      const user: User = { ...(await signUp(store)), uuid: randomUUID(), email: `${hash()}@example.test` };
      const passkey = passkeyOf(user);
      const create = () => store.users.create(user, "none", userSignup(user, ""), undefined, passkey);
      expect(await create()).toBe("created");
      expect(await create()).toBe("created");
      expect(await store.users.findWithPassword(user.uuid)).toMatchObject({ hasPassword: false, factorsGeneration: 1 });
      expect((await store.factors.find(user.uuid)).passkeys).toEqual([passkey]);
      const change = { from: "none", to: "a hash" };
      expect(await store.users.changePassword(user.uuid, change, changedEvent(user, NOW))).toBe("changed");
      expect(await store.users.findWithPassword(user.uuid)).toMatchObject({ hasPassword: true });
      const second = { ...user, uuid: randomUUID(), email: `${hash()}@example.test` };
      const stolen = passkeyOf(second, { credentialId: passkey.credentialId });
      expect(await store.users.create(second, "none", userSignup(second, ""), undefined, stolen)).toBe("email_taken");
      expect(await store.users.find(second.uuid)).toBeNull();
    });

    it("gives a credential to one account", async () => {
      const { passkey } = await withPasskey();
      const other = await signUp(store);
      expect(
        await store.factors.addPasskey(passkeyOf(other, { credentialId: passkey.credentialId }), told(other)),
      ).toBe(false);
      expect(await generation(other)).toBe(0);
      expect(await store.factors.removePasskey(other.uuid, passkey.credentialId, told(other))).toBe(false);
      expect(await store.factors.findPasskey(passkey.credentialId)).not.toBeNull();
    });

    it("ends recovery codes with the last factor, and everything with a reset or the account", async () => {
      const { user, passkey } = await withPasskey();
      await store.factors.addTotp(user.uuid, { sealedSecret: "sealed", step: 1 }, told(user));
      await store.factors.setRecoveryCodes(user.uuid, [hash()], NOW);
      const removed = told(user, "FACTOR_REMOVED");
      expect(await store.factors.removeTotp(user.uuid, removed)).toBe(true);
      expect(await store.factors.removeTotp(user.uuid, told(user, "FACTOR_REMOVED"))).toBe(false);
      expect((await store.factors.find(user.uuid)).recoveryCodes).toBe(1);
      expect(await store.factors.removePasskey(user.uuid, passkey.credentialId, told(user, "FACTOR_REMOVED"))).toBe(
        true,
      );
      const none = { totp: null, passkeys: [], recoveryCodes: 0 };
      expect(await store.factors.find(user.uuid)).toEqual(none);
      const other = await withTotp();
      const before = (await generation(other)) ?? 0;
      expect(await store.factors.reset(other.uuid, told(other, "FACTORS_RESET"))).toBe(true);
      expect(await store.factors.find(other.uuid)).toEqual(none);
      expect(await generation(other)).toBe(before + 1);
      const gone = await withTotp();
      await store.users.delete(gone.uuid, deletedEvent(gone));
      expect(await store.factors.find(gone.uuid)).toEqual(none);
      expect(await store.factors.reset(gone.uuid, told(gone))).toBe(false);
      expect(await store.factors.addPasskey(passkeyOf(gone), told(gone))).toBe(false);
    });

    it("leaves factors alone where a password changes", async () => {
      const user = await withTotp();
      await store.users.changePassword(user.uuid, { from: "hash-1", to: "hash-2" }, changedEvent(user));
      expect((await store.factors.find(user.uuid)).totp).not.toBeNull();
    });
  });
}
