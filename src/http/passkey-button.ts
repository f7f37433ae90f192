import type { PasskeyAnswer } from "../factors/passkey-answers.ts";
import { formIdOf } from "./forms.ts";
import type { Parameters } from "./parameters.ts";

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

/** The answer that the button's script put into its form. */
export function passkeyAnswerOf(form: Parameters): PasskeyAnswer {
  const { credential = "", csrf = "" } = form;
  return { credential, form: csrf, attempt: formIdOf(form) ?? csrf };
}
