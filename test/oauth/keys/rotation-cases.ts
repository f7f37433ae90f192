import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { distrustKey, rotateSigningKeys } from "../../../src/oauth/keys/rotation.ts";
import { startReplicas, type TestApp } from "../../support/app.ts";

const DAY = 86_400_000;
/** Every replica knows a key by then. */
const known = 10_000;

/** Rotations beside replicas whose JWKS_MAX_AGE differs. @param env where the database is */
export function rotationCases(env: () => Promise<Record<string, string>>): void {
  let replicas: TestApp[] = [];
  const waited = async ({ context }: TestApp, rotate = () => rotateSigningKeys(context, "ES256")) => {
    const since = context.clock.now();
    const [key] = await rotate();
    return (key?.activeFrom ?? 0) - since;
  };
  const expectAbout = (ms: number, about: number) => {
    expect(ms).toBeGreaterThanOrEqual(about);
    expect(ms).toBeLessThan(about + 60_000);
  };

  beforeAll(async () => {
    replicas = await startReplicas(2, await env(), undefined, (n) => ({ JWKS_MAX_AGE: n === 0 ? "86400" : "600" }));
  });
  afterAll(() => Promise.all(replicas.map((app) => app.close())));

  it("a key waits for the longest max-age that any replica told, until that has passed", async () => {
    const [longer, shorter] = replicas as [TestApp, TestApp];
    const told = await fetch(`${longer.url}/oauth2/jwks`);
    expect(told.headers.get("cache-control")).toContain("max-age=86400");
    expectAbout(await waited(shorter), DAY + known);
    // half a day after the longer one was told last, half of it is left, and what may have been told until the next declaration
    shorter.clock.shift += DAY / 2;
    const left = DAY / 2 + 2 * 3_600_000 + known;
    const wait = await waited(shorter);
    expect(wait).toBeLessThanOrEqual(left);
    expect(wait).toBeGreaterThan(left - 300_000);
    shorter.clock.shift += DAY;
    expectAbout(await waited(shorter), 600_000 + known);
    // the replica that tells it goes on doing so
    await longer.context.store.keys.declareMaxAge(DAY, shorter.clock.now());
    expectAbout(await waited(shorter), DAY + known);
  });

  it("a key that is added while a replica declares a longer max-age waits for that too, everywhere", async () => {
    const [longer, shorter] = replicas as [TestApp, TestApp];
    shorter.clock.shift += 3 * DAY;
    longer.clock.shift = shorter.clock.shift;
    const { store } = shorter.context;
    const meanwhile: typeof store.keys = {
      ...store.keys,
      async add(key) {
        const added = await store.keys.add(key);
        await longer.context.keys.reload();
        await longer.context.store.keys.declareMaxAge(DAY, longer.clock.now());
        return added;
      },
    };
    const context = { ...shorter.context, store: { ...store, keys: meanwhile } };
    expectAbout(await waited({ ...shorter, context }), DAY + known);
    await longer.context.keys.reload();
    const newest = ({ context }: TestApp) => Math.max(...context.keys.list().map(({ activeFrom }) => activeFrom));
    expect(newest(longer)).toBe(newest(shorter));
    expectAbout(newest(longer) - shorter.clock.now(), DAY);
  });

  it("the key that replaces a distrusted one signs at once", async () => {
    const [, shorter] = replicas as [TestApp, TestApp];
    const active = shorter.context.keys.list().find(({ alg, state }) => alg === "ES256" && state === "active");
    expectAbout(await waited(shorter, () => distrustKey(shorter.context, active?.kid ?? "")), 0);
  });
}
