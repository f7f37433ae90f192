import type { Clock } from "../../clock.ts";
import { within } from "../../deadline.ts";
import { AuthError } from "../../errors.ts";
import { LONGEST_TRANSACTION_MS, type RevocationStore, type StoredRevocation } from "../../store/revocations.ts";
import type { Logger } from "../../telemetry/log.ts";
import { KnownRevocations } from "./known-revocations.ts";
import { RevokedSet } from "./revoked-set.ts";

/** How often the feed is polled while it is used, or a fifth of the bound where that is less (milliseconds). */
const pollMs = 100;
/** It counts as used for this long after the newest question, and while someone watches (milliseconds). */
const usedMs = 3_000;
/** Unused, it is polled after this share of the bound: the first question finds it fresh. */
const unusedShare = 0.75;
/** A row may become visible this much later than one with a higher id: twice the longest transaction, as a safe margin. */
const overlapMs = 2 * LONGEST_TRANSACTION_MS;
/** Rows of one read. */
const page = 5_000;
/** The overlap is read again after this share of the bound. The polls between read only higher ids. */
const overlapShare = 0.4;
/** A row that ends later than this (milliseconds) was cleaned up by nobody, however wrong the clocks. */
const keptForMs = 60_000;
/** The feed keeps rows about clients for longer than this (milliseconds). */
const clientRowsMs = 60_000;

export interface FeedTailOptions {
  readonly store: RevocationStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** The bound: REVOCATION_MAX_STALENESS. */
  readonly maxStalenessMs: number;
}

/**
 * Tails the revocation feed of all replicas into memory: `revoked` says what is revoked, `known` lists the rows for watchers. Access
 * tokens live two minutes, so the unexpired rows are few.
 *
 * Freshness counts, by the monotonic clock, from when the newest successful poll was sent. A state older than the bound decides
 * nothing: all callers then share one immediate poll, and get `unavailable` if it fails.
 */
export class FeedTail {
  readonly revoked = new RevokedSet();
  readonly known = new KnownRevocations();
  readonly #store: RevocationStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #maxStalenessMs: number;
  readonly #pollMs: number;
  readonly #floor = new Floor();
  /** When the newest poll with overlap was sent. */
  #freshAt = Number.NEGATIVE_INFINITY;
  /** When the newest poll was answered. */
  #readAt = Number.NEGATIVE_INFINITY;
  #completeUntil = 0;
  #polling: { readonly overlap: boolean; readonly sentAt: number; readonly done: Promise<void> } | null = null;
  /** Something was committed during the current poll: poll again after it. */
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  /** When it was last asked, by `performance.now()`. */
  #usedAt = performance.now();
  #isResting = false;
  #closed = false;
  readonly #stopListening: () => void;

  private constructor(options: FeedTailOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#maxStalenessMs = options.maxStalenessMs;
    this.#pollMs = Math.min(pollMs, options.maxStalenessMs / 5);
    // this replica refuses what it revokes before it answers the caller; the poll brings the row's id, for watchers
    this.#stopListening = options.store.onAppend((revocations) => {
      for (const revocation of revocations) this.revoked.add(revocation, performance.now());
      if (this.#polling === null) void this.#poll(false).catch(() => {});
      else this.#again = true;
    });
  }

  /** Loads the whole feed, then keeps polling. @throws AuthError unavailable */
  static async open(options: FeedTailOptions): Promise<FeedTail> {
    const tail = new FeedTail(options);
    try {
      await tail.#poll(true);
    } catch (error) {
      tail.#stopListening();
      throw error;
    }
    tail.#schedule();
    return tail;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopListening();
    clearTimeout(this.#timer);
    this.known.drain();
    await this.#polling?.done.catch(() => {});
  }

  /** Is the state fresh enough to decide? Does not wait for a poll. */
  get fresh(): boolean {
    this.#usedAt = performance.now();
    if (this.#isResting) this.#schedule(0);
    return this.#isFresh;
  }

  get #isFresh(): boolean {
    return this.ageMs <= this.#maxStalenessMs;
  }

  /** How long ago the state was asked for (milliseconds). */
  get ageMs(): number {
    return performance.now() - this.#freshAt;
  }

  /** @returns null while the state is fresh; else a promise that resolves once it is @throws AuthError unavailable (by the promise) */
  ensureFresh(): Promise<void> | null {
    return this.fresh ? null : this.#freshen();
  }

  /** An id up to which every row is known: a watcher that has everything known now may resume after it, on any replica. */
  get completeBelow(): number {
    return this.#floor.id;
  }

  /** Every revocation acknowledged before this time is known (epoch milliseconds). */
  get completeUntil(): number {
    return this.#completeUntil;
  }

  async #freshen(): Promise<void> {
    let cause: unknown;
    const polled = this.#poll(true).catch((error: unknown) => {
      cause = error;
    });
    // the result of a poll that takes longer than the bound is not fresh
    const left = (this.#polling?.sentAt ?? 0) + this.#maxStalenessMs - performance.now();
    if (left > 0) await within(left, polled).catch(() => undefined);
    if (this.#isFresh) return;
    throw new AuthError("unavailable", "the revocation state is unavailable", { cause, retryAfter: 1 });
  }

  #schedule(ms = this.#pause()): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#isResting = ms > this.#pollMs;
    this.#timer = setTimeout(async () => {
      this.#isResting = false;
      try {
        const overlapDue = performance.now() - this.#freshAt >= this.#maxStalenessMs * overlapShare;
        await this.#poll(overlapDue);
      } catch (error) {
        this.#log.debug({ err: error }, "the revocation feed was not read");
      }
      this.#schedule();
    }, ms);
    this.#timer.unref();
  }

  #pause(): number {
    const isUsed = this.known.watchers > 0 || performance.now() - this.#usedAt < usedMs;
    return isUsed ? this.#pollMs : this.#maxStalenessMs * unusedShare;
  }

  /** One poll at a time: calls during a poll share it. A call that wants the overlap gets a poll of its own if this one omits it. */
  #poll(overlap: boolean): Promise<void> {
    if (this.#polling !== null) {
      if (!overlap || this.#polling.overlap) return this.#polling.done;
      return this.#polling.done.catch(() => {}).then(() => this.#poll(true));
    }
    const sentAt = performance.now();
    const done = this.#read(overlap, sentAt).finally(() => {
      this.#polling = null;
      if (this.#again && !this.#closed) void this.#poll(false).catch(() => {});
      this.#again = false;
    });
    this.#polling = { overlap, sentAt, done };
    return done;
  }

  /** @param overlap read from the floor, which makes the state fresh; else only higher ids than any known one */
  async #read(overlap: boolean, sentAt: number): Promise<void> {
    const now = this.#clock.now();
    const isFirst = this.#freshAt === Number.NEGATIVE_INFINITY;
    const endBefore = this.known.end;
    let highest = overlap ? await this.#loadFromFloor() : await this.#load(this.#floor.highest);
    // the database is an earlier one, whose ids come again: after a restore, or a fail-over to a server that was behind
    const isOther = highest === null;
    highest ??= await this.#loadOther();
    const readAt = performance.now();
    const pause = readAt - this.#readAt;
    if (pause > this.#maxStalenessMs) this.#floor.delay(pause);
    if (isOther || (pause > clientRowsMs && !isFirst)) this.revoked.missedClientChanges();
    this.#readAt = readAt;
    this.#floor.note(readAt, highest);
    if (overlap) {
      if (isFirst) this.#floor.begin(readAt, settledId(this.known, now));
      this.#freshAt = sentAt;
      this.#completeUntil = now;
    }
    this.#floor.raise(sentAt);
    this.revoked.forget(readAt);
    this.known.forget(readAt);
    if (this.known.end > endBefore) this.known.announce();
  }

  /** Reads from the row at the floor on. @returns the highest id known now; null: the feed is not the one that was read before */
  async #loadFromFloor(): Promise<number | null> {
    const { id } = this.#floor;
    if (id === 0) return this.#load(0);
    const first = await this.#store.after(id - 1, page, 0);
    const isKnown = first[0]?.id === id && this.known.has(first[0]);
    if (!isKnown && !(await this.#sinksFloor())) return null;
    return isKnown ? this.#load(id, { first }) : this.#load(this.#floor.id);
  }

  /** The row at the floor was cleaned up: it sinks to one that must still be there. @returns false: that is gone, or there is none */
  async #sinksFloor(): Promise<boolean> {
    const lower = this.known.newestBelow(this.#floor.id, this.#clock.now() + keptForMs);
    if (lower === null) return false;
    const [found] = await this.#store.after(lower.id - 1, 1, 0);
    if (found?.id !== lower.id || !this.known.has(found)) return false;
    this.#floor.sink(lower.id);
    return true;
  }

  /** Reads a feed in which other rows may have the ids that are known. @returns its highest id */
  async #loadOther(): Promise<number> {
    const ids = new Set<number>();
    const highest = await this.#load(0, { found: ({ id }) => ids.add(id) });
    this.known.forgetIdsBut(ids);
    this.#floor.restart(performance.now());
    return highest;
  }

  /**
   * Reads every row above an id, page by page.
   * @param options.first the first page, where it was read already
   * @returns the highest id of the feed
   */
  async #load(
    above: number,
    options: { readonly first?: readonly StoredRevocation[]; readonly found?: (row: StoredRevocation) => void } = {},
  ): Promise<number> {
    let highest = above === 0 ? 0 : this.#floor.highest;
    let { first } = options;
    for (let from = above; ; first = undefined) {
      // includes the few expired rows: clocks, here or where a row was written, may be too wrong to tell which those are
      const rows = first ?? (await this.#store.after(from, page, 0));
      const readAt = performance.now();
      for (const row of rows) {
        options.found?.(row);
        if (this.known.append(row, readAt)) this.revoked.add(row, readAt);
      }
      const last = rows.at(-1);
      if (last === undefined) return highest;
      highest = Math.max(highest, last.id);
      if (rows.length < page) return highest;
      from = last.id;
    }
  }
}

/**
 * The id up to which every row is known. Ids become visible out of order, up to `overlapMs` late, so the floor is the id that was the
 * highest that long ago. Times are by the monotonic clock.
 */
class Floor {
  /** The highest ids with when they were seen, oldest first. The first one is the floor. */
  #heights: { readonly at: number; readonly id: number }[] = [];

  get id(): number {
    return this.#heights[0]?.id ?? 0;
  }

  get highest(): number {
    return this.#heights.at(-1)?.id ?? 0;
  }

  note(at: number, id: number): void {
    this.#heights.push({ at, id });
  }

  /** After the first load: what was settled then counts as seen before the overlap. */
  begin(at: number, settled: number): void {
    this.#heights.unshift({ at: at - overlapMs, id: settled });
  }

  /** What was seen of another feed says nothing of this one: it is read from its start until the overlap has passed. */
  restart(at: number): void {
    this.#heights = [{ at: at - overlapMs, id: 0 }];
  }

  /** The row at the floor is gone, and with it those above it that were as high. */
  sink(id: number): void {
    const gone = this.id;
    this.#heights = this.#heights.map((height) => (height.id === gone ? { at: height.at, id } : height));
  }

  /** While the store did not answer nothing was committed: transactions under way then still have their whole time. */
  delay(ms: number): void {
    this.#heights = this.#heights.map(({ at, id }) => ({ at: at + ms, id }));
  }

  /** The newest height that is older than the overlap becomes the floor. @param sentAt when the newest poll was sent */
  raise(sentAt: number): void {
    const firstYoung = this.#heights.findIndex(({ at }) => at > sentAt - overlapMs);
    if (firstYoung > 1) this.#heights = this.#heights.slice(firstYoung - 1);
  }
}

/**
 * The id up to which the first load found every row. Times in rows are only as right as the clocks of their writers, so of the newest
 * page of rows none counts as settled.
 */
function settledId(known: KnownRevocations, now: number): number {
  const older = known.read(known.start, Math.max(0, known.end - known.start - page));
  const settled = older.filter(({ revokedAt }) => revokedAt < now - 6 * LONGEST_TRANSACTION_MS);
  return settled.at(-1)?.id ?? 0;
}
