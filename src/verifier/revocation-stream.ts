import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { RevocationKind, type WatchRevocationsResponse } from "../../gen/auth/v1/introspection_pb.ts";
import type { RevokedBy } from "../token/revokes.ts";
import type { ServiceConnection, VerifierLog } from "./options.ts";
import type { RevokedSet } from "./revoked-set.ts";
import { connectTo } from "./service-client.ts";

export interface RevocationStreamOptions {
  readonly connection: ServiceConnection;
  readonly revoked: RevokedSet;
  readonly maxStalenessMs: number;
  /** Milliseconds without any message after which the stream is opened again. */
  readonly timeoutMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: VerifierLog;
}

const kinds: Readonly<Partial<Record<number, RevokedBy>>> = {
  [RevocationKind.TOKEN]: "token",
  [RevocationKind.AUTHORIZATION]: "authorization",
  [RevocationKind.USER]: "user",
  [RevocationKind.SUBJECT]: "subject",
  [RevocationKind.CLIENT]: "client",
  [RevocationKind.KEY]: "key",
};

/** Milliseconds. First and longest pause before the stream is opened again; each is taken at random from its upper half. */
const backoff = { first: 100, longest: 5_000 };
/** Milliseconds between two messages of the issuer. A message counts as delayed only if it is later by more than that. */
const cadence = 500;
/** Milliseconds by which the two machines' clocks may differ; the same that tokens are granted. */
const clockDifference = 10_000;
/** Milliseconds in which messages that wait in the socket are read before the stream counts as silent. */
const readingTime = 50;
/** How fast clocks may drift apart, as a share. */
const drift = 0.001;

/**
 * Follows what is revoked: a snapshot, then every revocation as it happens. After a break it goes on where it stopped.
 *
 * Freshness counts on the monotonic clock, from the arrival of the newest `complete_until`. One that is not newer
 * than those before does not count: an issuer that is stuck goes on sending but has nothing new. One that was delayed on its
 * way counts from when it should have arrived.
 */
export class RevocationStream {
  readonly #options: RevocationStreamOptions;
  /** `performance.now()` until which the state is known. */
  freshUntil = Number.NEGATIVE_INFINITY;
  #resumeToken = "";
  /** Milliseconds of the issuer's time. */
  #completeUntil = Number.NEGATIVE_INFINITY;
  /** Smallest arrival (monotonic) minus complete_until seen on this stream, and when it was seen. */
  #least: { offset: number; at: number } | null = null;
  /** Newest complete_until of this stream alone, and how often it grew. */
  #own = { completeUntil: Number.NEGATIVE_INFINITY, grew: 0 };
  #complete = false;
  #stopped = false;
  #stop: () => void = () => {};
  readonly #running: Promise<void>;
  readonly #firstComplete = Promise.withResolvers<void>();

  constructor(options: RevocationStreamOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Resolves when a snapshot was complete for the first time. */
  get complete(): Promise<void> {
    return this.#firstComplete.promise;
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.freshUntil = Number.NEGATIVE_INFINITY;
    this.#stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let pause = 0;
    while (!this.#stopped) {
      const before = this.#completeUntil;
      const openedAt = performance.now();
      const error = await this.#follow();
      if (this.#stopped) return;
      const { code, rawMessage } = ConnectError.from(error);
      const details = { code: Code[code], reason: rawMessage };
      if (code === Code.Unauthenticated || code === Code.PermissionDenied) {
        log.error(
          details,
          "this service may not follow revocations: check its credentials and the scope auth.introspect",
        );
      } else log.warn(details, "the revocation stream broke; it is opened again");
      if (refusesResumeToken.has(code)) this.#resumeToken = "";
      // a stream that worked for a while is opened again at once: its replica may have been shut down
      const brought = this.#completeUntil > before && performance.now() - openedAt > 1_000;
      pause = brought ? 0 : Math.min(backoff.longest, pause === 0 ? backoff.first : pause * 2);
      await this.#sleep(brought ? Math.random() * 50 : pause * (0.5 + Math.random() / 2));
    }
  }

  /** One stream, from its opening to its end. @returns why it ended */
  async #follow(): Promise<unknown> {
    const { connection, timeoutMs } = this.#options;
    const abort = new AbortController();
    const client = connectTo(connection);
    const end = (reason: ConnectError) => {
      abort.abort(reason);
      client.close();
    };
    this.#stop = () => end(new ConnectError("closed", Code.Canceled));
    let heard = 0;
    const watchdog = setTimeout(() => {
      // this process may have been busy, and messages wait to be read
      const before = heard;
      setTimeout(() => {
        if (heard === before) end(new ConnectError("nothing was heard", Code.DeadlineExceeded));
      }, readingTime);
    }, timeoutMs);
    // messages that do not bring the state up to date do not count
    const stuck = setTimeout(
      () => {
        // the issuer's clock went back: its time grows, but from before what was known
        if (this.#own.grew > 2) this.#completeUntil = Number.NEGATIVE_INFINITY;
        end(new ConnectError("nothing new was heard", Code.DeadlineExceeded));
      },
      Math.max(3 * timeoutMs, 3 * this.#options.maxStalenessMs),
    );
    this.#least = null;
    this.#own = { completeUntil: Number.NEGATIVE_INFINITY, grew: 0 };
    this.#complete = false;
    try {
      const request = { resumeToken: this.#resumeToken, userEpochs: true };
      for await (const response of client.calls.watchRevocations(request, { signal: abort.signal })) {
        heard++;
        watchdog.refresh();
        const { freshUntil } = this;
        this.#take(response);
        if (response.snapshot || this.freshUntil > freshUntil) stuck.refresh();
      }
      return new ConnectError("the stream ended", Code.Unavailable);
    } catch (error) {
      return abort.signal.aborted ? abort.signal.reason : error;
    } finally {
      clearTimeout(watchdog);
      clearTimeout(stuck);
      this.#stop = () => {};
      client.close();
    }
  }

  #take(response: WatchRevocationsResponse): void {
    const { revoked, log } = this.#options;
    for (const { kind, value, epoch, revokedAt, expiresAt } of response.revocations) {
      const known = kinds[kind];
      // a kind of a later version of the contract: the state is not known without it, so the policy decides
      if (known === undefined) throw new ConnectError(`revocation of the unknown kind ${kind}`, Code.Unimplemented);
      const at = revokedAt === undefined ? Number.POSITIVE_INFINITY : timestampMs(revokedAt);
      const end = expiresAt === undefined ? Number.POSITIVE_INFINITY : timestampMs(expiresAt);
      const lasts = Number.isFinite(at) ? end - at : Number.POSITIVE_INFINITY;
      revoked.add(known, value, { revokedAt: at, epoch: epochOf(known, epoch) }, lasts);
    }
    this.#resumeToken = response.resumeToken;
    if (response.snapshot || response.completeUntil === undefined || this.#stopped) return;
    this.#freshen(timestampMs(response.completeUntil));
    if (this.#complete) return;
    this.#complete = true;
    this.#firstComplete.resolve();
    log.info({ revocations: revoked.size }, "the revocation stream is complete");
  }

  #freshen(completeUntil: number): void {
    if (completeUntil > this.#own.completeUntil) this.#own = { completeUntil, grew: this.#own.grew + 1 };
    if (completeUntil <= this.#completeUntil) return;
    this.#completeUntil = completeUntil;
    const { now, maxStalenessMs, revoked } = this.#options;
    const arrival = performance.now();
    const offset = arrival - completeUntil;
    const least = this.#least === null ? offset : this.#least.offset + (arrival - this.#least.at) * drift;
    this.#least = { offset: Math.min(least, offset), at: arrival };
    const held = Math.max(0, offset - least - cadence);
    const old = Math.max(0, now() - completeUntil - clockDifference);
    this.freshUntil = arrival + maxStalenessMs - Math.max(held, old);
    revoked.sweep();
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#stop = () => {};
  }
}

/** An issuer of a release before client epochs sends 0 of a client, which is never disabled at epoch 0. */
function epochOf(kind: RevokedBy, epoch: bigint): number | null {
  return kind === "user" || (kind === "client" && epoch > 0n) ? Number(epoch) : null;
}

/** The resume token is not accepted, or no longer: start with the snapshot. */
const refusesResumeToken: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.OutOfRange,
  Code.FailedPrecondition,
  Code.NotFound,
  Code.DataLoss,
]);
