/** Claims of an access token (RFC 9068 section 2.2), times in seconds since 1970. Frozen: the same object is handed out again. */
export interface VerifiedClaims {
  readonly iss: string;
  /** User UUID, or the client id where a client acts for itself. */
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly client_id: string;
  /** The authorization it belongs to. */
  readonly sid: string;
  /** Space-separated scopes. */
  readonly scope: string;
  /** Of a user; absent where a client acts for itself. */
  readonly roles?: readonly string[];
  readonly nickname?: string;
  /** The key it is bound to (RFC 7800); only where `dpop` or `checkBinding` was given. */
  readonly cnf?: Readonly<Record<string, unknown>>;
  /** Who acts for the subject (RFC 8693 section 4.1). */
  readonly act?: Readonly<Record<string, unknown>>;
  /** The tokens it was exchanged from: what ends one of them ends this one. */
  readonly exchanged_from?: readonly { readonly jti: string; readonly client_id: string; readonly kid: string }[];
}

export interface Allowed {
  readonly allowed: true;
  readonly claims: VerifiedClaims;
}

/** A row of the gateway's table. `wwwAuthenticate` is the header of RFC 6750 section 3 (RFC 9449 section 7.1) beside the body. */
export type Refused =
  | {
      readonly allowed: false;
      readonly status: 401;
      /** No token at all; not a token that is good here, or a revoked one; one that is over; a good one with a bad DPoP proof. */
      readonly error: "Unauthorized" | "Invalid Token" | "Token Expired" | "invalid_dpop_proof";
      readonly wwwAuthenticate: string;
    }
  | {
      readonly allowed: false;
      readonly status: 403;
      /** The token is good but a scope is missing. */
      readonly error: "Forbidden";
      readonly wwwAuthenticate: string;
    }
  | {
      readonly allowed: false;
      readonly status: 503;
      /** What the token is worth cannot be known right now. Never a reason to sign anybody out. */
      readonly error: "Unavailable";
      /** Seconds after which to ask again. */
      readonly retryAfter: number;
    };

/** What to do with a request. */
export type Decision = Allowed | Refused;

export const unauthorized: Refused = Object.freeze({
  allowed: false,
  status: 401,
  error: "Unauthorized",
  wwwAuthenticate: "Bearer",
});
export const invalidToken: Refused = Object.freeze({
  allowed: false,
  status: 401,
  error: "Invalid Token",
  wwwAuthenticate: 'Bearer error="invalid_token", error_description="The access token is not valid"',
});
export const tokenExpired: Refused = Object.freeze({
  allowed: false,
  status: 401,
  error: "Token Expired",
  wwwAuthenticate: 'Bearer error="invalid_token", error_description="The access token expired"',
});
export const forbidden: Refused = Object.freeze({
  allowed: false,
  status: 403,
  error: "Forbidden",
  wwwAuthenticate: 'Bearer error="insufficient_scope"',
});
export const unavailable: Refused = Object.freeze({ allowed: false, status: 503, error: "Unavailable", retryAfter: 1 });

/**
 * The token of an Authorization header.
 * @param header as received; null or undefined when there was none
 * @returns the token; "" when there was no header; null when it carries no Bearer token
 */
export function readBearer(header: string | null | undefined): string | null {
  if (header === null || header === undefined) return "";
  return /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i.exec(header)?.[1] ?? null;
}

/** The token of an Authorization header with scheme DPoP (RFC 9449 section 7.1); null where it carries none. */
export function readDpop(header: string): string | null {
  return /^dpop +([A-Za-z0-9\-._~+/]+=*)$/i.exec(header)?.[1] ?? null;
}

/** The HTTP answer of a refusal: status, headers (lower case) and the body's text. */
export function toHttp(refused: Refused): { status: number; headers: Record<string, string>; body: string } {
  return {
    status: refused.status,
    headers: {
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
      ...(refused.status === 503
        ? { "retry-after": String(refused.retryAfter) }
        : { "www-authenticate": refused.wwwAuthenticate }),
    },
    body: JSON.stringify({ error: refused.error }),
  };
}
