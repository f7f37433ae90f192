/** Claims of an access token (RFC 9068 section 2.2), times in seconds. */
export interface AccessTokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly client_id: string;
  /** The authorization it belongs to. */
  readonly sid: string;
  readonly scope: string;
  /** Of a user; absent where a client acts for itself. */
  readonly roles?: readonly string[];
  readonly nickname?: string;
  /** The key it is bound to (RFC 9449 section 6.1). */
  readonly cnf?: { readonly jkt: string };
  /** Who acts for the subject, and for whom before (RFC 8693 section 4.1). */
  readonly act?: Actor;
  /** The tokens that it was exchanged from, the last one first: what ends one of them ends this one. */
  readonly exchanged_from?: readonly ExchangedToken[];
}

export interface Actor {
  readonly sub: string;
  readonly act?: Actor;
}

/** What a token is revoked by, beside subject and authorization, which its exchange does not change. */
export interface ExchangedToken {
  readonly jti: string;
  readonly client_id: string;
  readonly kid: string;
}

export type TokenType = "Bearer" | "DPoP";

/** How a token is sent: with a proof where it is bound to a key (RFC 9449 section 5). */
export function tokenTypeOf(dpopJkt: string | null): TokenType {
  return dpopJkt === null ? "Bearer" : "DPoP";
}
