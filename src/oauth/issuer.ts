import type { Context } from "../context.ts";
import { StartRefused } from "../errors.ts";
import { isLoopback } from "../net/loopback.ts";
import type { Owner } from "../store/issuer.ts";

/**
 * Are the configured issuer, and the domain of its passkeys, those that the store was made for? Under another issuer every session and token
 * that was given out would end, and under another domain every passkey. Those of this machine alone are a developer's, and may change with
 * the port.
 * @throws StartRefused: the store is of another issuer, or its passkeys are for another domain
 */
export async function requireIssuer(ctx: Context): Promise<void> {
  const { issuer } = ctx.config;
  const former = (await ctx.store.issuer.find())?.url ?? null;
  if (former === issuer) return requireRpId(ctx);
  if (former !== null && !isLoopback(new URL(former).hostname)) {
    throw new StartRefused(
      `ISSUER is ${issuer}, but this database is of ${former}: all sessions and tokens that it gave out would end. Nothing was changed. Set ` +
        "ISSUER back, or name the database that is meant (DATABASE_URL). If the service moved for good: npm run auth -- change-issuer --yes",
    );
  }
  const isReplaced = await ctx.store.issuer.replace(former, issuer, ctx.clock.now());
  if (isReplaced && former !== null)
    ctx.log.warn({ former, issuer }, "the issuer changed: sessions and tokens of before end");
  return requireIssuer(ctx);
}

async function requireRpId(ctx: Context): Promise<void> {
  const rpId = rpIdOf(ctx);
  const former = (await ctx.store.issuer.find())?.rpId ?? null;
  if (former === rpId) return;
  if (former !== null && !isLoopback(former) && (await ctx.store.factors.hasPasskeys())) {
    throw new StartRefused(
      `Passkeys ${rpId === null ? "are turned off" : `are for ${rpId}`}, but those of this database were made for ${former}: none of them could ` +
        `sign in. Nothing was changed. Set PASSKEY_RP_ID=${former}. If they are to end: npm run auth -- change-issuer --yes`,
    );
  }
  if (!(await ctx.store.issuer.replaceRpId(former, rpId))) return requireRpId(ctx);
}

/** What `change-issuer` would end, or has ended. */
export interface IssuerChange {
  /** The issuer that the store was of; null: none was known. */
  readonly former: string | null;
  readonly issuer: string;
  /** Passkeys that were made for another domain. */
  readonly endedPasskeys: number;
}

/** What would end if the configured issuer, and the domain of its passkeys, took the store over? */
export async function plannedIssuerChange(ctx: Context): Promise<IssuerChange> {
  const { issuer } = ctx.config;
  const owner = await ctx.store.issuer.find();
  const former = owner?.url ?? null;
  const ends = owner !== null && endsPasskeys(owner, { url: issuer, rpId: rpIdOf(ctx) });
  return { former, issuer, endedPasskeys: ends ? await ctx.store.factors.countPasskeys() : 0 };
}

/** An owner of before this was stored had its passkeys for its host, or for a domain above it. */
function endsPasskeys(former: Owner, { url, rpId }: Owner): boolean {
  if (former.rpId !== null) return former.rpId !== rpId;
  const { hostname } = new URL(former.url);
  return former.url !== url && rpId !== hostname && !(rpId !== null && hostname.endsWith(`.${rpId}`));
}

/** The configured issuer, and the domain of its passkeys, take the store over. */
export async function changeIssuer(ctx: Context): Promise<IssuerChange> {
  const { issuer } = ctx.config;
  const change = await plannedIssuerChange(ctx);
  if (change.former !== issuer && !(await ctx.store.issuer.replace(change.former, issuer, ctx.clock.now()))) {
    return changeIssuer(ctx);
  }
  const rpId = rpIdOf(ctx);
  for (;;) {
    const former = (await ctx.store.issuer.find())?.rpId ?? null;
    if (former === rpId || (await ctx.store.issuer.replaceRpId(former, rpId))) return change;
  }
}

/** The domain that passkeys are configured to be for; null: for none. */
function rpIdOf({ config }: Context): string | null {
  return config.passkeys?.rpId ?? null;
}
