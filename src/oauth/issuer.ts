import type { Context } from "../context.ts";
import { StartRefused } from "../errors.ts";
import { isLoopback } from "../net/loopback.ts";

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
  const { former, rpId, passkeys } = await formerPasskeys(ctx);
  if (former === rpId) return;
  if (passkeys > 0 && former !== null && !isLoopback(former)) {
    throw new StartRefused(
      `Passkeys ${rpId === null ? "are turned off" : `are for ${rpId}`}, but those of this database (${passkeys}) were made for ${former}: none of ` +
        `them could sign in. Nothing was changed. Set PASSKEY_RP_ID=${former}. If they are to end: npm run auth -- change-issuer --yes`,
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
  const former = (await ctx.store.issuer.find())?.url ?? null;
  const { passkeys } = await formerPasskeys(ctx);
  return { former, issuer: ctx.config.issuer, endedPasskeys: passkeys };
}

/** The configured issuer, and the domain of its passkeys, take the store over. */
export async function changeIssuer(ctx: Context): Promise<IssuerChange> {
  const { issuer } = ctx.config;
  const change = await plannedIssuerChange(ctx);
  if (change.former !== issuer && !(await ctx.store.issuer.replace(change.former, issuer, ctx.clock.now()))) {
    return changeIssuer(ctx);
  }
  for (;;) {
    const { former, rpId } = await formerPasskeys(ctx);
    if (former === rpId || (await ctx.store.issuer.replaceRpId(former, rpId))) return change;
  }
}

/** For which domain passkeys were, and are configured to be, and how many there are of the former where that is another one. */
async function formerPasskeys({ config, store }: Context) {
  const rpId = config.passkeys?.rpId ?? null;
  const former = (await store.issuer.find())?.rpId ?? null;
  const passkeys = former === null || former === rpId ? 0 : await store.factors.countPasskeys();
  return { former, rpId, passkeys };
}
