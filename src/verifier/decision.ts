import type { AccessTokenClaims } from "../token/access-token.ts";
import { GATEWAY, type GatewayRow, wwwAuthenticate } from "../token/gateway.ts";

/** Claims of an access token (RFC 9068 section 2.2). Frozen: all decisions about one token share the object. */
export type VerifiedClaims = AccessTokenClaims;

export interface Allowed {
  readonly allowed: true;
  readonly claims: VerifiedClaims;
}

type Gateway = typeof GATEWAY;

/** A row of the gateway's table, with the WWW-Authenticate header (RFC 6750 section 3, RFC 9449 section 7.1). */
export type Refused =
  | {
      readonly allowed: false;
      readonly status: 401;
      /**
       * No token; a token that is not good here or is revoked; an expired one; a good one with a bad DPoP proof, or of a user who has to sign in
       * again or by stronger means.
       */
      readonly error: Gateway[
        | "unauthorized"
        | "invalid_token"
        | "token_expired"
        | "invalid_dpop_proof"
        | "insufficient_user_authentication"]["error"];
      readonly wwwAuthenticate: string;
    }
  | {
      readonly allowed: false;
      readonly status: 403;
      /** The token is good but a scope is missing. */
      readonly error: Gateway["forbidden"]["error"];
      readonly wwwAuthenticate: string;
    }
  | {
      readonly allowed: false;
      readonly status: 503;
      /** Whether the token is good cannot be known right now. No reason to sign the user out. */
      readonly error: "Unavailable";
      /** Seconds after which to ask again. */
      readonly retryAfter: number;
    };

/** What to do with a request. */
export type Decision = Allowed | Refused;

function refusal<Row extends GatewayRow>(row: Row, scheme: "Bearer" | "DPoP") {
  const { status, error }: { status: Row["status"]; error: Row["error"] } = row;
  return Object.freeze({ allowed: false, status, error, wwwAuthenticate: wwwAuthenticate(row, scheme) } as const);
}

export const UNAUTHORIZED: Refused = refusal(GATEWAY.unauthorized, "Bearer");
export const INVALID_TOKEN: Refused = refusal(GATEWAY.invalid_token, "Bearer");
export const TOKEN_EXPIRED: Refused = refusal(GATEWAY.token_expired, "Bearer");
export const FORBIDDEN: Refused = refusal(GATEWAY.forbidden, "Bearer");
export const INVALID_PROOF: Refused = refusal(GATEWAY.invalid_dpop_proof, "DPoP");
export const UNAVAILABLE: Refused = Object.freeze({ allowed: false, status: 503, error: "Unavailable", retryAfter: 1 });

const withDpop = new Map<Refused, Refused>([
  [UNAUTHORIZED, refusal(GATEWAY.unauthorized, "DPoP")],
  [INVALID_TOKEN, refusal(GATEWAY.invalid_token, "DPoP")],
  [TOKEN_EXPIRED, refusal(GATEWAY.token_expired, "DPoP")],
  [FORBIDDEN, refusal(GATEWAY.forbidden, "DPoP")],
]);

/** A refusal as it is answered to a request with scheme DPoP (RFC 9449 section 7.1). */
export function withDpopChallenge(refused: Refused): Refused {
  return withDpop.get(refused) ?? refused;
}

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
