import { randomUUID } from "node:crypto";
import { Clock } from "../../../src/clock.ts";
import { keysFor } from "../../../src/crypto/keys-for.ts";
import { Sealer } from "../../../src/crypto/sealing.ts";
import { openStore } from "../../../src/database/open-store.ts";
import { userSignup } from "../../../src/events.ts";
import type { Ledger } from "./ledger.ts";
import type { System } from "./system.ts";

export interface Writer {
  failed(): number;
  /** @returns how many events were written */
  stop(): Promise<number>;
}

/** More writes than these do not wait for the database: a machine that cannot keep the rate reaches a lower one. */
const maxRunning = 256;

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Writes sign-ups with their events through the store, at rates that password hashes do not allow. The system's relays send them. */
export async function startWriter(system: System, ledger: Ledger, perSecond: number): Promise<Writer> {
  const key = Buffer.from(system.replicas[0]?.env["KEY_ENCRYPTION_KEY"] ?? "", "base64");
  const store = await openStore({
    url: system.parts.databaseUrl,
    sealer: new Sealer(keysFor("sealing", [key])),
    clock: new Clock(),
    log: silent,
  });
  const running = new Set<Promise<void>>();
  let written = 0;
  let failed = 0;
  let begun = 0;
  const write = async () => {
    const uuid = randomUUID();
    const email = `${uuid}@example.test`;
    const now = Date.now();
    const call = ledger.invoke("write", { email, uuid });
    const user = {
      ...{ uuid, email, nickname: "n", roles: [], emailVerified: false, claims: {}, epoch: 0 },
      ...{ language: null, disabledAt: null, createdAt: now, updatedAt: now },
    };
    try {
      await store.users.create(user, "hash", userSignup(user));
      written++;
      ledger.end(call, "ok");
    } catch (error) {
      failed++;
      ledger.end(call, "unknown", (error as Error).message);
    }
  };
  const from = performance.now();
  const timer = setInterval(() => {
    for (; begun < ((performance.now() - from) * perSecond) / 1_000; begun++) {
      if (running.size >= maxRunning) continue;
      const work = write().finally(() => running.delete(work));
      running.add(work);
    }
  }, 10);
  return {
    failed: () => failed,
    async stop() {
      clearInterval(timer);
      await Promise.all(running);
      await store.close();
      return written;
    },
  };
}
