import { AuthError } from "../../errors.ts";
import type { OutboxStore } from "../../store/outbox.ts";
import type { OAuthContext } from "../context.ts";

const atOnce = 500;

export interface Resealed {
  readonly keys: number;
  readonly events: number;
  readonly authenticatorApps: number;
  /** What no key in KEY_ENCRYPTION_KEY opens. */
  readonly unreadable: number;
}

/**
 * Seals all that is sealed at rest under the first key in KEY_ENCRYPTION_KEY: private signing keys, events that wait and parked ones, mails,
 * secrets of authenticator apps. The service may run meanwhile, with the same keys; a second run finds what the first one left.
 * @param progress told how many events and authenticator apps were looked at so far
 * @throws AuthError unavailable
 */
export async function resealEverything(ctx: OAuthContext, progress: (seen: number) => void): Promise<Resealed> {
  const keys = await ctx.keys.reseal();
  let seen = 0;
  const look = (count: number) => {
    seen += count;
    progress(seen);
  };
  const events = await resealQueue(ctx.store.outbox, look);
  const mails = await resealQueue(ctx.store.mail, () => {});
  const apps = await resealApps(ctx, look);
  return {
    keys: keys.resealed,
    events: events.resealed + mails.resealed,
    authenticatorApps: apps.resealed,
    unreadable: [keys, events, mails, apps].reduce((sum, { unreadable }) => sum + unreadable, 0),
  };
}

interface Part {
  readonly resealed: number;
  readonly unreadable: number;
}

async function resealQueue(queue: Pick<OutboxStore, "reseal">, look: (count: number) => void): Promise<Part> {
  let [resealed, unreadable] = [0, 0];
  for (let after: string | null = null; ; look(atOnce)) {
    const page = await queue.reseal(after, atOnce);
    resealed += page.resealed;
    unreadable += page.unreadable;
    if (page.end === null) return { resealed, unreadable };
    after = page.end;
  }
}

async function resealApps({ store, derivedKeys }: OAuthContext, look: (count: number) => void): Promise<Part> {
  let [resealed, unreadable] = [0, 0];
  for (let after: string | null = null; ; look(atOnce)) {
    const page = await store.factors.listTotp(after, atOnce);
    for (const { userId, sealedSecret: from } of page) {
      try {
        const to = derivedKeys.totpSecrets.reseal(from, userId);
        if (to !== null && (await store.factors.resealTotp(userId, { from, to }))) resealed++;
      } catch (error) {
        if (error instanceof AuthError) throw error;
        unreadable++;
      }
    }
    if (page.length < atOnce) return { resealed, unreadable };
    after = page.at(-1)?.userId ?? null;
  }
}
