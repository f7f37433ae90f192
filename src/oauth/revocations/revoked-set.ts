import type { Clock } from "../../clock.ts";
import { AuthError } from "../../errors.ts";
import {
  LONGEST_TRANSACTION_MS,
  type Revocation,
  type RevocationKind,
  type RevocationStore,
  type StoredRevocation,
} from "../../store/revocations.ts";
import type { Logger } from "../../telemetry/telemetry.ts";

/** How often the feed is read, at the most a fifth of the bound (milliseconds). */
const pollMs = 100;
/** A row may become visible this much later than one with a higher id; twice the longest transaction, to be sure. */
const overlapMs = 2 * LONGEST_TRANSACTION_MS;
const page = 5_000;
/** The overlap is read again after this share of the bound; between, only what has a higher id. */
const overlapShare = 0.4;
/** Rows about clients stay longer than this. */
const clientRowsMs = 60_000;
/**
 * A client's `revokedAt` and a token's `iat` may come from replicas whose clocks differ a little, and `iat` counts whole seconds:
 * so much after being disabled and enabled again a client's new tokens are refused too.
 */
const issueToleranceMs = 2_000;

/** The claims by which a token may be revoked. */
export interface Revocable {
  readonly jti: string;
  readonly sid: string;
  readonly sub: string;
  readonly client_id: string;
  /** Seconds. */
  readonly iat: number;
  /** What it was exchanged from ends it too. */
  readonly exchanged_from?: readonly { readonly jti: string; readonly client_id: string }[];
}

/** Something to be forgotten when `until` is over, on the monotonic clock: a clock that is set wrong forgets nothing early. */
type Kept<T> = T & { readonly until: number };

/** A revocation as watchers get it, in the order it became known here. */
export type KnownRevocation = StoredRevocation;

/**
 * What was revoked lately, in memory: the whole feed of unexpired rows, tailed. Access tokens live two minutes, so it is small.
 *
 * Freshness counts, on the monotonic clock, from when the newest good poll was sent. While it is older than the bound nothing is
 * decided: all callers share one immediate poll, and if that fails they get `unavailable`.
 */
export class RevokedSet {
  readonly #store: RevocationStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #maxStalenessMs: number;
  readonly #pollMs: number;
  readonly #byKind: Record<RevocationKind, Map<string, Kept<Revocation>>> = {
    token: new Map(),
    authorization: new Map(),
    subject: new Map(),
    client: new Map(),
    key: new Map(),
    client_changed: new Map(),
  };
  /** Rows by id, in the order they were read: what watchers follow. Rows before `#first` are expired and forgotten. */
  #rows: Kept<StoredRevocation>[] = [];
  #first = 0;
  readonly #ids = new Set<number>();
  /** Highest ids with when they were seen: what is older than the overlap is complete below. */
  #heights: { at: number; id: number }[] = [];
  #freshAt = Number.NEGATIVE_INFINITY;
  /** When the newest poll was answered. */
  #readAt = Number.NEGATIVE_INFINITY;
  #completeUntil = 0;
  #polling: { readonly overlap: boolean; readonly sentAt: number; readonly done: Promise<void> } | null = null;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #draining = false;
  #waiting = new Set<() => void>();
  readonly #clientListeners = new Set<(clientId: string | null) => void>();
  readonly #keyListeners = new Set<(kid: string) => void>();
  readonly #stop: () => void;

  private constructor(options: RevokedSetOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#maxStalenessMs = options.maxStalenessMs;
    this.#pollMs = Math.min(pollMs, options.maxStalenessMs / 5);
    // what this replica revokes it refuses before it says so; the tail brings the id, for watchers
    this.#stop = options.store.onAppend((revocations) => {
      for (const revocation of revocations) this.#add(revocation, performance.now());
      if (this.#polling === null) void this.#poll(false).catch(() => {});
      else this.#again = true;
    });
  }

  /** Loads the feed whole. @throws AuthError unavailable */
  static async open(options: RevokedSetOptions): Promise<RevokedSet> {
    const set = new RevokedSet(options);
    try {
      await set.#poll(true);
    } catch (error) {
      set.#stop();
      throw error;
    }
    set.#schedule();
    return set;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    clearTimeout(this.#timer);
    this.#announce();
    await this.#polling?.done.catch(() => {});
  }

  /** Sends the watchers away, to another replica, before the listeners close. */
  drain(): void {
    this.#draining = true;
    this.#announce();
  }

  get draining(): boolean {
    return this.#draining || this.#closed;
  }

  /** Is the state fresh enough to decide? Starts nothing where it is not. */
  get fresh(): boolean {
    return performance.now() - this.#freshAt <= this.#maxStalenessMs;
  }

  /** Null while the state is fresh enough to decide; else a promise that it is. @throws AuthError unavailable (by the promise) */
  ensureFresh(): Promise<void> | null {
    return this.fresh ? null : this.#freshen();
  }

  async #freshen(): Promise<void> {
    let cause: unknown;
    const polled = this.#poll(true).catch((error: unknown) => {
      cause = error;
    });
    // a poll that takes longer than the bound leaves nothing known, whatever it brings
    const left = (this.#polling?.sentAt ?? 0) + this.#maxStalenessMs - performance.now();
    if (left > 0) await withTimeout(polled, left);
    if (this.fresh) return;
    throw new AuthError("unavailable", "what was revoked is not known right now", { cause, retryAfter: 1 });
  }

  /** Call only while fresh. */
  isRevoked(claims: Revocable): boolean {
    const { token, authorization, subject } = this.#byKind;
    if (token.has(claims.jti) || authorization.has(claims.sid) || subject.has(claims.sub)) return true;
    if (claims.exchanged_from !== undefined) {
      for (const { jti, client_id } of claims.exchanged_from) {
        if (token.has(jti) || this.#isClientRevoked(client_id, claims.iat)) return true;
      }
    }
    return this.#isClientRevoked(claims.client_id, claims.iat);
  }

  #isClientRevoked(clientId: string, iat: number): boolean {
    const { client } = this.#byKind;
    const disabled = client.size === 0 ? undefined : client.get(clientId);
    return disabled !== undefined && iat * 1000 <= disabled.revokedAt + issueToleranceMs;
  }

  isAuthorizationRevoked(sid: string): boolean {
    return this.#byKind.authorization.has(sid);
  }

  /** Called when something about a client changed, on any replica; null: about any of them, perhaps. */
  onClientChange(listener: (clientId: string | null) => void): void {
    this.#clientListeners.add(listener);
  }

  /** Called for each key that was distrusted, on any replica, lately or from now on. */
  onKeyDistrusted(listener: (kid: string) => void): void {
    this.#keyListeners.add(listener);
    for (const kid of this.#byKind.key.keys()) listener(kid);
  }

  // What watchers follow.

  /** Position of the oldest row that is kept. */
  get start(): number {
    return this.#first;
  }

  /** Position behind everything known now. */
  get end(): number {
    return this.#first + this.#rows.length;
  }

  /** Where the rows above an id begin that may not have been sent before. */
  positionAfter(id: number): number {
    const at = this.#rows.findIndex((row) => row.id > id);
    return this.#first + (at < 0 ? this.#rows.length : at);
  }

  /** Rows from a position on. */
  read(position: number, limit: number): readonly KnownRevocation[] {
    const from = Math.max(0, position - this.#first);
    return this.#rows.slice(from, from + limit);
  }

  /** An id below which every row is known: a watcher that has everything until now may resume after it, on any replica. */
  get completeBelow(): number {
    return this.#heights[0]?.id ?? 0;
  }

  /** Everything acknowledged before this time is known, epoch milliseconds. */
  get completeUntil(): number {
    return this.#completeUntil;
  }

  /** Resolves at the next row, at the close, or after `ms`. */
  async change(ms: number): Promise<void> {
    if (this.draining) return;
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

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(async () => {
      try {
        const overlapDue = performance.now() - this.#freshAt >= this.#maxStalenessMs * overlapShare;
        await this.#poll(overlapDue);
      } catch (error) {
        this.#log.debug({ err: error }, "the revocation feed was not read");
      }
      this.#schedule();
    }, this.#pollMs);
    this.#timer.unref();
  }

  /** One poll at a time. While one runs a call shares it, and is followed by another if it asked for what that one leaves out. */
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

  /** @param overlap from the floor, which makes the state fresh; else only what is higher than everything known */
  async #read(overlap: boolean, sentAt: number): Promise<void> {
    const now = this.#clock.now();
    const first = this.#freshAt === Number.NEGATIVE_INFINITY;
    const before = this.end;
    let highest = this.#heights.at(-1)?.id ?? 0;
    for (let from = overlap ? this.completeBelow : highest; ; ) {
      // expired ones too, which are few: whether they are is not for a clock to say that may be set wrong, here or where they were written
      const rows = await this.#store.after(from, page, 0);
      const readAt = performance.now();
      for (const row of rows) {
        if (this.#ids.has(row.id)) continue;
        this.#ids.add(row.id);
        this.#rows.push({ ...row, until: readAt + row.expiresAt - row.revokedAt });
        this.#add(row, readAt);
      }
      const last = rows.at(-1);
      if (last === undefined) break;
      highest = Math.max(highest, last.id);
      if (rows.length < page) break;
      from = last.id;
    }
    const readAt = performance.now();
    // while the store did not answer nothing was committed either: what was under way then has its whole time still to come
    const pause = readAt - this.#readAt;
    if (pause > this.#maxStalenessMs) this.#heights = this.#heights.map(({ at, id }) => ({ at: at + pause, id }));
    // rows about clients may have come and gone meanwhile
    if (pause > clientRowsMs && !first) for (const listener of this.#clientListeners) listener(null);
    this.#readAt = readAt;
    this.#heights.push({ at: readAt, id: highest });
    if (overlap) {
      if (first) this.#heights.unshift({ at: readAt - overlapMs, id: this.#settledId(now) });
      this.#freshAt = sentAt;
      this.#completeUntil = now;
    }
    // the newest height that is older than the overlap becomes the floor
    const firstYoung = this.#heights.findIndex(({ at }) => at > sentAt - overlapMs);
    if (firstYoung > 1) this.#heights = this.#heights.slice(firstYoung - 1);
    this.#forget(readAt);
    if (this.end > before) this.#announce();
  }

  /**
   * Of what the first load found, the id below which nothing is still to come. Times in rows are only as good as the clocks of their
   * writers: among the newest page of rows none counts as settled.
   */
  #settledId(now: number): number {
    const older = this.#rows.slice(0, Math.max(0, this.#rows.length - page));
    const settled = older.filter(({ revokedAt }) => revokedAt < now - 6 * LONGEST_TRANSACTION_MS);
    return settled.at(-1)?.id ?? 0;
  }

  #add(revocation: Revocation, knownAt: number): void {
    const { kind, value } = revocation;
    const known = this.#byKind[kind].get(value);
    if (known === undefined || known.revokedAt < revocation.revokedAt) {
      // a later one goes to the end, so that the map stays ordered by age
      if (known !== undefined) this.#byKind[kind].delete(value);
      this.#byKind[kind].set(value, { ...revocation, until: knownAt + revocation.expiresAt - revocation.revokedAt });
    }
    if (kind === "key" && known === undefined) for (const listener of this.#keyListeners) listener(value);
    if (kind === "client" || kind === "client_changed") {
      for (const listener of this.#clientListeners) listener(value);
    }
  }

  #forget(now: number): void {
    for (const map of Object.values(this.#byKind)) {
      for (const [value, { until }] of map) {
        if (until > now) break;
        map.delete(value);
      }
    }
    let expired = 0;
    while ((this.#rows[expired]?.until ?? Number.POSITIVE_INFINITY) <= now) {
      this.#ids.delete(this.#rows[expired]?.id ?? 0);
      expired++;
    }
    if (expired === 0) return;
    this.#rows = this.#rows.slice(expired);
    this.#first += expired;
  }

  #announce(): void {
    for (const done of [...this.#waiting]) done();
  }
}

/** Resolves with the promise or after `ms`, whichever is first. */
async function withTimeout(promise: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

export interface RevokedSetOptions {
  readonly store: RevocationStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** REVOCATION_MAX_STALENESS. */
  readonly maxStalenessMs: number;
}
