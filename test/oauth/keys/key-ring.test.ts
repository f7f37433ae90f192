import { randomBytes } from "node:crypto";
import { afterEach, expect, it } from "@jest/globals";
import { Clock } from "../../../src/clock.ts";
import { keysFor } from "../../../src/crypto/keys-for.ts";
import { Sealer } from "../../../src/crypto/sealing.ts";
import { KeyRing } from "../../../src/oauth/keys/key-ring.ts";
import type { KeyStore, StoredKey } from "../../../src/store/keys.ts";
import { createLogger } from "../../../src/telemetry/log.ts";
import { parseJws } from "../../../src/token/jws.ts";

/** A store whose readings wait until they are let go, as a slow database's do. */
class SlowStore implements KeyStore {
  readonly keys: StoredKey[] = [];
  lists = 0;
  waiting: ((fails: boolean) => void)[] | null = null;

  async list() {
    this.lists++;
    const read = [...this.keys];
    const { waiting } = this;
    if (waiting !== null && (await new Promise<boolean>((resolve) => waiting.push(resolve)))) throw new Error("away");
    return read;
  }
  async add(key: StoredKey) {
    this.keys.push(key);
    return "added" as const;
  }
  async distrust() {
    return true;
  }
  async reseal() {
    return true;
  }
  async postpone(kid: string, activeFrom: number) {
    const index = this.keys.findIndex((key) => key.kid === kid);
    const [key] = this.keys.slice(index);
    if (key !== undefined && key.activeFrom < activeFrom) this.keys[index] = { ...key, activeFrom };
  }
  async declareMaxAge() {}
  async keptUntil(now: number) {
    return now;
  }
  async remove() {}
}

const clock = new Clock();
const rings: KeyRing[] = [];
afterEach(() => {
  clock.shift = 0;
  for (const ring of rings.splice(0)) ring.close();
});

async function openRing(
  store = new SlowStore(),
  sealer = new Sealer(keysFor("sealing", [randomBytes(32)])),
): Promise<{ store: SlowStore; ring: KeyRing }> {
  const log = createLogger("silent");
  const ring = await KeyRing.open({
    store,
    clock,
    sealer,
    log,
  });
  rings.push(ring);
  return { store, ring };
}

it("a reload that began before a key was distrusted does not make it trusted again", async () => {
  const { store, ring } = await openRing();
  const kid = ring.list().find(({ alg }) => alg === "ES256")?.kid ?? "";
  expect(ring.isTrusted(kid)).toBe(true);
  store.waiting = [];
  const older = ring.reload();
  await new Promise(setImmediate);
  ring.distrust(kid);
  for (const go of store.waiting) go(false);
  await older;
  expect(ring.isTrusted(kid)).toBe(false);
});

it("C-05 a distrusted pending key succeeds no key: the one before it stays active and published", async () => {
  const { store, ring } = await openRing();
  const active = ring.list().find(({ alg }) => alg === "ES256")?.kid ?? "";
  const pending = await ring.generate("access", "ES256", Date.now() + 1_000);
  store.keys.push(pending);
  await ring.reload();
  const states = () => Object.fromEntries(ring.list().map(({ kid, state }) => [kid, state]));
  expect(states()).toMatchObject({ [active]: "active", [pending.kid]: "pending" });
  const { token } = ring.sign("access", "ES256", "at+jwt", {});

  store.keys.splice(store.keys.indexOf(pending), 1, { ...pending, distrustedAt: Date.now() });
  await ring.reload();
  clock.shift = 40 * 86_400_000;
  expect(states()).toMatchObject({ [active]: "active", [pending.kid]: "distrusted" });
  expect(ring.sign("access", "ES256", "at+jwt", {}).kid).toBe(active);
  expect(ring.jwks().keys.map(({ kid }) => kid)).toContain(active);
  expect(ring.outlived()).not.toContain(active);
  const jws = parseJws(token);
  expect(jws !== null && (await ring.verify("access", jws))).toBe(true);
});

it("C-05 where the active key is distrusted while another one is pending, the replacement alone is active", async () => {
  const { store, ring } = await openRing();
  const now = Date.now();
  const first = ring.list().find(({ alg }) => alg === "ES256")?.kid ?? "";
  const add = async (key: StoredKey) => {
    store.keys.push(key);
    await ring.reload();
    return key;
  };
  const active = await add(await ring.generate("access", "ES256", now - 1));
  const pending = await add(await ring.generate("access", "ES256", now + 600_000));
  Object.assign(active, { distrustedAt: now });
  const replacement = await add(await ring.generate("access", "ES256", now));
  const states = Object.fromEntries(ring.list().map(({ kid, state }) => [kid, state]));
  expect(states).toMatchObject({ [first]: "retired", [pending.kid]: "pending", [replacement.kid]: "active" });
  expect(ring.sign("access", "ES256", "at+jwt", {}).kid).toBe(replacement.kid);
});

it("C-05 F-31 where the database's clock is set back to before every key began, one of each kind signs all the same", async () => {
  const { ring } = await openRing();
  const before = ring.sign("access", "ES256", "at+jwt", {}).kid;
  clock.shift = -600_000;
  const { token, kid } = ring.sign("access", "ES256", "at+jwt", {});
  expect(kid).toBe(before);
  const jws = parseJws(token);
  expect(jws !== null && (await ring.verify("access", jws))).toBe(true);
  expect(ring.list().map(({ state }) => state)).toEqual(["active", "active", "active"]);
  // the next one waits its time
  const { store, ring: other } = await openRing();
  store.keys.push(await other.generate("access", "ES256", clock.now() + 700_000));
  await other.reload();
  expect(other.sign("access", "ES256", "at+jwt", {}).kid).toBe(store.keys.find(({ alg }) => alg === "ES256")?.kid);
});

it("F-53 until the key that replaces a distrusted one is loaded, nothing is signed, for a moment", async () => {
  const { ring } = await openRing();
  const { kid } = ring.sign("access", "ES256", "at+jwt", {});
  // as the feed reports it from another replica
  ring.distrust(kid);
  expect(() => ring.sign("access", "ES256", "at+jwt", {})).toThrow(
    expect.objectContaining({ code: "unavailable", retryAfter: 1 }),
  );
});

it("refresh tokens of a key that cannot be unsealed are verified all the same", async () => {
  const store = new SlowStore();
  const { ring } = await openRing(store, new Sealer(keysFor("sealing", [randomBytes(32)])));
  const { token, kid } = ring.sign("refresh", "EdDSA", "rt+jwt", { jti: "a" });
  const sealer = new Sealer(keysFor("sealing", [randomBytes(32)]));
  for (const key of store.keys) {
    // the newest of each kind opens, as the start demands
    Object.assign(key, { sealedPrivateJwk: sealer.seal("{}", key.kid) });
  }
  const older = store.keys.find((key) => key.kid === kid);
  if (older === undefined) throw new Error("no key");
  const { ring: maker } = await openRing(store, sealer);
  store.keys.push(await maker.generate("refresh", "EdDSA", Date.now()));
  Object.assign(older, { sealedPrivateJwk: "under another key" });
  const { ring: other } = await openRing(store, sealer);
  const jws = parseJws(token);
  if (jws === null) throw new Error("no token");
  expect(await other.verify("refresh", jws)).toBe(true);
  expect(await other.verify("refresh", { ...jws, signature: Buffer.alloc(64) })).toBe(false);
});

it("unknown kids cause one reload for all callers and at most one a second; callers get an error while it fails", async () => {
  const { store, ring } = await openRing();
  const { token } = ring.sign("access", "ES256", "at+jwt", {});
  const [, body, signature] = token.split(".");
  const forged = (kid: string) => {
    const head = Buffer.from(JSON.stringify({ alg: "ES256", typ: "at+jwt", kid })).toString("base64url");
    const jws = parseJws(`${head}.${body}.${signature}`);
    if (jws === null) throw new Error("not a JWS");
    return Promise.resolve(ring.verify("access", jws));
  };
  // longer ago than the keys count as fresh
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  store.waiting = [];
  const before = store.lists;
  const asked = Array.from({ length: 100 }, (_, n) => forged(`kid-${n}`));
  await new Promise(setImmediate);
  for (const go of store.waiting.splice(0)) go(true);
  expect(new Set((await Promise.allSettled(asked)).map(({ status }) => status))).toEqual(new Set(["rejected"]));
  await expect(forged("another")).rejects.toThrow("away");
  expect(store.lists - before).toBe(1);
});

it("C-04 a key that this replica cannot open is no key for the moment: another replica signs", async () => {
  const { store, ring } = await openRing();
  const { ring: newer } = await openRing(new SlowStore(), new Sealer(keysFor("sealing", [randomBytes(32)])));
  store.keys.push(await newer.generate("access", "ES256", Date.now() - 1));
  await ring.reload();
  expect(() => ring.sign("access", "ES256", "at+jwt", {})).toThrow(expect.objectContaining({ code: "unavailable" }));
});

it("C-04 a new key that a running replica cannot open does not begin to sign", async () => {
  const [older, newer] = [randomBytes(32), randomBytes(32)];
  const { store, ring } = await openRing(new SlowStore(), new Sealer(keysFor("sealing", [older])));
  const { ring: other } = await openRing(store, new Sealer(keysFor("sealing", [newer, older])));
  const now = clock.now();
  const unopened = await other.generate("access", "ES256", now + 11_000);
  const opened = await ring.generate("access", "RS256", now + 11_000);
  store.keys.push(unopened, opened);
  const turn = async () => {
    for (const each of [ring, other]) {
      await each.reload();
      await each.putOffUnopened();
    }
    await other.reload();
  };
  for (clock.shift = 0; clock.shift < 300_000; clock.shift += 5_000) {
    await turn();
    for (const each of [ring, other]) {
      expect(each.sign("access", "ES256", "at+jwt", {}).kid).not.toBe(unopened.kid);
      if (clock.shift > 11_000) expect(each.sign("access", "RS256", "at+jwt", {}).kid).toBe(opened.kid);
    }
  }
  // the replica that cannot open it has ended
  clock.shift += 61_000;
  await other.reload();
  await other.putOffUnopened();
  expect(other.sign("access", "ES256", "at+jwt", {}).kid).toBe(unopened.kid);
});
