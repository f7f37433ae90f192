import type { Context } from "../context.ts";
import { StartRefused } from "../errors.ts";
import { isLoopback } from "../net/loopback.ts";

/**
 * Is the configured issuer the one that the store was made for? Under another one every session and token that was given out would end. One
 * of this machine alone is a developer's, and may change with the port.
 * @throws StartRefused: the store is of another issuer
 */
export async function requireIssuer(ctx: Context): Promise<void> {
  const { issuer } = ctx.config;
  const former = await ctx.store.issuer.find();
  if (former === issuer) return;
  if (former !== null && !isLoopback(new URL(former).hostname)) {
    throw new StartRefused(
      `ISSUER is ${issuer}, but this database is of ${former}: all sessions and tokens that it gave out would end. Nothing was changed. Set ` +
        "ISSUER back, or name the database that is meant (DATABASE_URL). If the service moved for good: npm run auth -- change-issuer --yes",
    );
  }
  if (!(await ctx.store.issuer.replace(former, issuer, ctx.clock.now()))) return requireIssuer(ctx);
  if (former !== null) ctx.log.warn({ former, issuer }, "the issuer changed: sessions and tokens of before end");
}

/** The configured issuer takes the store over. @returns the one it was of; null: none was known */
export async function changeIssuer(ctx: Context): Promise<string | null> {
  for (;;) {
    const former = await ctx.store.issuer.find();
    if (former === ctx.config.issuer) return former;
    if (await ctx.store.issuer.replace(former, ctx.config.issuer, ctx.clock.now())) return former;
  }
}
