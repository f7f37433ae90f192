import { isAcr, isAtLeast } from "../token/authentication.ts";
import { GATEWAY, wwwAuthenticate } from "../token/gateway.ts";
import type { Refused, VerifiedClaims } from "./decision.ts";

/** How well, and how recently, the user must have signed in for a request (RFC 9470). */
export interface AuthenticationDemand {
  /** A class, or several of which the token's `acr` must be one. A stronger class of this issuer does as well. */
  readonly acr?: string | readonly string[];
  /** Seconds since the sign-in, at most. */
  readonly maxAge?: number;
}

/**
 * @param now seconds since 1970
 * @returns null where the sign-in is strong and recent enough; otherwise a challenge that tells the client what to ask the user for (RFC 9470
 * section 3)
 */
export function stepUpRefusal(
  demand: AuthenticationDemand,
  claims: VerifiedClaims,
  now: number,
  scheme: "Bearer" | "DPoP",
): Refused | null {
  const { maxAge } = demand;
  const acr = typeof demand.acr === "string" ? [demand.acr] : demand.acr;
  const isStrong = acr === undefined || acr.some((wanted) => isEnough(claims.acr, wanted));
  const isRecent = maxAge === undefined || (claims.auth_time !== undefined && now - claims.auth_time <= maxAge);
  if (isStrong && isRecent) return null;
  const { status, error, challenge } = GATEWAY.insufficient_user_authentication;
  const parameters = [
    challenge,
    ...(acr === undefined ? [] : [`acr_values="${acr.join(" ")}"`]),
    ...(maxAge === undefined ? [] : [`max_age="${maxAge}"`]),
  ].join(", ");
  return Object.freeze({
    allowed: false,
    status,
    error,
    wwwAuthenticate: wwwAuthenticate({ status, error, challenge: parameters }, scheme),
  });
}

function isEnough(given: string | undefined, wanted: string): boolean {
  return given === wanted || (isAcr(given) && isAcr(wanted) && isAtLeast(given, wanted));
}
