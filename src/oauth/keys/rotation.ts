import { AuthError } from "../../errors.ts";
import type { KeyUse, StoredKey } from "../../store/keys.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { KEY_RELOAD_MS } from "./key-ring.ts";

export interface AddedKey {
  readonly kid: string;
  readonly alg: string;
  readonly activeFrom: number;
}

/**
 * Publishes a new key of each algorithm, or of `alg` only. It starts to sign when every replica publishes it and every verifier
 * that honours the key set's max-age has fetched it, so that no verifier gets a valid token with an unknown kid.
 */
export async function rotateSigningKeys(ctx: OAuthContext, alg: "ES256" | "RS256" | null): Promise<AddedKey[]> {
  const algs = alg === null ? (["ES256", "RS256"] as const) : [alg];
  return addKeys(
    ctx,
    algs.map((each) => ({ use: "access", alg: each })),
  );
}

/** Replaces every key that has been active for the rotation interval, keys of refresh tokens included. */
export async function rotateWhenDue(ctx: OAuthContext): Promise<AddedKey[]> {
  const interval = ctx.config.keyRotationIntervalMs;
  if (interval === null) return [];
  const newest = new Map<string, StoredKeyInfo>();
  for (const key of ctx.keys.list()) {
    const kind = `${key.use} ${key.alg}`;
    if (key.generation > (newest.get(kind)?.generation ?? 0)) newest.set(kind, key);
  }
  const due = [...newest.values()].filter((key) => key.activeFrom + interval <= ctx.clock.now());
  return due.length === 0 ? [] : addKeys(ctx, due);
}

type StoredKeyInfo = Pick<StoredKey, "use" | "alg" | "generation" | "activeFrom">;

async function addKeys(ctx: OAuthContext, kinds: readonly Pick<StoredKey, "use" | "alg">[]): Promise<AddedKey[]> {
  await ctx.keys.reload();
  const added: StoredKey[] = [];
  for (const { use, alg } of kinds) {
    const key = await ctx.keys.generate(use, alg, await signsFrom(ctx, use));
    // not added: another replica added that generation at the same time
    if ((await ctx.store.keys.add(key)) !== "added") continue;
    // a process that declared a longer max-age meanwhile may not have seen the key; one that does so from now on reads the keys afterwards
    const activeFrom = await signsFrom(ctx, use);
    await ctx.store.keys.postpone(key.kid, activeFrom);
    added.push({ ...key, activeFrom });
  }
  return announced(ctx, added);
}

async function announced(ctx: OAuthContext, added: readonly StoredKey[]): Promise<AddedKey[]> {
  await ctx.keys.reload();
  for (const { kid, use, alg, activeFrom } of added) {
    ctx.log.info({ kid, use, alg, activeFrom: new Date(activeFrom).toISOString() }, "signing key added");
    securityEvent(ctx, "signing_key_added", { kid, alg });
  }
  return added.map(({ kid, alg, activeFrom }) => ({ kid, alg, activeFrom }));
}

/**
 * When a new key may sign: every replica knows it then, and if it is published, so does every verifier that honours the max-age that
 * it was told, were it by a replica that is configured otherwise or is gone.
 */
async function signsFrom(ctx: OAuthContext, use: KeyUse): Promise<number> {
  const now = ctx.clock.now();
  const fetched =
    use === "access" ? Math.max(now + ctx.config.jwksMaxAge * 1000, await ctx.store.keys.keptUntil(now)) : now;
  return fetched + 2 * KEY_RELOAD_MS;
}

/** Says how long verifiers may keep the key set, which then is not told before it is up to date. */
export async function declareMaxAge({ store, keys, config, clock }: OAuthContext): Promise<void> {
  await store.keys.declareMaxAge(config.jwksMaxAge * 1000, clock.now());
  await keys.reload();
}

/**
 * For a key that may have leaked: every replica rejects everything it signed, within REVOCATION_MAX_STALENESS. An active key is
 * replaced at once by one that verifiers have not fetched yet: they fetch the key set again when they see an unknown kid.
 * @throws AuthError not_found: there is no such key, or it was distrusted before
 */
export async function distrustKey(ctx: OAuthContext, kid: string): Promise<AddedKey[]> {
  await ctx.keys.reload();
  const key = ctx.keys.list().find((each) => each.kid === kid);
  const replacement = key?.state === "active" ? await ctx.keys.generate(key.use, key.alg, ctx.clock.now()) : null;
  if (!(await ctx.store.keys.distrust(kid, ctx.clock.now(), replacement))) {
    throw new AuthError("not_found", "there is no such key, or it was distrusted before");
  }
  securityEvent(ctx, "signing_key_distrusted", { kid });
  return announced(ctx, replacement === null ? [] : [replacement]);
}

/** Removes keys whose tokens have all expired. @returns how many */
export async function removeOutlivedKeys(ctx: OAuthContext): Promise<number> {
  const kids = ctx.keys.outlived();
  if (kids.length > 0) await ctx.store.keys.remove(kids);
  return kids.length;
}
