import { randomBytes } from "node:crypto";
import type { Context } from "../context.ts";
import { normaliseEmail } from "../users/input.ts";

/**
 * A browser with which an account has signed in carries a proof of that in a cookie (OWASP device cookies). Its login attempts are
 * counted separately, so that an attacker's wrong passwords cannot lock the owner out. A proof does not replace the password.
 * The value is a random id, followed by one seal for each of the last accounts: `id.seal.seal`.
 */

const accountsPerDevice = 4;
const form = /^[A-Za-z0-9_-]{22}(\.[A-Za-z0-9_-]{43}){1,4}$/;

/** @param proof the browser's cookie, if any @returns the id of the device, or null when this account never signed in with it */
export function knownDevice(ctx: Context, proof: string | undefined, email: string): string | null {
  if (proof === undefined || !form.test(proof)) return null;
  const [id = "", ...seals] = proof.split(".");
  const text = textOf(id, email);
  return seals.some((seal) => ctx.derivedKeys.knownDevices.verifies(text, seal)) ? id : null;
}

/** The new cookie for a browser in which this account has just signed in, or has proved that it receives its e-mail. */
export function rememberDevice(ctx: Context, proof: string | undefined, email: string): string {
  const [id = "", ...seals] = proof !== undefined && form.test(proof) ? proof.split(".") : [randomId()];
  const { knownDevices } = ctx.derivedKeys;
  const text = textOf(id, email);
  const others = seals.filter((seal) => !knownDevices.verifies(text, seal));
  return [id, ...[knownDevices.of(text), ...others].slice(0, accountsPerDevice)].join(".");
}

function randomId(): string {
  return randomBytes(16).toString("base64url");
}

function textOf(id: string, email: string): string {
  return `${id}\n${normaliseEmail(email)}`;
}
