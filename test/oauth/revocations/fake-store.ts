import { AuthError } from "../../../src/errors.ts";
import type { Client } from "../../../src/store/clients.ts";
import {
  LONGEST_TRANSACTION_MS,
  type Revocation,
  type RevocationStore,
  type StoredRevocation,
} from "../../../src/store/revocations.ts";
import type { Random, VirtualTime } from "./virtual-time.ts";

/** What the database does to the calls of one replica. */
export type Trouble = "none" | "slow" | "fails" | "hangs";

/** A row with the true time of its commit; NaN while it is under way. */
export interface TruthRow extends StoredRevocation {
  committedAt: number;
}

/** How a transaction that revokes goes. */
export interface Course {
  /** From its first row's id to its commit. */
  readonly ms: number;
  /** The answer to COMMIT gets lost: nobody on the replica hears of it. */
  readonly mute: boolean;
}

/**
 * One database that several replicas share: ids rise by allocation, rows become visible at the commit, reads see what is committed
 * when they are carried out. While it is frozen nothing is read or committed; calls give up after the longest transaction, but what
 * a call has sent is carried out once the database is back.
 */
export class FakeDatabase {
  readonly rows: TruthRow[] = [];
  readonly clients = new Map<string, Client>();
  frozen = false;
  #lastId = 0;
  #thawing: (() => void)[] = [];
  readonly time: VirtualTime;
  readonly random: Random;

  constructor(time: VirtualTime, random: Random) {
    this.time = time;
    this.random = random;
  }

  thaw(): void {
    this.frozen = false;
    // in any order
    const waiting = this.#thawing.splice(0).sort(() => this.random.next() - 0.5);
    for (const each of waiting) void this.time.after(this.random.between(1, 50), each);
  }

  /** Resolves when the database gets to work on what was sent. */
  async reached(): Promise<void> {
    while (this.frozen) await new Promise<void>((resolve) => void this.#thawing.push(resolve));
  }

  /** @returns the rows, committed or not yet; `done` tells whether the caller was answered */
  begin(
    revocations: readonly Revocation[],
    course: Course,
    apply: () => void,
    listeners: ReadonlySet<(revocations: readonly Revocation[]) => void>,
  ): TruthRow[] {
    const rows = revocations.map((each): TruthRow => ({ ...each, id: ++this.#lastId, committedAt: Number.NaN }));
    this.rows.push(...rows);
    const started = this.time.now;
    const commit = async () => {
      await this.reached();
      for (const row of rows) row.committedAt = this.time.now;
      apply();
      const late = this.time.now - started > LONGEST_TRANSACTION_MS;
      if (!late && !course.mute) for (const listener of listeners) listener(revocations);
    };
    if (course.ms === 0) void commit();
    else void this.time.after(course.ms, () => void commit());
    return rows;
  }
}

/** The database as one replica reaches it. */
export class FakeStore {
  trouble: Trouble = "none";
  /** When the last call was sent that was answered. */
  goodAt = Number.NEGATIVE_INFINITY;
  #badAt = Number.NEGATIVE_INFINITY;
  #waiting = 0;
  readonly listeners = new Set<(revocations: readonly Revocation[]) => void>();
  readonly #database: FakeDatabase;

  constructor(database: FakeDatabase) {
    this.#database = database;
  }

  readonly revocations: RevocationStore = {
    after: async (id, limit, now) => {
      const sentAt = this.#database.time.now;
      const found = await this.#call(() => {
        const { rows } = this.#database;
        let from = rows.length;
        while (from > 0 && (rows[from - 1]?.id ?? 0) > id) from--;
        const { time } = this.#database;
        const seen = rows.slice(from).filter((row) => {
          const cleanedUp = row.expiresAt < time.wall && row.committedAt < time.now - 60_000;
          return row.committedAt <= time.now && row.expiresAt > now && !cleanedUp;
        });
        return seen.slice(0, limit);
      });
      this.goodAt = Math.max(this.goodAt, sentAt);
      return found;
    },
    onAppend: (listener) => {
      this.listeners.add(listener);
      return () => this.listeners.delete(listener);
    },
    declareLifetime: async () => {},
  };

  readonly clients = { find: (clientId: string) => this.#call(() => this.#database.clients.get(clientId) ?? null) };

  /** When a call last was not quick and good. */
  get badAt(): number {
    return this.#waiting > 0 ? this.#database.time.now : this.#badAt;
  }

  /** A read of the keys, say. */
  ping(): Promise<void> {
    return this.#call(() => {});
  }

  async #call<T>(read: () => T): Promise<T> {
    const { time, random } = this.#database;
    const { trouble } = this;
    const started = time.now;
    if (trouble !== "none" || this.#database.frozen) this.#badAt = time.now;
    if (trouble === "fails") {
      if (random.chance(0.5)) await time.sleep(random.between(1, 200));
      throw new AuthError("unavailable", "the database is away");
    }
    let answered = false;
    const work = async () => {
      if (trouble === "slow") await time.sleep(random.between(1, 2_400));
      else if (random.chance(0.2)) await time.sleep(random.between(1, 20));
      await this.#database.reached();
      const found = read();
      if (trouble === "slow") await time.sleep(random.between(1, 2_400));
      else if (random.chance(0.2)) await time.sleep(random.between(1, 20));
      answered = true;
      return found;
    };
    if (trouble === "none" && !this.#database.frozen && !random.chance(0.3)) return read();
    const late = new Promise<never>((_, reject) => {
      void time.after(LONGEST_TRANSACTION_MS, () => {
        if (!answered) reject(new AuthError("unavailable", "the database did not answer"));
      });
    });
    late.catch(() => {});
    this.#waiting++;
    try {
      return await Promise.race([trouble === "hangs" ? late : work(), late]);
    } finally {
      this.#waiting--;
      if (time.now - started > 60) this.#badAt = time.now;
    }
  }
}
