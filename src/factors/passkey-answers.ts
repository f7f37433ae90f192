import { z } from "zod";
import type { PasskeyParty } from "../config/passkey-party.ts";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import type { Passkey } from "../store/factors.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { endOfChallenge } from "./challenge.ts";

let library: Promise<typeof import("@simplewebauthn/server")> | null = null;

/** Loaded when the first passkey comes: the start is not slower for it. It is kept: each import costs some 50 µs. */
export function webAuthnLibrary() {
  library ??= import("@simplewebauthn/server");
  return library;
}

/** What an authenticator answered, as the page sends it. */
export interface PasskeyAnswer {
  /** JSON of a PublicKeyCredential (WebAuthn section 5.1). */
  readonly credential: string;
  /** What the challenge was bound to: the form's token. */
  readonly form: string;
  /** Names the form, which may be sent twice. */
  readonly attempt: string;
}

const bytes = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/);
const credential = { id: bytes(1_400), rawId: bytes(1_400), type: z.literal("public-key") };

/** The answer of `navigator.credentials.get` (WebAuthn section 5.2.2). */
export const ASSERTION = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: bytes(8_000),
    authenticatorData: bytes(8_000),
    signature: bytes(2_000),
    userHandle: bytes(100).exactOptional(),
  }),
});

/** The answer of `navigator.credentials.create` (WebAuthn section 5.2.1). */
export const ATTESTATION = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: bytes(8_000),
    attestationObject: bytes(30_000),
    transports: z.array(z.string().max(30)).max(10).optional(),
  }),
});

/** What is read of an answer before it is known what it answers. */
const CLIENT_DATA = z.object({ challenge: z.string() });
const NAMED = z.object({ id: credential.id });

/** An answer to a challenge that this service made and that has not ended. Its signature is not checked yet. */
export interface Read<T> {
  readonly response: T & { readonly clientExtensionResults: object };
  readonly challenge: string;
  /** When the challenge ends. */
  readonly expiresAt: number;
}

/** Reads an answer. @param bound what its challenge was made for @returns null: it is malformed, late, or answers another challenge */
export function readAnswer<T extends { readonly response: { readonly clientDataJSON: string } }>(
  ctx: Context,
  shape: z.ZodType<T>,
  json: string,
  bound: string,
): Read<T> | null {
  const data = shape.safeParse(parsed(json)).data;
  if (data === undefined) return null;
  const client = parsed(Buffer.from(data.response.clientDataJSON, "base64url").toString());
  const challenge = CLIENT_DATA.safeParse(client).data?.challenge ?? "";
  const expiresAt = endOfChallenge(ctx, challenge, bound);
  // no extension is asked for
  return expiresAt === null ? null : { response: { ...data, clientExtensionResults: {} }, challenge, expiresAt };
}

/** The id of the passkey that an answer names; null: it is malformed. */
export function idOfAnswer(json: string): string | null {
  return NAMED.safeParse(parsed(json)).data?.id ?? null;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** What a challenge is made for. @param uuid whose answer it must be; absent: anybody's */
export function boundOf(ceremony: "get" | "create", form: string, uuid = ""): string {
  return `${ceremony}\n${uuid}\n${form}`;
}

/** The user handle (WebAuthn section 5.4.3), base64url: nothing that names a person. */
export function handleOf(uuid: string): string {
  return Buffer.from(uuid).toString("base64url");
}

/** How a browser finds a passkey (WebAuthn section 5.8.3). */
export function descriptorOf({ credentialId, transports }: Passkey) {
  return { id: credentialId, type: "public-key", transports: [...transports] as "internal"[] } as const;
}

/**
 * Methods of a sign-in with a passkey (RFC 8176 section 2): a key that stays in its device or one that is copied to others, used by somebody
 * who is there, and whom the device knows.
 */
export function methodsOf({ isSynced }: Pick<Passkey, "isSynced">): readonly string[] {
  return [isSynced ? "swk" : "hwk", "user", "mfa"];
}

/** What `methodsOf` may be. */
export const PASSKEY_WAYS = [true, false].map((isSynced) => methodsOf({ isSynced }));

/** @throws AuthError invalid_request: this issuer can have no passkeys */
export function demandParty({ config }: Context): PasskeyParty {
  if (config.passkeys === null) throw noPasskeys();
  return config.passkeys;
}

export function noPasskeys(): AuthError {
  return new AuthError("invalid_request", "an issuer whose host is an IP address has no passkeys");
}

/**
 * Why a passkey was refused, for the log. A person may hear of what they can act on and what tells a stranger nothing of an account:
 * `challenge`: the answer is late; `unknown`: no account has this passkey; `unverified`: right, but its device did not check who used it.
 */
export type PasskeyReason =
  | "challenge"
  | "unknown"
  | "unverified"
  | "foreign"
  | "known"
  | "answer"
  | "disabled_account"
  | "refused"
  | "repeated";

/** A passkey did not work. */
export class PasskeyRefused extends AuthError {
  readonly reason: PasskeyReason;
  constructor(reason: PasskeyReason) {
    super("invalid_credentials", "the passkey did not work");
    this.reason = reason;
  }
}

export function passkeyRefused(ctx: Context, sub: string | undefined, reason: PasskeyReason): PasskeyRefused {
  securityEvent(ctx, "passkey_refused", { sub, reason });
  return new PasskeyRefused(reason);
}
