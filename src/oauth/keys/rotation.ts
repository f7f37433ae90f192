import type { Context } from "../../context.ts";
import { KEY_RELOAD_MS } from "./key-ring.ts";

/**
 * Publishes a new key of each algorithm (of `alg` alone when given). It begins to sign once every replica publishes it and
 * every verifier that honours the key set's max-age has fetched it, so that no valid token meets an unknown kid.
 */
export async function rotateSigningKeys(
  ctx: Context,
  alg: "ES256" | "RS256" | null,
): Promise<{ kid: string; alg: string; activeFrom: number }[]> {
  const activeFrom = ctx.clock.now() + ctx.config.jwksMaxAge * 1000 + 2 * KEY_RELOAD_MS;
  await ctx.keys.reload();
  const added = [];
  for (const each of alg === null ? (["ES256", "RS256"] as const) : [alg]) {
    const key = await ctx.keys.add("access", each, activeFrom);
    if (key !== null) added.push({ kid: key.kid, alg: key.alg, activeFrom: key.activeFrom });
  }
  await ctx.keys.reload();
  return added;
}

/** Removes keys that signed nothing still valid. */
export async function removeOutlivedKeys(ctx: Context): Promise<number> {
  const kids = ctx.keys.outlived();
  if (kids.length > 0) await ctx.store.keys.remove(kids);
  return kids.length;
}
