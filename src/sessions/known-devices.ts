import { randomBytes } from "node:crypto";
import type { Context } from "../context.ts";
import { isSameSecret } from "../crypto/hashes.ts";
import type { UserToSignIn } from "../store/users.ts";

/**
 * A browser with which an account has signed in carries a proof of that in a cookie (OWASP device cookies). Its login attempts are
 * counted separately, so that an attacker's wrong passwords cannot lock the owner out. A proof does not replace the password.
 * The value is a random id, followed by seals for the last accounts: `id.seal.seal`. A seal is bound to the account and to its
 * password: once the password changes, a browser that signed in with the old one is no longer a known device. A browser in which the
 * account gave its second factor has a second seal, which no password alone gets: its codes are counted apart from those of all others.
 */

const sealsPerDevice = 8;
const form = /^[A-Za-z0-9_-]{22}(\.[A-Za-z0-9_-]{43}){1,8}$/;

/** Whose device it is: the account, and the hash of the password it has now; the one before where this sign-in replaced it. */
type Account = Pick<UserToSignIn, "uuid" | "passwordHash" | "formerHash">;

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
  const { uuid, passwordHash, formerHash = passwordHash } = user;
  const isOf = (hash: string) =>
    isAmong(seals, ctx.derivedKeys.knownDevices.ofAll(textOf(id, { uuid, passwordHash: hash }, given)));
  return isOf(passwordHash) || (formerHash !== passwordHash && isOf(formerHash)) ? id : null;
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
  // a login that replaces the hash of its password takes over what the account gave here under the one before
  const isReplaced = user.formerHash !== undefined && user.formerHash !== user.passwordHash;
  const gaveBoth = methods.includes("mfa") || (isReplaced && knownDevice(ctx, proof, user, "second factor") !== null);
  const given: Given[] = gaveBoth ? ["password", "second factor"] : ["password"];
  const made = given.map((each) => ctx.derivedKeys.knownDevices.ofAll(textOf(id, user, each)));
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

function textOf(id: string, { uuid, passwordHash }: Omit<Account, "formerHash">, given: Given): string {
  return `${id}\n${uuid}\n${passwordHash}${given === "password" ? "" : `\n${given}`}`;
}
