import type { AuthenticatedClient } from "../clients/authentication.ts";
import type { OAuthContext } from "../context.ts";
import type { TokenResponse } from "../tokens/issuer.ts";

/** A client that authenticated, and the key that it proved to hold: its tokens are bound to that key. */
export interface Grantee extends AuthenticatedClient {
  /** Thumbprint of the key (RFC 7638); null: no proof was sent, and none is needed. */
  readonly dpopJkt: string | null;
}

/** One grant type of the token endpoint. The client has authenticated and is registered for the grant. */
export type Grant = (
  ctx: OAuthContext,
  grantee: Grantee,
  parameters: Readonly<Record<string, string>>,
) => Promise<TokenResponse>;
