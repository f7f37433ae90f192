import { randomInt } from "node:crypto";
import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { type Asker, userSecurity } from "../events.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";

const count = 10;
/** Without letters and digits that look like others. */
const alphabet = "abcdefghjkmnpqrstuvwxyz23456789";
const letters = 16;

/** Ten new codes in place of all earlier ones. They are shown once: the store has their hashes. @throws AuthError not_found */
export async function makeRecoveryCodes(ctx: Context, uuid: string): Promise<string[]> {
  const codes = Array.from({ length: count }, makeCode);
  const hashes = codes.map((code) => storedHash(uuid, code));
  if (!(await ctx.store.factors.setRecoveryCodes(uuid, hashes, ctx.clock.now()))) {
    throw new AuthError("not_found", "no such user");
  }
  securityEvent(ctx, "recovery_codes_made", { sub: uuid });
  return codes;
}

/** Has it the form of a recovery code, however it is spaced? */
export function isRecoveryCode(typed: string): boolean {
  return normalise(typed).length === letters;
}

/** Uses a code up. @param attempt as of `useTotp` @returns false: there is no such code, or it was used */
export async function useRecoveryCode(
  ctx: Context,
  user: User,
  { code, attempt }: { readonly code: string; readonly attempt: string },
  asker: Asker,
): Promise<boolean> {
  const event = userSecurity(user, { kind: "RECOVERY_CODE_USED", detail: "" }, asker, ctx.clock.now());
  const used = await ctx.store.factors.useRecoveryCode(user.uuid, storedHash(user.uuid, code), attempt, event);
  if (used) securityEvent(ctx, "recovery_code_used", { sub: user.uuid });
  return used;
}

function makeCode(): string {
  const text = Array.from({ length: letters }, () => alphabet[randomInt(alphabet.length)]).join("");
  return text.replace(/(.{4})(?!$)/g, "$1-");
}

/** A code has 79 bits: a plain hash is enough. */
function storedHash(uuid: string, code: string): string {
  return hashOf(`${uuid}\n${normalise(code)}`);
}

function normalise(code: string): string {
  return code.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}
