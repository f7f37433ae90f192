import { readPageToken, writePageToken } from "../../crypto/page-tokens.ts";
import { AuthError } from "../../errors.ts";
import type { OAuthContext } from "../context.ts";
import type { KnownRevocation } from "./revoked-set.ts";

/** How often a watcher hears something though nothing was revoked (milliseconds). */
const heartbeatMs = 250;
/** Rows in one response. */
const page = 1_000;
/** A watcher that has not taken a response for so long, or is so many rows behind, is sent away. */
const slowMs = 5_000;
const maxBehind = 50_000;

export interface WatchResponse {
  readonly revocations: readonly KnownRevocation[];
  readonly resumeToken: string;
  /** More of the opening snapshot follows. */
  readonly snapshot: boolean;
  /** Epoch milliseconds. */
  readonly completeUntil: number;
}

/** The watcher reads too slowly; it may come back with the resume token. */
export class SlowWatcher extends AuthError {
  readonly resumeToken: string;
  constructor(resumeToken: string) {
    super("rate_limited", "this watcher reads too slowly: come back with the resume token", { retryAfter: 1 });
    this.resumeToken = resumeToken;
  }
}

const list = "revocations";

/**
 * Every unexpired revocation, then each as it becomes known, from memory: a watcher costs the store nothing. What is sent is the
 * shared list of the revoked set; a watcher is a position in it, so that slow ones cost no memory either.
 * @param resumeToken of an earlier response of any replica; empty: start with the snapshot
 * @throws AuthError invalid_request (a token that is not ours), unavailable, SlowWatcher
 */
export async function* watchRevocations(
  ctx: OAuthContext,
  resumeToken: string,
  signal: AbortSignal,
): AsyncGenerator<WatchResponse> {
  const { revoked } = ctx;
  const key = ctx.config.keyEncryptionKey;
  const resumed = readPageToken(key, list, resumeToken);
  const stale = revoked.ensureFresh();
  if (stale !== null) await stale;

  let position = revoked.positionAfter(resumed?.[0] ?? 0);
  const snapshotEnd = revoked.end;
  let token = resumeToken;
  let completeUntil = 0;
  for (;;) {
    if (revoked.draining) throw new AuthError("unavailable", "this replica is shutting down", { retryAfter: 1 });
    if (signal.aborted) return;
    if (revoked.end - position > maxBehind && position >= snapshotEnd) throw new SlowWatcher(token);
    const rows = revoked.read(position, page);
    position = Math.max(position, revoked.start) + rows.length;
    if (position === revoked.end) {
      token = writePageToken(key, list, [revoked.completeBelow, ""]);
      completeUntil = revoked.completeUntil;
    }
    const sentAt = performance.now();
    const snapshot = position < snapshotEnd;
    yield {
      revocations: rows.filter(({ kind }) => kind !== "client_changed"),
      resumeToken: token,
      snapshot,
      completeUntil,
    };
    if (performance.now() - sentAt > slowMs) throw new SlowWatcher(token);
    if (position === revoked.end) await revoked.change(heartbeatMs);
  }
}
