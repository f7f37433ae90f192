import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";

/** What is wrong with a key that should have stayed with its owner. */
export const PRIVATE_KEY = "must hold public members only";

/**
 * The key of a client, as DPoP proofs carry and registrations name it (RFC 7517): public members only, of a type that FAPI 2.0
 * allows (section 5.4).
 * @returns what is wrong with it where it is none
 */
export function readPublicKey(jwk: Readonly<Record<string, unknown>>): KeyObject | string {
  if (["d", "p", "q", "k"].some((member) => jwk[member] !== undefined)) return PRIVATE_KEY;
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: "jwk" });
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
    const bits = details?.modulusLength ?? 0;
    if (type === "rsa") return bits >= 2048 && bits <= 8192 ? key : "RSA keys must have 2048 to 8192 bits";
    if (type === "ec" && details?.namedCurve === "prime256v1") return key;
    return type === "ed25519" ? key : "must be an RSA, P-256 or Ed25519 key";
  } catch {
    return "is no public key (RFC 7517)";
  }
}
