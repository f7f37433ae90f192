import { DPOP_ALGS } from "./dpop-proof.ts";

/** An answer to a request that a Bearer-protected surface refuses. */
export interface GatewayRow {
  readonly status: 401 | 403;
  /** The body is `{"error": ...}` with this text; gRPC sends it as the status message. */
  readonly error: string;
  /** WWW-Authenticate (RFC 6750 section 3) without its scheme. */
  readonly challenge: string;
}

/** The gateway's table: what every Bearer-protected surface answers, this service's own and that of the verifier library. */
export const GATEWAY = {
  /** The request carries no token. */
  unauthorized: { status: 401, error: "Unauthorized", challenge: "" },
  /** Not a token of this issuer, of another type, for another audience, or revoked, even when it is expired too. */
  invalid_token: {
    status: 401,
    error: "Invalid Token",
    challenge: 'error="invalid_token", error_description="The access token is not valid"',
  },
  token_expired: {
    status: 401,
    error: "Token Expired",
    challenge: 'error="invalid_token", error_description="The access token expired"',
  },
  /** The token is good but a scope is missing. */
  forbidden: { status: 403, error: "Forbidden", challenge: 'error="insufficient_scope"' },
  /** The token is good but its user signed in too long ago or by too weak means (RFC 9470 section 3). */
  insufficient_user_authentication: {
    status: 401,
    error: "Insufficient User Authentication",
    challenge:
      'error="insufficient_user_authentication", error_description="A stronger or more recent sign-in is required"',
  },
  /** The token is good but its DPoP proof is not (RFC 9449 section 7.1). */
  invalid_dpop_proof: { status: 401, error: "invalid_dpop_proof", challenge: 'error="invalid_dpop_proof"' },
  /** The proof holds no nonce of this server (RFC 9449 section 9). */
  use_dpop_nonce: { status: 401, error: "use_dpop_nonce", challenge: 'error="use_dpop_nonce"' },
} as const satisfies Record<string, GatewayRow>;

/**
 * The WWW-Authenticate header of a refusal.
 * @param scheme that the request came with; DPoP names the algorithms of proofs (RFC 9449 section 7.1)
 */
export function wwwAuthenticate({ challenge }: GatewayRow, scheme: "Bearer" | "DPoP"): string {
  const parts = scheme === "DPoP" ? [challenge, `algs="${DPOP_ALGS.join(" ")}"`] : [challenge];
  const parameters = parts.filter((part) => part !== "").join(", ");
  return parameters === "" ? scheme : `${scheme} ${parameters}`;
}
