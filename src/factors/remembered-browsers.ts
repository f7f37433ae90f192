import type { Context } from "../context.ts";
import type { UserToSignIn } from "../store/users.ts";

/**
 * A browser in which the second step is left out, for 30 days. Its cookie has one seal for each of the last accounts. A seal is bound to
 * the account, to its password and to its factors: once either changes, the second step is asked for again. It never replaces the password.
 */
const lifeMs = 30 * 86_400_000;
const accountsPerBrowser = 4;
const form = /^\d{13}-[A-Za-z0-9_-]{43}(\.\d{13}-[A-Za-z0-9_-]{43}){0,3}$/;

/** Seconds. */
export const REMEMBERED_FOR = lifeMs / 1000;

/** @param cookie the browser's, if any */
export function isRemembered(ctx: Context, cookie: string | undefined, user: UserToSignIn): boolean {
  const { passwordHash, formerHash = passwordHash } = user;
  const isOfHash = (hash: string) => sealsOf(cookie).some((seal) => isOf(ctx, seal, { ...user, passwordHash: hash }));
  return isOfHash(passwordHash) || (formerHash !== passwordHash && isOfHash(formerHash));
}

/** The new cookie of a browser in which this account has just given its second factor. */
export function rememberBrowser(ctx: Context, cookie: string | undefined, user: UserToSignIn): string {
  const own = sealOf(ctx, ctx.clock.now() + lifeMs, user);
  const others = sealsOf(cookie).filter((seal) => !isOf(ctx, seal, user));
  return [own, ...others].slice(0, accountsPerBrowser).join(".");
}

/**
 * The cookie of a remembered browser whose login has just replaced the hash of its account's password, which is the same password still.
 * @returns null: it stays as it is
 */
export function renewRemembered(ctx: Context, cookie: string | undefined, user: UserToSignIn): string | null {
  const { passwordHash, formerHash = passwordHash } = user;
  if (formerHash === passwordHash) return null;
  const renewed = sealsOf(cookie).map((seal) => {
    if (!isOf(ctx, seal, { ...user, passwordHash: formerHash })) return seal;
    return sealOf(ctx, Number(seal.slice(0, 13)), user);
  });
  return renewed.join(".");
}

function sealOf(ctx: Context, expiresAt: number, user: UserToSignIn): string {
  return `${expiresAt}-${ctx.derivedKeys.rememberedBrowsers.of(textOf(expiresAt, user))}`;
}

function sealsOf(cookie: string | undefined): string[] {
  return cookie !== undefined && form.test(cookie) ? cookie.split(".") : [];
}

function isOf(ctx: Context, seal: string, user: UserToSignIn): boolean {
  const expiresAt = Number(seal.slice(0, 13));
  return (
    expiresAt > ctx.clock.now() && ctx.derivedKeys.rememberedBrowsers.verifies(textOf(expiresAt, user), seal.slice(14))
  );
}

function textOf(expiresAt: number, { uuid, passwordHash, factorsGeneration }: UserToSignIn): string {
  return `${expiresAt}\n${uuid}\n${passwordHash}\n${factorsGeneration}`;
}
