import type { Context } from "../context.ts";
import type { UserToSignIn } from "../store/users.ts";

/**
 * A browser in which the second step is left out, for 30 days. Its cookie has one seal for each of the last accounts. A seal is bound to
 * the account, to the generations of its password and of its factors: once either changes, the second step is asked for again. It never
 * replaces the password.
 */
const lifeMs = 30 * 86_400_000;
const accountsPerBrowser = 4;
const form = /^\d{13}-[A-Za-z0-9_-]{43}(\.\d{13}-[A-Za-z0-9_-]{43}){0,3}$/;

/** Seconds. */
export const REMEMBERED_FOR = lifeMs / 1000;

/** @param cookie the browser's, if any */
export function isRemembered(ctx: Context, cookie: string | undefined, user: UserToSignIn): boolean {
  return sealsOf(cookie).some((seal) => isOf(ctx, seal, user));
}

/** The new cookie of a browser in which this account has just given its second factor. */
export function rememberBrowser(ctx: Context, cookie: string | undefined, user: UserToSignIn): string {
  const expiresAt = ctx.clock.now() + lifeMs;
  const own = `${expiresAt}-${ctx.derivedKeys.rememberedBrowsers.of(textOf(expiresAt, user, user.passwordGeneration))}`;
  const others = sealsOf(cookie).filter((seal) => !isOf(ctx, seal, user));
  return [own, ...others].slice(0, accountsPerBrowser).join(".");
}

function sealsOf(cookie: string | undefined): string[] {
  return cookie !== undefined && form.test(cookie) ? cookie.split(".") : [];
}

function isOf(ctx: Context, seal: string, user: UserToSignIn): boolean {
  const expiresAt = Number(seal.slice(0, 13));
  if (expiresAt <= ctx.clock.now()) return false;
  // seals of the release before were bound to the hash
  return [user.passwordGeneration, user.passwordHash].some((password) =>
    ctx.derivedKeys.rememberedBrowsers.verifies(textOf(expiresAt, user, password), seal.slice(14)),
  );
}

function textOf(expiresAt: number, { uuid, factorsGeneration }: UserToSignIn, password: string): string {
  return `${expiresAt}\n${uuid}\n${password}\n${factorsGeneration}`;
}
