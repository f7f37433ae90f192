import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { duringCall } from "../call.ts";
import { callOf } from "./caller.ts";

/**
 * Runs the work of a handler that writes. Once the call has ended (its deadline passed, its client hung up), no password is hashed
 * for it and no write begins. A write that the database has begun is completed.
 * @throws ConnectError DeadlineExceeded, Canceled
 */
export function withinDeadline<T>(context: HandlerContext, work: () => Promise<T>): Promise<T> {
  const call = callOf(context);
  // a handler's signal is made when it is first read: read it before the work, so that it reports every abort
  const { signal } = context;
  return duringCall(() => {
    if (performance.now() >= call.endsAt || (context.timeoutMs() ?? 1) <= 0) {
      throw new ConnectError("the deadline passed", Code.DeadlineExceeded);
    }
    if (signal.aborted) throw new ConnectError("the call ended", Code.Canceled);
  }, work);
}
