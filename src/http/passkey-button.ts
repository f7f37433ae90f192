import type { FastifyInstance } from "fastify";
import type { AuthError } from "../errors.ts";
import { newChallenge } from "../factors/challenge.ts";
import { boundOf, handleOf, type PasskeyAnswer, PasskeyRefused } from "../factors/passkey-answers.ts";
import { askForPasskey, type PasskeyAsker, unknownPasskey } from "../factors/passkeys.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { knownDevice } from "../sessions/known-devices.ts";
import type { Passkey } from "../store/factors.ts";
import type { User } from "../store/users.ts";
import { FormRefused, formIdOf } from "./forms.ts";
import { pageRoutes } from "./page-routes.ts";
import type { PasskeyProblem } from "./pages/factor-messages/factor-messages.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
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
  /**
   * Where the script sends the form's fields for options with a new challenge (JSON): before an old one ends, and before each passkey that is
   * made. What the form would be refused for is refused there, before a device keeps a passkey that nothing takes.
   */
  readonly renew: string;
}

const challengePath = "/passkey/challenge";
const renewalPurpose = "what a challenge is bound to";

/** POST /passkey/challenge: a new challenge for a page that asks for a passkey and has been open for long. */
export function passkeyChallenge(app: FastifyInstance, ctx: OAuthContext): void {
  pageRoutes(app, ctx).post(challengePath, async ({ request, reply }) => {
    // the fields of the form come with it, which nothing here depends on
    readForm(request);
    const challenge = newChallenge(ctx, openBound(ctx, readQuery(request)["for"] ?? ""));
    return reply.header("cache-control", "no-store").send({ challenge });
  });
}

/** @throws FormRefused this service did not make it */
function openBound(ctx: OAuthContext, sealed: string): string {
  try {
    return ctx.derivedKeys.pendingRequests.open(sealed, renewalPurpose).toString();
  } catch {
    throw new FormRefused();
  }
}

/**
 * A button that asks for a passkey.
 * @param form token that the answer comes with @param user whose passkey it must be; null: anybody's
 * @returns null: this issuer can have no passkeys
 */
export function askButton(
  ctx: OAuthContext,
  form: string,
  user: { readonly uuid: string; readonly passkeys: readonly Passkey[] } | null,
  path: string,
): PasskeyButton | null {
  const options = askForPasskey(ctx, form, user);
  if (options === null) return null;
  const bound = ctx.derivedKeys.pendingRequests.seal(boundOf("get", form, user?.uuid), renewalPurpose);
  const renew = `${challengePath}?${new URLSearchParams({ for: bound })}`;
  return { ceremony: "get", options: JSON.stringify(options), path, renew };
}

/** A button that makes a passkey. @param options null: this issuer can have none */
export function createButton(options: object | null, path: string): PasskeyButton | null {
  const renew = `${path}/challenge`;
  return options === null ? null : { ceremony: "create", options: JSON.stringify(options), path, renew };
}

/** What the page says of it. @param error invalid_credentials */
export function passkeyProblemOf(error: AuthError): PasskeyProblem {
  switch (error instanceof PasskeyRefused ? error.reason : null) {
    case "challenge":
      return "passkeyLate";
    case "unknown":
      return "passkeyUnknown";
    case "unverified":
      return "passkeyUnverified";
    default:
      return "passkeyFailed";
  }
}

/** What a page tells the browser's passkey manager (WebAuthn section 5.1.10), JSON: the method and its argument. */
export type PasskeySignal = string | null;

/** After a refusal: the passkey that the form brought is none of this service's, so that it is not offered again. */
export async function signalRefused({ ctx }: Visit, form: Parameters): Promise<PasskeySignal> {
  const { credential } = form;
  const credentialId = credential === undefined ? null : await unknownPasskey(ctx, credential);
  if (credentialId === null) return null;
  return JSON.stringify({ method: "signalUnknownCredential", rpId: ctx.config.passkeys?.rpId, credentialId });
}

/** The passkeys that a user has: others of this user, as removed ones, are not offered again. */
export function signalKnown({ ctx }: Visit, uuid: string, passkeys: readonly Passkey[]): PasskeySignal {
  if (ctx.config.passkeys === null) return null;
  const { rpId } = ctx.config.passkeys;
  const allAcceptedCredentialIds = passkeys.map(({ credentialId }) => credentialId);
  return JSON.stringify({
    method: "signalAllAcceptedCredentials",
    rpId,
    userId: handleOf(uuid),
    allAcceptedCredentialIds,
  });
}

/** A button that asks a user for one of their own passkeys, and its scripts; nothing where the user has none. */
export function ownPasskeyButton(
  { ctx }: Visit,
  csrf: string,
  owner: { readonly uuid: string; readonly passkeys: readonly Passkey[] },
  path: string,
) {
  if (owner.passkeys.length === 0) return { passkey: null, scripts: [] };
  return { passkey: askButton(ctx, csrf, owner, path), scripts: PASSKEY_SCRIPTS };
}

/** Who brings the answer of a passkey. @param user whose passkey it must be; null: anybody's */
export function askerOfPasskey(visit: Visit, user: Pick<User, "uuid"> | null): PasskeyAsker {
  const { deviceProof } = browserOf(visit);
  return { user, deviceOf: (owner) => knownDevice(visit.ctx, deviceProof, owner) };
}

/** The answer that the button's script put into its form. */
export function passkeyAnswerOf(form: Parameters): PasskeyAnswer {
  const { credential = "", csrf = "" } = form;
  return { credential, form: csrf, attempt: formIdOf(form) ?? csrf };
}
