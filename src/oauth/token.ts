import { AuthError } from "../errors.ts";
import { DEVICE_CODE_GRANT, type GRANT_TYPES, TOKEN_EXCHANGE_GRANT } from "../store/client-metadata.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { authenticateClient } from "./clients/authentication.ts";
import type { OAuthContext } from "./context.ts";
import { authorizationCodeGrant } from "./grants/authorization-code.ts";
import { clientCredentialsGrant } from "./grants/client-credentials.ts";
import { deviceCodeGrant } from "./grants/device-code.ts";
import type { Grant } from "./grants/grant.ts";
import { RefreshRejected, refreshTokenGrant } from "./grants/refresh-token.ts";
import { tokenExchangeGrant } from "./grants/token-exchange.ts";
import { type PresentedProof, provenKey } from "./tokens/dpop.ts";
import type { TokenResponse } from "./tokens/issuer.ts";

export type { TokenResponse } from "./tokens/issuer.ts";

export interface TokenRequest {
  /** Of the body: no duplicates, no empty values. */
  readonly parameters: Readonly<Record<string, string>>;
  /** The Authorization header: Basic authenticates the client, anything else is ignored. */
  readonly authorization: string | null;
  /** Of the caller, as `networkOf` names it. */
  readonly network: string;
  readonly dpop: PresentedProof | null;
}

const grants: Record<(typeof GRANT_TYPES)[number], Grant> = {
  authorization_code: authorizationCodeGrant,
  refresh_token: refreshTokenGrant,
  client_credentials: clientCredentialsGrant,
  [DEVICE_CODE_GRANT]: deviceCodeGrant,
  [TOKEN_EXCHANGE_GRANT]: tokenExchangeGrant,
};

/** What a client with the right settings is answered as well: a device that waits, a nonce that is asked for, a fault that passes. */
const ordinary: ReadonlySet<string> = new Set(["authorization_pending", "slow_down", "use_dpop_nonce", "unavailable"]);

/**
 * The token endpoint (RFC 6749 section 3.2), for HTTP and gRPC.
 * @throws AuthError invalid_request, invalid_client, unauthorized_client, unsupported_grant_type, invalid_scope,
 * invalid_target, invalid_grant, invalid_dpop_proof, use_dpop_nonce, refresh_rejected, authorization_pending, slow_down,
 * access_denied, expired_token, rate_limited, unavailable
 */
export async function exchangeToken(ctx: OAuthContext, request: TokenRequest): Promise<TokenResponse> {
  const { parameters } = request;
  const grantType = parameters["grant_type"];
  if (grantType === undefined) throw new AuthError("invalid_request", "grant_type is missing");
  if (!Object.hasOwn(grants, grantType)) {
    throw new AuthError("unsupported_grant_type", `use one of ${Object.keys(grants).join(", ")}`);
  }
  const authenticated = await authenticateClient(ctx, request);
  const { client } = authenticated;
  try {
    if (!client.metadata.grant_types.includes(grantType)) {
      throw new AuthError("unauthorized_client", `this client is not registered for grant_type ${grantType}`);
    }
    const dpopJkt = await provenKey(ctx, client, request.dpop);
    const response = await grants[grantType as keyof typeof grants](ctx, { ...authenticated, dpopJkt }, parameters);
    ctx.metrics.tokensIssued.inc({ grant_type: grantType });
    return response;
  } catch (error) {
    if (error instanceof AuthError && !ordinary.has(error.code)) {
      const { reason, about } = error instanceof RefreshRejected ? error : { reason: error.description, about: {} };
      const told = { grant_type: grantType, error: error.code, reason, ...about };
      securityEvent(ctx, "token_refused", { client_id: client.clientId, ...told });
    }
    throw error;
  }
}
