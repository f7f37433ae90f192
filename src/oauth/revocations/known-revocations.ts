import { hash } from "node:crypto";
import type { StoredRevocation } from "../../store/revocations.ts";
import { forgottenAt } from "./revoked-set.ts";

type Kept = StoredRevocation & { readonly until: number };

/**
 * The unexpired rows of the revocation feed in the order in which they became known here: what watchers follow. All watchers share the
 * one list; each is a position in it. A position counts every row since the start, so it stays valid when old rows are forgotten.
 */
export class KnownRevocations {
  /** Rows from position `#start` on. */
  #rows: Kept[] = [];
  #start = 0;
  readonly #byId = new Map<number, Kept>();
  readonly #waiting = new Set<() => void>();
  #draining = false;
  /** Streams that follow the list now. */
  watchers = 0;

  /** Position of the oldest row that is kept. */
  get start(): number {
    return this.#start;
  }

  /** Position after the newest row. */
  get end(): number {
    return this.#start + this.#rows.length;
  }

  /** Position of the first row with a higher id. Rows with lower ids may follow it. */
  positionAfter(id: number): number {
    const at = this.#rows.findIndex((row) => row.id > id);
    return this.#start + (at < 0 ? this.#rows.length : at);
  }

  /**
   * What tells the row of an id from another one: after a restore of the database, and after a fail-over to a server that was behind, ids are
   * given again. Empty: no such row is kept.
   */
  markOf(id: number): string {
    const row = this.#byId.get(id);
    if (row === undefined) return "";
    return hash("sha256", `${row.kind}\n${row.value}\n${row.revokedAt}`, "base64url").slice(0, 16);
  }

  /** Is this the row that is kept under its id? */
  has(row: StoredRevocation): boolean {
    const kept = this.#byId.get(row.id);
    return kept !== undefined && kept.kind === row.kind && kept.value === row.value && kept.revokedAt === row.revokedAt;
  }

  /** The last row below an id that nobody cleans up before a time (epoch milliseconds); null: there is none. */
  newestBelow(id: number, keptUntil: number): StoredRevocation | null {
    const isOne = (row: Kept) => row.id < id && row.expiresAt > keptUntil && this.#byId.get(row.id) === row;
    return this.#rows.findLast(isOne) ?? null;
  }

  /** Rows from a position on. */
  read(position: number, limit: number): readonly StoredRevocation[] {
    const from = Math.max(0, position - this.#start);
    return this.#rows.slice(from, from + limit);
  }

  /** Resolves at the next announcement, at the drain, or after `ms` milliseconds. */
  async change(ms: number): Promise<void> {
    if (this.#draining) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  /** Wakes everyone who waits for a change. */
  announce(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** Asks the watchers to leave for another replica. */
  drain(): void {
    this.#draining = true;
    this.announce();
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** @param knownAt by `performance.now()` @returns false: the row was known before */
  append(row: StoredRevocation, knownAt: number): boolean {
    if (this.has(row)) return false;
    const kept = { ...row, until: forgottenAt(row, knownAt) };
    this.#byId.set(row.id, kept);
    this.#rows.push(kept);
    return true;
  }

  /** Other ids are those of rows that the feed no longer has: what they revoke stays known, and the ids may come again. */
  forgetIdsBut(ids: ReadonlySet<number>): void {
    for (const id of this.#byId.keys()) if (!ids.has(id)) this.#byId.delete(id);
  }

  /** Forgets the oldest rows as far as they have expired. @param now `performance.now()` */
  forget(now: number): void {
    let expired = 0;
    for (const row of this.#rows) {
      if (row.until > now) break;
      if (this.#byId.get(row.id) === row) this.#byId.delete(row.id);
      expired++;
    }
    if (expired === 0) return;
    this.#rows = this.#rows.slice(expired);
    this.#start += expired;
  }
}
