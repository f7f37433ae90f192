import { randomBytes } from "node:crypto";
import type { Context } from "../context.ts";
import { isSameSecret } from "../crypto/hashes.ts";
import type { UserToSignIn } from "../store/users.ts";

/**
 * A browser with which an account has signed in carries a proof of that in a cookie (OWASP device cookies). Its login attempts are
 * counted separately, so that an attacker's wrong passwords cannot lock the owner out. A proof does not replace the password.
 * The value is a random id, followed by seals for the last accounts: `id.seal.seal`. A seal is bound to the account and to the
 * generation of its password: once the password changes, a browser that signed in with the old one is no longer a known device. A browser in which the
 * account gave its second factor has a second seal, which no password alone gets: its codes are counted apart from those of all others.
 */

const sealsPerDevice = 8;
const form = /^[A-Za-z0-9_-]{22}(\.[A-Za-z0-9_-]{43}){1,8}$/;

type Account = Pick<UserToSignIn, "uuid" | "passwordHash" | "passwordGeneration">;

/** What the account gave in this browser. */
type Given = "password" | "second factor";

/** Has it the form of a proof? */
export function isDeviceProof(proof: string | undefined): proof is string {
  return proof !== undefined && form.test(proof);
}

/**
 * @param proof the browser's cookie, if any
 * @param given what the account must have given in this browser
 * @returns the id of the device, or null when this account never did with it
 */
export function knownDevice(
  ctx: Context,
  proof: string | undefined,
  user: Account,
  given: Given = "password",
): string | null {
  if (!isDeviceProof(proof)) return null;
  const [id = "", ...seals] = proof.split(".");
  return isAmong(seals, sealsFor(ctx, id, user, given)) ? id : null;
}

/**
 * The new cookie for a browser in which this account has just signed in, or has proved that it receives its e-mail.
 * @param methods how it signed in (`amr` values)
 */
export function rememberDevice(
  ctx: Context,
  proof: string | undefined,
  user: Account,
  methods: readonly string[] = [],
): string {
  const [id = "", ...seals] = isDeviceProof(proof) ? proof.split(".") : [randomId()];
  const given: Given[] = methods.includes("mfa") ? ["password", "second factor"] : ["password"];
  const made = given.map((each) => sealsFor(ctx, id, user, each));
  const others = seals.filter((seal) => !isAmong([seal], made.flat()));
  return [id, ...[...made.map(([first]) => first), ...others].slice(0, sealsPerDevice)].join(".");
}

/** Is one of the seals right? */
function isAmong(seals: readonly string[], right: readonly string[]): boolean {
  return seals.some((seal) => right.some((mac) => isSameSecret(seal, mac)));
}

function randomId(): string {
  return randomBytes(16).toString("base64url");
}

/** @returns those that are right: first the one that is given out, last those of the release before, which were bound to the hash */
function sealsFor(
  ctx: Context,
  id: string,
  { uuid, passwordHash, passwordGeneration }: Account,
  given: Given,
): string[] {
  return [passwordGeneration, passwordHash].flatMap((password) =>
    ctx.derivedKeys.knownDevices.ofAll(`${id}\n${uuid}\n${password}${given === "password" ? "" : `\n${given}`}`),
  );
}
