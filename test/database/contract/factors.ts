import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import { type SecurityKind, UNKNOWN_ASKER, userSecurity, userSignup } from "../../../src/events.ts";
import type { NewRecoveryCodes, Passkey, PasskeyUse } from "../../../src/store/factors.ts";
import type { ActingSession } from "../../../src/store/session.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";
import {
  changedEvent,
  deletedEvent,
  hash,
  makeSession,
  NOW,
  type OpenedStore,
  resetEvent,
  resetEvents,
  seqs,
  signIn,
  signUp,
  times,
} from "./fixtures.ts";

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
    const codesOf = (...hashes: string[]): NewRecoveryCodes => ({
      hashes,
      attempt: hash(),
      expiresAt: NOW + 3_600_000,
    });
    const make = (user: User, hashes: readonly string[] = [hash()]) =>
      store.factors.setRecoveryCodes(user.uuid, codesOf(...hashes), told(user, "RECOVERY_CODES_MADE"));
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

    it("raises the session in which a factor is added with the factor, and does neither where that has ended", async () => {
      const add = {
        app: (user: User, acting: ActingSession) =>
          store.factors.addTotp(user.uuid, { sealedSecret: "sealed", step: 10 }, told(user), acting),
        passkey: (user: User, acting: ActingSession) => store.factors.addPasskey(passkeyOf(user), told(user), acting),
      };
      for (const [kind, addOne] of Object.entries(add)) {
        const user = await signUp(store);
        const session = await signIn(store, user);
        const raisedTo = { ...session, idHash: hash(), methods: ["pwd", "otp", "mfa"] };
        const acting = { idHash: session.idHash, raisedTo };
        const outcomes = await times(2, () => addOne(user, acting).catch((error) => error.code));
        const factors = await store.factors.find(user.uuid);
        expect([kind, outcomes.includes(true), factors.passkeys.length + (factors.totp === null ? 0 : 1)]).toEqual([
          ...[kind, true, 1],
        ]);
        expect(await store.sessions.listOfUser(user.uuid, NOW)).toEqual([raisedTo]);
        const late = { idHash: session.idHash, raisedTo: { ...raisedTo, idHash: hash() } };
        const other = await signUp(store);
        const stranger = { ...late, idHash: raisedTo.idHash };
        for (const [who, from] of [
          [user, late],
          [other, stranger],
        ] as const) {
          await store.factors.removeTotp(who.uuid, told(who, "FACTOR_REMOVED"));
          const before = await seqs(database, who);
          await expect(addOne(who, from)).rejects.toMatchObject({ code: "login_required" });
          expect(await seqs(database, who)).toEqual(before);
          expect((await store.factors.find(who.uuid)).totp).toBeNull();
        }
        expect(await store.sessions.listOfUser(user.uuid, NOW)).toEqual([raisedTo]);
      }
    });

    it("removes a factor in a session that lives alone", async () => {
      const user = await withTotp();
      const passkey = passkeyOf(user);
      await store.factors.addPasskey(passkey, told(user));
      const session = await signIn(store, user);
      await store.sessions.end(session.idHash, NOW);
      const removed = told(user, "FACTOR_REMOVED");
      await expect(store.factors.removeTotp(user.uuid, removed, session)).rejects.toMatchObject({
        code: "login_required",
      });
      await expect(
        store.factors.removePasskey(user.uuid, passkey.credentialId, removed, session),
      ).rejects.toMatchObject({ code: "login_required" });
      expect(await store.factors.find(user.uuid)).toMatchObject({ totp: expect.anything(), passkeys: [passkey] });
      const again = await signIn(store, user);
      expect(await store.factors.removeTotp(user.uuid, removed, again)).toBe(true);
    });

    it("lists authenticator apps in pages, and puts the same secret under another key once", async () => {
      const users = [await withTotp(), await withTotp(), await withTotp()];
      const seen: string[] = [];
      for (let after: string | null = null; ; ) {
        const page = await store.factors.listTotp(after, 2);
        seen.push(...page.map(({ userId }) => userId));
        if (page.length < 2) break;
        after = page.at(-1)?.userId ?? null;
      }
      expect(seen).toEqual([...seen].sort());
      expect(seen).toEqual(expect.arrayContaining(users.map(({ uuid }) => uuid)));
      const [{ uuid }] = users as [User];
      const move = () => store.factors.resealTotp(uuid, { from: "sealed", to: "sealed again" });
      expect([await move(), await move()]).toEqual([true, false]);
      expect((await store.factors.find(uuid)).totp?.sealedSecret).toBe("sealed again");
    });

    it("lets one of 50 callers use a step, never an earlier one, and the same form again", async () => {
      const user = await withTotp();
      const results = await times(50, (index) => store.factors.useTotpStep(user.uuid, 12, `form-${index}`));
      expect(results.filter((use) => use !== "refused")).toEqual(["used"]);
      const winner = `form-${results.indexOf("used")}`;
      expect(await store.factors.useTotpStep(user.uuid, 12, winner)).toBe("again");
      expect(await store.factors.useTotpStep(user.uuid, 11, winner)).toBe("refused");
      expect(await store.factors.useTotpStep(user.uuid, 10, "other")).toBe("refused");
      expect(await store.factors.useTotpStep(user.uuid, 13, "other")).toBe("used");
      const press = "p".repeat(32);
      const forms = await times(50, (index) => store.factors.useTotpStep(user.uuid, 14, `${press}form-${index}`));
      expect(forms.filter((use) => use !== "repeated")).toEqual(["used"]);
    });

    it("lets one of 50 callers use a recovery code, tells of it once, and knows the form that used it for a minute", async () => {
      const user = await withTotp();
      const [code, other] = [hash(), hash()];
      expect(await make(user, [code, other])).toBe("made");
      const use = (attempt: string, now = NOW) =>
        store.factors.useRecoveryCode(user.uuid, code, attempt, told(user, "RECOVERY_CODE_USED", now));
      const results = await times(50, (index) => use(`form-${index}`));
      expect(results.filter((outcome) => outcome !== "refused")).toEqual(["used"]);
      const winner = `form-${results.indexOf("used")}`;
      expect(await use(winner, NOW + 59_000)).toBe("again");
      expect(await use(winner, NOW + 61_000)).toBe("refused");
      expect((await store.factors.find(user.uuid)).recoveryCodes).toBe(1);
      expect(await seqs(database, user)).toEqual([1, 2, 3, 4]);
      const stranger = await signUp(store);
      expect(await store.factors.useRecoveryCode(stranger.uuid, other, "x", told(stranger))).toBe("refused");
      expect(await make(user)).toBe("made");
      expect(await store.factors.useRecoveryCode(user.uuid, other, "x", told(user))).toBe("refused");
    });

    it("makes recovery codes of one attempt once, tells of it once, and knows them for a minute", async () => {
      const user = await withTotp();
      const codes = codesOf(hash(), hash());
      const made = (given = codes, now = NOW) =>
        store.factors.setRecoveryCodes(user.uuid, given, told(user, "RECOVERY_CODES_MADE", now));
      const outcomes = await times(20, () => made());
      expect(outcomes.sort()).toEqual(["made", ...Array.from({ length: 19 }, () => "repeated")]);
      expect(await seqs(database, user)).toEqual([1, 2, 3]);
      expect(await made(codes, NOW + 59_000)).toBe("repeated");
      expect(await made(codes, NOW + 61_000)).toBe("used");
      // the attempt is known, and these codes are not what it made
      expect(await made({ ...codes, hashes: [hash(), hash()] })).toBe("used");
      const next = codesOf(hash());
      expect(await made(next)).toBe("made");
      expect(await made(codes)).toBe("used");
      expect(await made(next)).toBe("repeated");
      expect((await store.factors.find(user.uuid)).recoveryCodes).toBe(1);
    });

    it("makes no recovery codes without another factor, nor in a session that has ended", async () => {
      const nobody = await signUp(store);
      expect(await make(nobody)).toBe("none");
      expect(await generation(nobody)).toBe(0);
      const user = await withTotp();
      const session = await signIn(store, user);
      await store.sessions.end(session.idHash, NOW);
      const codes = codesOf(hash());
      const inSession = (acting: ActingSession) =>
        store.factors.setRecoveryCodes(user.uuid, codes, told(user, "RECOVERY_CODES_MADE"), acting);
      await expect(inSession(session)).rejects.toMatchObject({ code: "login_required" });
      expect((await store.factors.find(user.uuid)).recoveryCodes).toBe(0);
      expect(await inSession(await signIn(store, user))).toBe("made");
    });

    it("finds a passkey by its id, and takes a counter that rises alone", async () => {
      const { passkey } = await withPasskey({ signCount: 5, credentialId: "x".repeat(1300) });
      expect(await store.factors.findPasskey(passkey.credentialId)).toEqual(passkey);
      expect(await store.factors.findPasskey("unknown")).toBeNull();
      const owner = await store.users.findWithPassword(passkey.userId);
      expect(await store.users.findByPasskey(passkey.credentialId)).toEqual({ user: owner, passkey });
      expect(await store.users.findByPasskey("unknown")).toBeNull();
      const use = (signCount: number) => store.factors.usePasskey(useOf(passkey, { signCount }), NOW + 1);
      expect(await use(5)).toBe("refused");
      expect(await use(0)).toBe("refused");
      expect(await use(6)).toBe("used");
      expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({
        signCount: 6,
        lastUsedAt: NOW + 1,
      });
      const answer = useOf(passkey, { signCount: 7 });
      expect(await store.factors.usePasskey(answer, NOW)).toBe("used");
      expect(await store.factors.usePasskey({ ...answer, attempt: "another form" }, NOW)).toBe("repeated");
      expect(await store.factors.usePasskey({ ...answer, credentialId: "unknown", challengeHash: hash() }, NOW)).toBe(
        "gone",
      );
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
        expect(await use(winner, NOW + 59_000)).toBe("again");
        expect(["used", "again"]).not.toContain(await use(winner, NOW + 61_000));
        expect(await use("another", NOW)).not.toBe("used");
        expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({ signCount, lastUsedAt: NOW });
      }
    });

    it("signs in with an answer of a passkey once, and leaves both as they were where either fails", async () => {
      const { user, passkey } = await withPasskey({ signCount: 5 });
      const login = async (use: PasskeyUse, passwordHash = "hash-1", session = makeSession(user.uuid)) => {
        const outcome = await store.sessions.signIn(session, { replaces: null, passwordHash, passkey: use });
        return [outcome, (await store.sessions.find(session.idHash, NOW)) !== null];
      };
      const use = useOf(passkey, { signCount: 6 });
      expect(await login(use, "another hash")).toEqual(["refused", false]);
      expect(await login({ ...use, signCount: 5 })).toEqual(["passkey_refused", false]);
      expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({ signCount: 5, lastUsedAt: null });
      const session = makeSession(user.uuid);
      expect(await login(use, "hash-1", session)).toEqual(["signed_in", true]);
      expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({ signCount: 6, lastUsedAt: NOW });
      // the same form, again and as another one; and after a sign-out
      expect(await login(use, "hash-1", session)).toEqual(["signed_in", true]);
      expect(await login({ ...use, attempt: "another form" }, "hash-1", session)).toEqual(["passkey_refused", true]);
      await store.sessions.end(session.idHash, NOW);
      expect(await login(use, "hash-1", session)).toEqual(["passkey_refused", false]);
      expect(await login({ ...use, signCount: 7 })).toEqual(["passkey_refused", false]);
      expect(await store.factors.findPasskey(passkey.credentialId)).toMatchObject({ signCount: 6 });
      const uncounted = await withPasskey();
      const one = useOf(uncounted.passkey);
      const proof = { replaces: null, passwordHash: "hash-1", passkey: one };
      const outcomes = await times(50, () => store.sessions.signIn(makeSession(uncounted.user.uuid), proof));
      expect(outcomes.filter((outcome) => outcome === "signed_in")).toHaveLength(1);
      expect(outcomes.filter((outcome) => outcome === "passkey_refused")).toHaveLength(49);
      expect(await store.sessions.listOfUser(uncounted.user.uuid, NOW)).toHaveLength(1);
    });

    it("makes an account with a passkey and no password, once", async () => {
      const user: User = { ...(await signUp(store)), uuid: randomUUID(), email: `${hash()}@example.test` };
      const passkey = passkeyOf(user);
      const create = () => store.users.create(user, "none", userSignup(user), undefined, passkey);
      expect(await create()).toBe("created");
      expect(await create()).toBe("created");
      expect(await store.users.findWithPassword(user.uuid)).toMatchObject({ hasPassword: false, factorsGeneration: 1 });
      expect((await store.factors.find(user.uuid)).passkeys).toEqual([passkey]);
      const change = { from: "none", to: "a hash" };
      expect(await store.users.changePassword(user.uuid, change, changedEvent(user, NOW))).toBe("changed");
      expect(await store.users.findWithPassword(user.uuid)).toMatchObject({ hasPassword: true });
      const second = { ...user, uuid: randomUUID(), email: `${hash()}@example.test` };
      const stolen = passkeyOf(second, { credentialId: passkey.credentialId });
      expect(await store.users.create(second, "none", userSignup(second), undefined, stolen)).toBe("email_taken");
      expect(await store.users.find(second.uuid)).toBeNull();
    });

    it("keeps the last passkey of an account without a password, though all are removed at once", async () => {
      const user: User = { ...(await signUp(store)), uuid: randomUUID(), email: `${hash()}@example.test` };
      const passkeys = [passkeyOf(user), passkeyOf(user), passkeyOf(user)];
      await store.users.create(user, "none", userSignup(user), undefined, passkeys[0]);
      for (const passkey of passkeys.slice(1)) await store.factors.addPasskey(passkey, told(user));
      const before = await seqs(database, user);
      const remove = ({ credentialId }: Passkey) =>
        store.factors.removePasskey(user.uuid, credentialId, told(user, "FACTOR_REMOVED"));
      const removed = await Promise.all(passkeys.map(remove));
      expect(removed.filter(Boolean)).toHaveLength(2);
      const [kept] = (await store.factors.find(user.uuid)).passkeys;
      expect(passkeys[removed.indexOf(false)]).toEqual(kept);
      expect(await seqs(database, user)).toHaveLength(before.length + 2);
      await store.users.changePassword(user.uuid, { from: "none", to: "a hash" }, changedEvent(user, NOW));
      expect(await remove(kept as Passkey)).toBe(true);
    });

    it("gives a passkey another name, for its user in a session that lives alone, and changes no factor by that", async () => {
      const { user, passkey } = await withPasskey();
      const [before, told] = [await generation(user), await seqs(database, user)];
      const { credentialId } = passkey;
      const rename = (name: string, who = user, acting?: ActingSession) =>
        store.factors.renamePasskey(who.uuid, { credentialId, name }, NOW, acting);
      const nameOf = async () => (await store.factors.findPasskey(credentialId))?.name;
      expect([await rename("Zoë 📱"), await nameOf()]).toEqual([true, "Zoë 📱"]);
      // the same name again is no other passkey
      expect(await rename("Zoë 📱")).toBe(true);
      expect(await rename("Mine", await signUp(store))).toBe(false);
      const session = await signIn(store, user);
      expect(await rename("Key", user, session)).toBe(true);
      await store.sessions.end(session.idHash, NOW);
      await expect(rename("Late", user, session)).rejects.toMatchObject({ code: "login_required" });
      expect([await nameOf(), await generation(user), await seqs(database, user)]).toEqual(["Key", before, told]);
    });

    it("keeps at most twenty passkeys a user, however many come at once", async () => {
      const user = await signUp(store);
      const added = await times(25, () => store.factors.addPasskey(passkeyOf(user), told(user)));
      expect(added.filter(Boolean)).toHaveLength(20);
      expect((await store.factors.find(user.uuid)).passkeys).toHaveLength(20);
      expect(await seqs(database, user)).toHaveLength(21);
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
      await make(user);
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

    it("the first reset mail that is used removes the passkeys added before it, and tells the user; later ones remove none", async () => {
      const { user } = await withPasskey();
      await make(user);
      const reset = async (told: ReturnType<typeof resetEvents>[1] | null = resetEvents(user)[1]) => {
        const link = { tokenHash: hash(), userId: user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
        await store.users.createPasswordReset(link, resetEvent(user));
        const before = await seqs(database, user);
        const event = resetEvents(user)[0];
        expect(await store.users.redeemPasswordReset(link.tokenHash, "hash-2", event, told)).toBe("reset");
        return (await seqs(database, user)).length - before.length;
      };
      const before = (await generation(user)) ?? 0;
      expect(await reset()).toBe(2);
      expect(await store.factors.find(user.uuid)).toEqual({ totp: null, passkeys: [], recoveryCodes: 0 });
      expect(await generation(user)).toBe(before + 1);
      await store.factors.addPasskey(passkeyOf(user), told(user));
      expect(await reset()).toBe(1);
      expect((await store.factors.find(user.uuid)).passkeys).toHaveLength(1);

      const owner = await withPasskey();
      const link = { tokenHash: hash(), userId: owner.user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
      await store.users.createPasswordReset(link, resetEvent(owner.user));
      await store.users.redeemPasswordReset(link.tokenHash, "hash-2", resetEvents(owner.user)[0], null);
      expect((await store.factors.find(owner.user.uuid)).passkeys).toHaveLength(1);
    });

    it("leaves factors alone where a password changes", async () => {
      const user = await withTotp();
      await store.users.changePassword(user.uuid, { from: "hash-1", to: "hash-2" }, changedEvent(user));
      expect((await store.factors.find(user.uuid)).totp).not.toBeNull();
    });
  });
}
