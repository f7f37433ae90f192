import type { Actor, Confirmation, TokenType } from "../../token/access-token.ts";

/** Answer of introspection (RFC 7662 section 2.2). */
export type Introspection = { readonly active: false } | ActiveIntrospection;

export interface ActiveIntrospection {
  readonly active: true;
  readonly scope: string;
  readonly client_id: string;
  readonly username?: string;
  readonly token_type: TokenType | "refresh_token";
  readonly exp: number;
  readonly iat: number;
  readonly sub: string;
  readonly aud: readonly string[];
  readonly iss: string;
  readonly jti: string;
  readonly sid: string;
  readonly roles?: readonly string[];
  readonly nickname?: string;
  /** When and how the user signed in (RFC 9470 section 6.2). */
  readonly auth_time?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
  /** The key it is bound to (RFC 9449 section 6.2). The token is valid only with a proof of that key. */
  readonly cnf?: Confirmation;
  readonly act?: Actor;
}
