/**
 * Authentication context classes (`acr`, OpenID Connect Core section 2), the weakest first: one factor; two factors; a passkey, which cannot be
 * phished. A sign-in of a later class is one of the earlier classes too.
 */
export const ACR_VALUES = [
  "urn:auth-service:acr:password",
  "urn:auth-service:acr:two-factor",
  "urn:auth-service:acr:passkey",
] as const;
/** Those that users of a service can reach. */
export function offeredAcr(hasPasskeys: boolean): readonly Acr[] {
  return hasPasskeys ? ACR_VALUES : ACR_VALUES.slice(0, -1);
}
export type Acr = (typeof ACR_VALUES)[number];
export const PASSKEY_ACR: Acr = "urn:auth-service:acr:passkey";

export function isAcr(value: unknown): value is Acr {
  return (ACR_VALUES as readonly unknown[]).includes(value);
}

/** The strongest class of a sign-in. @param methods `amr` values (RFC 8176 section 2); none: a password */
export function acrOf(methods: readonly string[]): Acr {
  const [password, twoFactor, passkey] = ACR_VALUES;
  if (methods.includes("hwk") || methods.includes("swk")) return passkey;
  return methods.includes("mfa") ? twoFactor : password;
}

/** Is `acr` at least as strong as `other`? */
export function isAtLeast(acr: Acr, other: Acr): boolean {
  return ACR_VALUES.indexOf(acr) >= ACR_VALUES.indexOf(other);
}
