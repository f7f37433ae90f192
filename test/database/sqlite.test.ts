import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { Clock } from "../../src/clock.ts";
import { openStore } from "../../src/database/open-store.ts";
import { sealer, signUp } from "./contract/fixtures.ts";
import { describeStore } from "./store-contract.ts";

const folder = mkdtempSync(join(tmpdir(), "auth-sqlite-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const freshUrl = async () => `sqlite:${join(folder, randomUUID(), "auth.sqlite")}`;
const log = { warn: () => undefined, error: () => undefined };

describeStore("the store on SQLite", freshUrl);

describe("the SQLite file", () => {
  it("is readable by its owner only, with its journal", async () => {
    const url = await freshUrl();
    const store = await openStore({ url, sealer, clock: new Clock(), log });
    await signUp(store);
    const file = url.slice("sqlite:".length);
    for (const name of [file, `${file}-wal`, `${file}-shm`]) {
      expect(existsSync(name)).toBe(true);
      expect(statSync(name).mode & 0o777).toBe(0o600);
    }
    expect(statSync(join(file, "..")).mode & 0o777).toBe(0o700);
    await store.close();
  });

  it("keeps what was committed when the process is killed", async () => {
    const url = await freshUrl();
    const source = (path: string) => JSON.stringify(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)));
    const script = `
      const { openStore } = await import(${source("database/open-store.ts")});
      const { Sealer } = await import(${source("crypto/sealing.ts")});
      const { keysFor } = await import(${source("crypto/keys-for.ts")});
      const { Clock } = await import(${source("clock.ts")});
      const store = await openStore({ url: ${JSON.stringify(url)}, sealer: new Sealer(keysFor("sealing", [Buffer.alloc(32, 7)])), clock: new Clock(), log: console });
      await store.limits.take("killed", 1, 1000, 5);
      process.kill(process.pid, "SIGKILL");`;
    expect(() => execFileSync(process.execPath, ["--input-type=module", "-e", script], { stdio: "ignore" })).toThrow();
    const store = await openStore({ url, sealer, clock: new Clock(), log });
    expect(await store.limits.take("killed", 1, 1000, 5)).toBe(1005);
    await store.close();
  });

  it("makes the plan of a read and the function of its rows once, whatever is asked for", async () => {
    const store = await openStore({ url: await freshUrl(), sealer, clock: new Clock(), log });
    const users = [await signUp(store), await signUp(store)];
    const clock = new Clock();
    const read = async (user: { uuid: string; email: string }) => {
      await store.users.findByEmail(user.email);
      await store.users.findToCheck(
        { uuid: user.uuid },
        { key: user.uuid, limit: 1, windowMs: 1_000, now: clock.now() },
      );
      await store.outbox.queues();
    };
    await read(await signUp(store));
    // by which the driver makes the functions
    const made = jest.spyOn(globalThis, "Function");
    for (const user of users) await read(user);
    expect(made).not.toHaveBeenCalled();
    made.mockRestore();
    await store.close();
  });

  it("lives in memory when asked to", async () => {
    const store = await openStore({ url: "sqlite::memory:", sealer, clock: new Clock(), log });
    const user = await signUp(store);
    expect((await store.users.find(user.uuid))?.email).toBe(user.email);
    await store.close();
    await expect(store.time()).rejects.toMatchObject({ code: "unavailable" });
  });
});
