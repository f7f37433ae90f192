import type { PasskeyAnswer } from "../factors/passkey-answers.ts";
import { askForPasskey, type CheckedPasskey, checkPasskey } from "../factors/passkeys.ts";
import { knownDevice } from "../sessions/known-devices.ts";
import type { Passkey } from "../store/factors.ts";
import type { User } from "../store/users.ts";
import { formIdOf } from "./forms.ts";
import type { Parameters } from "./parameters.ts";
import { browserOf, type Visit } from "./visit.ts";

/** What a page with such a button loads: the browser's part of the library, and the button's script. */
export const PASSKEY_SCRIPTS = ["webauthn", "passkey"] as const;

/** What the template `passkey.eta` shows. */
export interface PasskeyButton {
  readonly ceremony: "get" | "create";
  /** JSON. */
  readonly options: string;
  /** Where the answer goes, with the form's other fields. */
  readonly path: string;
}

/** @returns null: this issuer can have no passkeys */
export function passkeyButton(
  ceremony: PasskeyButton["ceremony"],
  options: object | null,
  path: string,
): PasskeyButton | null {
  return options === null ? null : { ceremony, options: JSON.stringify(options), path };
}

/** A button that asks a user for one of their own passkeys, and its scripts; nothing where the user has none. */
export function ownPasskeyButton(
  { ctx }: Visit,
  csrf: string,
  owner: { readonly uuid: string; readonly passkeys: readonly Passkey[] },
  path: string,
) {
  if (owner.passkeys.length === 0) return { passkey: null, scripts: [] };
  return { passkey: passkeyButton("get", askForPasskey(ctx, csrf, owner), path), scripts: PASSKEY_SCRIPTS };
}

/** Checks the answer that such a form brings. @param user whose passkey it must be; null: anybody's @throws as `checkPasskey` */
export function checkPasskeyOf(
  visit: Visit,
  form: Parameters,
  user: Pick<User, "uuid"> | null,
): Promise<CheckedPasskey> {
  const { deviceProof } = browserOf(visit);
  return checkPasskey(visit.ctx, passkeyAnswerOf(form), user, (owner) => knownDevice(visit.ctx, deviceProof, owner));
}

/** The answer that the button's script put into its form. */
export function passkeyAnswerOf(form: Parameters): PasskeyAnswer {
  const { credential = "", csrf = "" } = form;
  return { credential, form: csrf, attempt: formIdOf(form) ?? csrf };
}
