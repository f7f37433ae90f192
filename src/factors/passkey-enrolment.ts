import type { PublicKeyCredentialCreationOptionsJSON } from "@simplewebauthn/server";
import type { Context } from "../context.ts";
import { type Asker, userSecurity } from "../events.ts";
import { MAX_PASSKEYS, type Passkey } from "../store/factors.ts";
import type { ActingSession } from "../store/session.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { readPasskeyName } from "../users/input.ts";
import { readFreeNames, signUpWithPasskey } from "../users/sign-up.ts";
import { CHALLENGE_MS, newChallenge } from "./challenge.ts";
import {
  ATTESTATION,
  boundOf,
  demandParty,
  descriptorOf,
  handleOf,
  methodsOf,
  type PasskeyAnswer,
  passkeyRefused,
  readAnswer,
  webAuthnLibrary,
} from "./passkey-answers.ts";

/** COSE numbers of ES256, EdDSA and RS256: every authenticator has one of them. */
const algorithms = [-7, -8, -257];

/**
 * Options of `navigator.credentials.create`.
 * @param form token that the answer comes with
 * @param user the names are those that the authenticator shows
 * @param known passkeys that the user has: their devices make no second one
 * @returns null: this issuer can have no passkeys
 */
export function offerPasskey(
  ctx: Context,
  form: string,
  user: Pick<User, "uuid" | "email" | "nickname">,
  known: readonly Passkey[],
): PublicKeyCredentialCreationOptionsJSON | null {
  const { passkeys: party } = ctx.config;
  if (party === null) return null;
  return {
    challenge: newChallenge(ctx, boundOf("create", form, user.uuid)),
    rp: { id: party.rpId, name: party.rpId },
    user: { id: handleOf(user.uuid), name: user.email, displayName: user.nickname },
    pubKeyCredParams: algorithms.map((alg) => ({ type: "public-key", alg })),
    timeout: CHALLENGE_MS,
    excludeCredentials: known.map(descriptorOf),
    authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
    attestation: "none",
  };
}

/** A new passkey's answer and what its user calls it. */
export interface NewPasskey extends PasskeyAnswer {
  readonly name: string;
}

/**
 * Adds a passkey.
 * @param actor actingBy: their session, given what making the passkey proved (`amr` values)
 * @returns `exists`: the user has it already, as after a second press; `full`: the user has as many as there may be
 * @throws AuthError invalid_credentials: the answer is wrong or late; invalid_input: the name; login_required: the session has ended
 */
export async function addPasskey(
  ctx: Context,
  user: User,
  made: NewPasskey,
  { asker, actingBy }: { readonly asker: Asker; readonly actingBy?: (methods: readonly string[]) => ActingSession },
): Promise<"added" | "exists" | "full"> {
  const passkey = await readNewPasskey(ctx, user.uuid, made);
  const before = await reasonAgainst(ctx, passkey);
  if (before !== null) return before;
  const security = { kind: "FACTOR_ADDED", detail: `passkey ${passkey.name}` } as const;
  const event = userSecurity(user, security, asker, ctx.clock.now());
  if (!(await ctx.store.factors.addPasskey(passkey, event, actingBy?.(methodsOf(passkey))))) {
    // of two calls at once the other one was first
    const since = await reasonAgainst(ctx, passkey);
    if (since !== null) return since;
    throw passkeyRefused(ctx, user.uuid, "known");
  }
  securityEvent(ctx, "factor_added", { sub: user.uuid, factor: "passkey" });
  return "added";
}

/** Why its user gets no passkey more. @returns null: there is no reason, or another user has it */
async function reasonAgainst(ctx: Context, { userId, credentialId }: Passkey): Promise<"exists" | "full" | null> {
  const { passkeys } = await ctx.store.factors.find(userId);
  if (passkeys.some((one) => one.credentialId === credentialId)) return "exists";
  return passkeys.length >= MAX_PASSKEYS ? "full" : null;
}

/**
 * Creates an account that has a passkey in place of a password.
 * @param account uuid: for which the passkey was offered
 * @returns the account, and how its owner has proved to be it (`amr` values): making a passkey shows as much as using it
 * @throws AuthError invalid_input, email_taken, invalid_credentials: the answer is wrong or late, rate_limited, unavailable
 */
export async function createAccountWithPasskey(
  ctx: Context,
  account: { readonly uuid: string; readonly email: string; readonly nickname: string },
  made: NewPasskey,
  asker: Asker,
): Promise<{ readonly user: User; readonly methods: readonly string[] }> {
  // what is wrong with the names is said before what is wrong with the passkey
  await readFreeNames(ctx, account);
  const passkey = await readNewPasskey(ctx, account.uuid, made);
  return { user: await signUpWithPasskey(ctx, account, passkey, asker), methods: methodsOf(passkey) };
}

async function readNewPasskey(ctx: Context, uuid: string, made: NewPasskey): Promise<Passkey> {
  const { rpId, origins } = demandParty(ctx);
  const name = readPasskeyName(made.name);
  const read = readAnswer(ctx, ATTESTATION, made.credential, boundOf("create", made.form, uuid));
  if (read === null) throw passkeyRefused(ctx, uuid, "challenge");
  const { response, challenge } = read;
  const { transports = [] } = response.response;
  const { verifyRegistrationResponse } = await webAuthnLibrary();
  const { registrationInfo } = await verifyRegistrationResponse({
    response: { ...response, response: { ...response.response, transports: transports as "internal"[] } },
    expectedChallenge: challenge,
    expectedOrigin: [...origins],
    expectedRPID: rpId,
    // checked below, where it is said what is missing
    requireUserVerification: false,
    supportedAlgorithmIDs: algorithms,
  }).catch(() => ({ registrationInfo: undefined }));
  if (registrationInfo === undefined) throw passkeyRefused(ctx, uuid, "answer");
  const { credential, credentialDeviceType, userVerified } = registrationInfo;
  if (!userVerified) throw passkeyRefused(ctx, uuid, "unverified");
  return {
    credentialId: credential.id,
    userId: uuid,
    publicKey: Buffer.from(credential.publicKey).toString("base64url"),
    signCount: credential.counter,
    transports,
    isSynced: credentialDeviceType === "multiDevice",
    name,
    createdAt: ctx.clock.now(),
    lastUsedAt: null,
  };
}
