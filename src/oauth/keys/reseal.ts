import type { OAuthContext } from "../context.ts";

const eventsAtOnce = 500;

export interface Resealed {
  readonly keys: number;
  readonly events: number;
  /** Keys and events that no key in KEY_ENCRYPTION_KEY opens. */
  readonly unreadable: number;
}

/**
 * Seals all that is sealed at rest under the first key in KEY_ENCRYPTION_KEY: private signing keys, events that wait and parked ones. The
 * service may run meanwhile, with the same keys; a second run finds what the first one left.
 * @param progress told how many events were looked at so far
 * @throws AuthError unavailable
 */
export async function resealEverything(ctx: OAuthContext, progress: (events: number) => void): Promise<Resealed> {
  const keys = await ctx.keys.reseal();
  let [events, unreadable, seen] = [0, keys.unreadable, 0];
  for (let after: string | null = null; ; ) {
    const page = await ctx.store.outbox.reseal(after, eventsAtOnce);
    events += page.resealed;
    unreadable += page.unreadable;
    if (page.end === null) break;
    after = page.end;
    seen += eventsAtOnce;
    progress(seen);
  }
  const mails = await ctx.store.mail.reseal();
  return { keys: keys.resealed, events: events + mails.resealed, unreadable: unreadable + mails.unreadable };
}
