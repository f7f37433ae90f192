import type { AuthenticatedClient } from "../clients/authentication.ts";
import type { OAuthContext } from "../context.ts";
import type { TokenResponse } from "../tokens/issuer.ts";

/** A client that authenticated, and the key that it proved to hold: its tokens are bound to that. */
export interface Grantee extends AuthenticatedClient {
  /** Thumbprint; null: no proof was sent, and none is needed. */
  readonly dpopJkt: string | null;
}

/** A grant: what it is given is a client that authenticated and may use it. */
export type Grant = (
  ctx: OAuthContext,
  grantee: Grantee,
  parameters: Readonly<Record<string, string>>,
) => Promise<TokenResponse>;
