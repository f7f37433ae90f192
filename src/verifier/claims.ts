import type { VerifiedClaims } from "./decision.ts";
import type { Jws } from "./jws.ts";

/** Claims that only other kinds of token carry: ID tokens, logout tokens, refresh tokens (RFC 8725 section 3.11). */
const foreign = ["nonce", "at_hash", "c_hash", "events", "token_type", "gen"];
const required = ["iss", "sub", "aud", "jti", "client_id", "sid", "scope"] as const;

export interface ClaimRules {
  readonly issuer: string;
  /** Whether header typ `JWT` passes beside `at+jwt`. */
  readonly allowJwtTyp: boolean;
  /** Seconds that iat and nbf may lie in the future. */
  readonly clockToleranceSeconds: number;
}

/**
 * The claims of what is, by its form, an access token of the issuer. Signature, audience, expiry and revocation are not looked
 * at here. `aud` is one string, as the issuer writes it: a list is refused even where it holds ours.
 * @param now seconds since 1970
 * @returns null for anything else
 */
export function readClaims(jws: Jws, rules: ClaimRules, now: number): VerifiedClaims | null {
  if (jws.typ !== "at+jwt" && !(rules.allowJwtTyp && jws.typ === "JWT")) return null;
  const { claims } = jws;
  for (const name of required) if (typeof claims[name] !== "string") return null;
  for (const name of foreign) if (Object.hasOwn(claims, name)) return null;
  const { iss, exp, iat, nbf, roles, nickname, cnf, exchanged_from } = claims;
  if (iss !== rules.issuer || claims["sub"] === "" || claims["jti"] === "") return null;
  const latest = now + rules.clockToleranceSeconds;
  if (!isTime(exp) || !isTime(iat) || iat > latest) return null;
  if (nbf !== undefined && (!isTime(nbf) || nbf > latest)) return null;
  if (roles !== undefined && !(Array.isArray(roles) && roles.every((role) => typeof role === "string"))) return null;
  if (nickname !== undefined && typeof nickname !== "string") return null;
  if (cnf !== undefined && (cnf === null || typeof cnf !== "object" || Array.isArray(cnf))) return null;
  if (exchanged_from !== undefined && !isChain(exchanged_from)) return null;
  return deepFreeze(claims) as unknown as VerifiedClaims;
}

function isChain(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((from: unknown) => {
      const { jti, client_id, kid } = (from ?? {}) as Record<string, unknown>;
      return [jti, client_id, kid].every((member) => typeof member === "string");
    })
  );
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) if (member !== null && typeof member === "object") deepFreeze(member);
  return Object.freeze(value);
}
