import type { Context } from "../context.ts";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { type Asker, userSecurity } from "../events.ts";
import type { CodeUse } from "../store/factors.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { getUser } from "../users/users.ts";
import type { Actor } from "./factors.ts";

const count = 10;
/** Without letters and digits that look like others. */
const alphabet = "abcdefghjkmnpqrstuvwxyz23456789";
const letters = 16;

/** No form is sent later than this after its page was made (milliseconds): it ends with the sign-in that must be fresh. */
const attemptMs = 24 * 3_600_000;

/**
 * `shown`: these were made by the same form before, and are shown no more. `none`: the user has no second factor that a code could stand in for.
 */
export type MadeCodes =
  | { readonly outcome: "made"; readonly codes: readonly string[] }
  | { readonly outcome: "shown" }
  | { readonly outcome: "none" };

/**
 * Ten new codes in place of all earlier ones. They are shown once: the store has their hashes.
 * @param attempt names the form, which may be sent twice: within a minute it gets the same codes, as they come of its name and of a key that
 * stays inside; null: none was sent
 * @throws AuthError not_found; login_required: the actor's session has ended
 */
export async function makeRecoveryCodes(
  ctx: Context,
  uuid: string,
  attempt: string | null,
  { asker, acting }: Actor,
): Promise<MadeCodes> {
  const user = await getUser(ctx, uuid);
  const name = `${uuid}\n${attempt ?? randomToken()}`;
  const codes = Array.from({ length: count }, (_, at) => makeCode(ctx, `${name}\n${at}`));
  const now = ctx.clock.now();
  const made = {
    hashes: codes.map((code) => storedHash(uuid, code)),
    attempt: hashOf(`recovery codes\n${name}`),
    expiresAt: now + attemptMs,
  };
  const event = userSecurity(user, { kind: "RECOVERY_CODES_MADE", detail: "" }, asker, now);
  const outcome = await ctx.store.factors.setRecoveryCodes(uuid, made, event, acting);
  if (outcome === "made") securityEvent(ctx, "recovery_codes_made", { sub: uuid });
  if (outcome === "none") return { outcome };
  return outcome === "used" ? { outcome: "shown" } : { outcome: "made", codes };
}

/** Has it the form of a recovery code, however it is spaced? */
export function isRecoveryCode(typed: string): boolean {
  return plainCode(typed).length === letters;
}

/** Uses a code up. @param attempt as of `useTotp` @returns `refused`: there is no such code, or it was used */
export async function useRecoveryCode(
  ctx: Context,
  user: User,
  { code, attempt }: { readonly code: string; readonly attempt: string },
  asker: Asker,
): Promise<CodeUse> {
  const event = userSecurity(user, { kind: "RECOVERY_CODE_USED", detail: "" }, asker, ctx.clock.now());
  const use = await ctx.store.factors.useRecoveryCode(user.uuid, storedHash(user.uuid, code), attempt, event);
  if (use === "used") securityEvent(ctx, "recovery_code_used", { sub: user.uuid });
  return use;
}

/** The same code for the same name, which has more bits than the code; each of its letters is as likely as the others. */
function makeCode(ctx: Context, name: string): string {
  let text = "";
  for (let block = 0; text.length < letters; block++) {
    const bytes = Buffer.from(ctx.derivedKeys.recoveryCodes.of(`${name}\n${block}`), "base64url");
    const fair = bytes.filter((byte) => byte < 256 - (256 % alphabet.length));
    text += Array.from(fair, (byte) => alphabet[byte % alphabet.length]).join("");
  }
  return text.slice(0, letters).replace(/(.{4})(?!$)/g, "$1-");
}

/** A code has 79 bits: a plain hash is enough. */
function storedHash(uuid: string, code: string): string {
  return hashOf(`${uuid}\n${plainCode(code)}`);
}

/** Letters and digits of a code, in whatever width and case they were typed: the same code is the same text. */
export function plainCode(code: string): string {
  return code
    .normalize("NFKC")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, "");
}
