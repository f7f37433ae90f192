import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import type { OAuthContext } from "../oauth/context.ts";
import { checkedContext } from "../users/checked-context.ts";
import { callOf } from "./caller.ts";

/**
 * The context for a handler that writes: once the call is over (its deadline passed, its client hung up), no password is hashed
 * and no write begun. A write that the database has already begun is finished there.
 */
export function withinDeadline(ctx: OAuthContext, context: HandlerContext): OAuthContext {
  const call = callOf(context);
  // asked for before any work, so that it is watched from the start
  const { signal } = context;
  return checkedContext(ctx, () => {
    if (performance.now() >= call.endsAt || (context.timeoutMs() ?? 1) <= 0) {
      throw new ConnectError("the deadline passed", Code.DeadlineExceeded);
    }
    if (signal.aborted) throw new ConnectError("the call ended", Code.Canceled);
  });
}
