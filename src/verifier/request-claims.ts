import type { VerifiedClaims } from "./decision.ts";

const claimsByRequest = new WeakMap<object, VerifiedClaims>();

export function setClaims(request: object, claims: VerifiedClaims): void {
  claimsByRequest.set(request, claims);
}

/**
 * The claims of the token that a request was let through with.
 * @param request the request object that the handler got
 * @throws Error where no `requireToken` stands before the handler: a mistake in the program, not of the caller
 */
export function claimsOf(request: object): VerifiedClaims {
  const claims = claimsByRequest.get(request);
  if (claims === undefined) throw new Error("no token was verified for this request: is requireToken missing?");
  return claims;
}
