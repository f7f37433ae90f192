import { readPageToken, writePageToken } from "../../crypto/page-tokens.ts";
import { AuthError } from "../../errors.ts";
import type { StoredRevocation } from "../../store/revocations.ts";
import type { OAuthContext } from "../context.ts";

/** How often a watcher gets a response even if nothing was revoked (milliseconds). */
const heartbeatMs = 250;
/** Rows in one response. */
const page = 1_000;
/** A watcher that takes longer than this for one response (milliseconds), or is more rows behind than `maxBehind`, is disconnected. */
const slowMs = 5_000;
const maxBehind = 50_000;

export interface WatchResponse {
  readonly revocations: readonly StoredRevocation[];
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
 * Every unexpired revocation, then each as it becomes known, from memory: a watcher costs the store nothing. A watcher is a position
 * in the shared list of known revocations, so a slow one costs no memory either.
 * @param options.userEpochs whether the watcher understands revocations of kind `user`
 * @param options.resumeToken of an earlier response of any replica; empty: start with the snapshot
 * @throws AuthError invalid_request (a resume token that no replica issued), unavailable, SlowWatcher
 */
export async function* watchRevocations(
  ctx: OAuthContext,
  { resumeToken, userEpochs }: { readonly resumeToken: string; readonly userEpochs: boolean },
  signal: AbortSignal,
): AsyncGenerator<WatchResponse> {
  const { feed } = ctx;
  const { known } = feed;
  const { resumeTokens } = ctx.derivedKeys;
  const resumed = readPageToken(resumeTokens, list, resumeToken);
  const stale = feed.ensureFresh();
  if (stale !== null) await stale;

  known.watchers++;
  try {
    const [after, mark] = resumed ?? [0, ""];
    // a token that names another row than the one of its id here is of a feed that was before: it starts with the snapshot
    const isOfThis = mark !== "" && mark === known.markOf(after);
    let position = isOfThis ? known.positionAfter(after) : known.start;
    const snapshotEnd = known.end;
    let token = resumeToken;
    let completeUntil = 0;
    for (;;) {
      if (known.draining) throw new AuthError("unavailable", "this replica is shutting down", { retryAfter: 1 });
      if (signal.aborted) return;
      if (known.end - position > maxBehind && position >= snapshotEnd) throw new SlowWatcher(token);
      const rows = known.read(position, page);
      position = Math.max(position, known.start) + rows.length;
      if (position === known.end) {
        token = writePageToken(resumeTokens, list, [feed.completeBelow, known.markOf(feed.completeBelow)]);
        completeUntil = feed.completeUntil;
      }
      const sentAt = performance.now();
      const snapshot = position < snapshotEnd;
      yield {
        revocations: rows.filter(({ kind }) => kind !== "client_changed" && (kind !== "user" || userEpochs)),
        resumeToken: token,
        snapshot,
        completeUntil,
      };
      if (performance.now() - sentAt > slowMs) throw new SlowWatcher(token);
      if (position === known.end) await known.change(heartbeatMs);
    }
  } finally {
    known.watchers--;
  }
}
