import type { PublicKeyCredentialRequestOptionsJSON } from "@simplewebauthn/server";
import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { Passkey, PasskeyUse } from "../store/factors.ts";
import type { User, UserToSignIn } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { hasSignedInSince, isClosed } from "../users/users.ts";
import { CHALLENGE_MS, newChallenge, startOfChallenge } from "./challenge.ts";
import {
  ASSERTION,
  boundOf,
  demandParty,
  descriptorOf,
  handleOf,
  idOfAnswer,
  methodsOf,
  type PasskeyAnswer,
  passkeyRefused,
  readAnswer,
  webAuthnLibrary,
} from "./passkey-answers.ts";

/**
 * Options of `navigator.credentials.get`. They are the same for everybody where no user is given, and read nothing.
 * @param form token that the answer comes with
 * @param user whose passkey it must be, and those; null: any, by which the user is found
 * @returns null: this issuer can have no passkeys
 */
export function askForPasskey(
  ctx: Context,
  form: string,
  user: { readonly uuid: string; readonly passkeys: readonly Passkey[] } | null,
): PublicKeyCredentialRequestOptionsJSON | null {
  const { passkeys: party } = ctx.config;
  if (party === null) return null;
  return {
    challenge: newChallenge(ctx, boundOf("get", form, user?.uuid)),
    rpId: party.rpId,
    timeout: CHALLENGE_MS,
    userVerification: "required",
    ...(user === null ? {} : { allowCredentials: user.passkeys.map(descriptorOf) }),
  };
}

/** The passkey was right, and its user has closed the account. */
export class ClosedAccount extends AuthError {
  readonly uuid: string;
  constructor(uuid: string) {
    super("account_closed", "the user closed this account");
    this.uuid = uuid;
  }
}

/** A right answer of a passkey whose challenge is used up by what it is for. */
export interface ProvenPasskey {
  readonly user: UserToSignIn;
  /** `amr` values. */
  readonly methods: readonly string[];
  readonly use: PasskeyUse;
}

/** A right answer of a passkey whose challenge is used up. */
export interface CheckedPasskey {
  readonly user: UserToSignIn;
  /** `amr` values. */
  readonly methods: readonly string[];
  /** `again`: the same form brought this answer before. */
  readonly use: "used" | "again";
}

/** What a passkey is asked for: whose it must be (null: the user is found by it), and the known device of the account that asks. */
export interface PasskeyAsker {
  readonly user: Pick<User, "uuid"> | null;
  /** A known device has a count of its own. */
  readonly deviceOf: (user: UserToSignIn) => string | null;
}

/**
 * Checks a passkey's answer, and uses its challenge up. Wrong ones count for that passkey alone: strangers do not know its id.
 * @throws AuthError invalid_credentials, rate_limited, unavailable; ClosedAccount
 */
export function checkPasskey(ctx: Context, answer: PasskeyAnswer, asker: PasskeyAsker): Promise<CheckedPasskey> {
  return guessPasskey(ctx, answer, asker, (proven) => usePasskey(ctx, proven));
}

/**
 * As `checkPasskey`, for what uses the challenge up by its own change: that the two happen together or not at all. Only the answer of a closed
 * account is used up here.
 */
export function provePasskey(ctx: Context, answer: PasskeyAnswer, asker: PasskeyAsker): Promise<ProvenPasskey> {
  return guessPasskey(ctx, answer, asker, async (proven) => {
    if (isClosed(proven.user)) await usePasskey(ctx, proven);
    return proven;
  });
}

async function usePasskey(ctx: Context, { user, methods, use }: ProvenPasskey): Promise<CheckedPasskey> {
  const outcome = await ctx.store.factors.usePasskey(use, ctx.clock.now());
  if (outcome === "refused") securityEvent(ctx, "passkey_cloned", { sub: user.uuid });
  if (outcome === "refused" || outcome === "repeated") throw passkeyRefused(ctx, user.uuid, outcome);
  if (outcome === "gone") throw passkeyRefused(ctx, user.uuid, "unknown");
  // what signed in before the account was closed does not open it again
  const isReplay = outcome === "again" && hasSignedInSince(user, startOfChallenge(use.expiresAt));
  if (isClosed(user)) throw isReplay ? passkeyRefused(ctx, user.uuid, "repeated") : new ClosedAccount(user.uuid);
  return { user, methods, use: outcome };
}

async function guessPasskey<T>(
  ctx: Context,
  answer: PasskeyAnswer,
  { user, deviceOf }: PasskeyAsker,
  then: (proven: ProvenPasskey) => Promise<T>,
): Promise<T> {
  demandParty(ctx);
  const read = readAnswer(ctx, ASSERTION, answer.credential, boundOf("get", answer.form, user?.uuid));
  if (read === null) throw passkeyRefused(ctx, user?.uuid, "challenge");
  const found = await ctx.store.users.findByPasskey(read.response.id);
  if (found === null) throw passkeyRefused(ctx, user?.uuid, "unknown");
  const { passkey, user: owner } = found;
  if (user !== null && owner.uuid !== user.uuid) throw passkeyRefused(ctx, user.uuid, "foreign");
  const device = deviceOf(owner);
  const subject = device === null ? passkey.credentialId : `${passkey.credentialId}\n${device}`;
  const attempt = hashOf(answer.attempt);
  return ctx.limits.guess<UserToSignIn | null, T>(
    "passkey",
    subject,
    async (found) => then(await proofOf(ctx, { read, passkey, attempt }, found)),
    {
      isWrong: (error) => error instanceof AuthError && error.code === "invalid_credentials",
      look: (limit) => ctx.store.users.findToCheck({ uuid: owner.uuid }, limit),
    },
  );
}

/**
 * The id of a passkey that no account has.
 * @param credential as a form brings it; nothing of it is checked
 * @returns null: an account has it, or it is malformed
 */
export async function unknownPasskey(ctx: Context, credential: string): Promise<string | null> {
  const id = idOfAnswer(credential);
  return id === null || (await ctx.store.factors.findPasskey(id)) !== null ? null : id;
}

/** @param credential as of `unknownPasskey` @returns uuid of the user whose passkey the answer names; null: no user has it, or it is malformed */
export async function ownerOfPasskey(ctx: Context, credential: string): Promise<string | null> {
  const id = idOfAnswer(credential);
  return id === null ? null : ((await ctx.store.factors.findPasskey(id))?.userId ?? null);
}

type Assertion = NonNullable<ReturnType<typeof readAnswer<Zod>>>;
type Zod = (typeof ASSERTION)["_output"];

async function proofOf(
  ctx: Context,
  { read, passkey, attempt }: { readonly read: Assertion; readonly passkey: Passkey; readonly attempt: string },
  user: UserToSignIn | null,
): Promise<ProvenPasskey> {
  const verified = await verify(ctx, passkey, read);
  if (user === null || verified === null || (user.disabledAt !== null && !isClosed(user))) {
    throw passkeyRefused(ctx, user?.uuid, user?.disabledAt === null ? "answer" : "disabled_account");
  }
  const { signCount, isVerified } = verified;
  if (!isVerified) throw passkeyRefused(ctx, user.uuid, "unverified");
  const challengeHash = hashOf(read.challenge);
  const { credentialId } = passkey;
  const use = { credentialId, signCount, challengeHash, expiresAt: read.expiresAt, attempt };
  return { user, methods: methodsOf(passkey), use };
}

/**
 * Is the answer of this passkey?
 * @returns signCount: the authenticator's counter; isVerified: it checked who used it, which its caller must demand. Null: the answer is wrong
 */
async function verify(
  ctx: Context,
  passkey: Passkey,
  { response, challenge }: Assertion,
): Promise<{ readonly signCount: number; readonly isVerified: boolean } | null> {
  const { rpId, origins } = demandParty(ctx);
  const { userHandle } = response.response;
  if (userHandle !== undefined && userHandle !== handleOf(passkey.userId)) return null;
  const { verifyAuthenticationResponse } = await webAuthnLibrary();
  try {
    const { verified, authenticationInfo } = await verifyAuthenticationResponse({
      response,
      expectedChallenge: challenge,
      expectedOrigin: [...origins],
      expectedRPID: rpId,
      // checked by the caller, who says what is missing
      requireUserVerification: false,
      credential: {
        id: passkey.credentialId,
        publicKey: Uint8Array.from(Buffer.from(passkey.publicKey, "base64url")),
        // the store compares counters: of two answers at once only one may pass
        counter: 0,
      },
    });
    const { newCounter: signCount, userVerified: isVerified } = authenticationInfo;
    return verified ? { signCount, isVerified } : null;
  } catch {
    return null;
  }
}
