import type { PublicKeyCredentialRequestOptionsJSON } from "@simplewebauthn/server";
import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { Passkey } from "../store/factors.ts";
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

/** What `checkPasskey` found. */
export interface CheckedPasskey {
  readonly user: UserToSignIn;
  /** `amr` values. */
  readonly methods: readonly string[];
  /** `again`: the same form brought this answer before. */
  readonly use: "used" | "again";
  /** When its challenge was made (epoch milliseconds, at most a second too early). */
  readonly askedAt: number;
}

/**
 * Checks a passkey's answer, and uses its challenge up. Wrong ones count for that passkey alone: strangers do not know its id.
 * @param user whose passkey it must be; null: the user is found by it
 * @param deviceOf the known device of the account that asks, which has a count of its own
 * @throws AuthError invalid_credentials, rate_limited, unavailable; ClosedAccount
 */
export async function checkPasskey(
  ctx: Context,
  answer: PasskeyAnswer,
  user: Pick<User, "uuid"> | null,
  deviceOf: (user: UserToSignIn) => string | null,
): Promise<CheckedPasskey> {
  demandParty(ctx);
  const read = readAnswer(ctx, ASSERTION, answer.credential, boundOf("get", answer.form, user?.uuid));
  if (read === null) throw passkeyRefused(ctx, user?.uuid, "challenge");
  const passkey = await ctx.store.factors.findPasskey(read.response.id);
  const owner = passkey === null ? null : await ctx.store.users.findWithPassword(passkey.userId);
  if (passkey === null || owner === null) throw passkeyRefused(ctx, user?.uuid, "unknown");
  if (user !== null && owner.uuid !== user.uuid) throw passkeyRefused(ctx, user.uuid, "foreign");
  const device = deviceOf(owner);
  const subject = device === null ? passkey.credentialId : `${passkey.credentialId}\n${device}`;
  const attempt = hashOf(answer.attempt);
  return ctx.limits.guess<UserToSignIn | null, CheckedPasskey>(
    "passkey",
    subject,
    async (found) => ({
      ...(await checkAnswer(ctx, { read, passkey, attempt }, found)),
      methods: methodsOf(passkey),
      askedAt: startOfChallenge(read.expiresAt),
    }),
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

async function checkAnswer(
  ctx: Context,
  { read, passkey, attempt }: { readonly read: Assertion; readonly passkey: Passkey; readonly attempt: string },
  user: UserToSignIn | null,
): Promise<Pick<CheckedPasskey, "user" | "use">> {
  const verified = await verify(ctx, passkey, read);
  const closed = isClosed(user);
  if (user === null || verified === null || (user.disabledAt !== null && !closed)) {
    throw passkeyRefused(ctx, user?.uuid, user?.disabledAt === null ? "answer" : "disabled_account");
  }
  const { signCount, isVerified } = verified;
  if (!isVerified) throw passkeyRefused(ctx, user.uuid, "unverified");
  const challengeHash = hashOf(read.challenge);
  const { credentialId } = passkey;
  const use = { credentialId, signCount, challengeHash, expiresAt: read.expiresAt, attempt };
  const outcome = await ctx.store.factors.usePasskey(use, ctx.clock.now());
  if (outcome === "refused") securityEvent(ctx, "passkey_cloned", { sub: user.uuid });
  if (outcome === "refused" || outcome === "repeated") throw passkeyRefused(ctx, user.uuid, outcome);
  // what signed in before the account was closed does not open it again
  const isReplay = outcome === "again" && hasSignedInSince(user, startOfChallenge(read.expiresAt));
  if (closed) throw isReplay ? passkeyRefused(ctx, user.uuid, "repeated") : new ClosedAccount(user.uuid);
  return { user, use: outcome };
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
