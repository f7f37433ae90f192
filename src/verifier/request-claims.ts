import type { VerifiedClaims } from "./decision.ts";

const claimsByRequest = new WeakMap<object, VerifiedClaims>();

export function setClaims(request: object, claims: VerifiedClaims): void {
  claimsByRequest.set(request, claims);
}

/**
 * The claims of the token that a request was let through with.
 * @param request the request object that the handler got
 * @throws Error if `requireToken` did not run before the handler: an error in the program, not in the request
 */
export function claimsOf(request: object): VerifiedClaims {
  const claims = claimsByRequest.get(request);
  if (claims === undefined) throw new Error("no token was verified for this request: is requireToken missing?");
  return claims;
}
