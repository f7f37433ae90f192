import type { Context } from "../context.ts";
import { type Asker, type EventUser, type SecurityKind, type UserSecurity, userSecurity } from "../events.ts";

/** The event that tells the owner of an account of a change. It is written in the transaction of the change. */
export function tellOwner(
  ctx: Context,
  user: EventUser,
  kind: SecurityKind,
  detail: string,
  asker: Asker,
): UserSecurity {
  return userSecurity(user, { kind, detail }, asker, ctx.clock.now());
}
