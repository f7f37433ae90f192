import { securityEvent } from "../../telemetry/security-events.ts";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import { GATEWAY, type GatewayRow } from "../../token/gateway.ts";
import { haveSameUri } from "../../token/uri.ts";
import type { OAuthContext } from "../context.ts";
import { readAccessToken } from "./claims.ts";
import { standingOf } from "./introspection.ts";

/** What a proxy demands of the token of a request. */
export interface Demands {
  /** All of these. */
  readonly scopes: readonly string[];
  /** One of these; none named: the client itself, as for this service's own resources. */
  readonly audiences: readonly string[];
}

export type ForwardDecision =
  | { readonly allowed: true; readonly claims: AccessTokenClaims }
  | { readonly allowed: false; readonly refusal: GatewayRow };

/**
 * Decides by the gateway's table about a request that a proxy asks about before it lets it through. A token that is bound to a key is
 * refused: the proof speaks of a request that only the service behind the proxy sees.
 * @param authorization the header of that request
 * @throws AuthError unavailable
 */
export async function decideForProxy(
  ctx: OAuthContext,
  authorization: string | null,
  demands: Demands,
): Promise<ForwardDecision> {
  const refuse = (row: keyof typeof GATEWAY): ForwardDecision => ({ allowed: false, refusal: GATEWAY[row] });
  if (authorization === null) return refuse("unauthorized");
  const token = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i.exec(authorization)?.[1];
  const known = token === undefined ? null : await readAccessToken(ctx, token);
  if (known === null || !isFor(known.claims, demands.audiences)) return refuse("invalid_token");
  const { claims } = known;
  if (claims.cnf !== undefined) {
    securityEvent(ctx, "bound_token_without_proof", { client_id: claims.client_id, sid: claims.sid });
    return refuse("invalid_token");
  }
  const standing = await standingOf(ctx, known);
  if (standing === "revoked") return refuse("invalid_token");
  if (standing === "expired") return refuse("token_expired");
  const held = claims.scope.split(" ");
  if (!demands.scopes.every((scope) => held.includes(scope))) return refuse("forbidden");
  return { allowed: true, claims };
}

function isFor({ aud, client_id }: AccessTokenClaims, audiences: readonly string[]): boolean {
  const wanted = audiences.length === 0 ? [client_id] : audiences;
  return haveSameUri([aud].flat(), wanted);
}
