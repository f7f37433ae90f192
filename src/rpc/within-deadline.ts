import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import type { Context } from "../context.ts";
import { callOf } from "./caller.ts";

/** Reading may go on, and a replay found out ends what it replayed, however little time its sender gave. */
const always = /^(find|list|latest)|^(revoke|countWrongVerifier)$/;

/**
 * The context for a handler that writes: once the call is over (its deadline passed, its client hung up), no password is hashed
 * and no write begun. A write that the database has already begun is finished there.
 */
export function withinDeadline(ctx: Context, context: HandlerContext): Context {
  const check = (): void => {
    if (performance.now() >= callOf(context).endsAt || (context.timeoutMs() ?? 1) <= 0) {
      throw new ConnectError("the deadline passed", Code.DeadlineExceeded);
    }
    if (context.signal.aborted) throw new ConnectError("the call ended", Code.Canceled);
  };
  // asked for before any work, so that it is watched from the start
  check();
  return {
    ...ctx,
    store: checkedStore(ctx.store, check),
    passwords: checked(ctx.passwords, check),
    limits: checked(ctx.limits, check),
  };
}

function checkedStore(store: Context["store"], check: () => void): Context["store"] {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "object" && value !== null ? checked(value, check) : value;
    },
  });
}

/** The same verbs, each after the check. */
function checked<T extends object>(target: T, check: () => void): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (typeof name !== "string" || always.test(name)) return value.bind(target);
      return (...parameters: unknown[]) => {
        check();
        return value.apply(target, parameters);
      };
    },
  });
}
