import { AuthError } from "../../errors.ts";
import { type BrowserSession, endSession } from "../../sessions/sessions.ts";
import { endsWithSession } from "../../store/authorizations.ts";
import { isUsableRedirectUri } from "../authorization/request.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { readIdTokenHint } from "../tokens/claims.ts";

/** What a logout request asks for, checked. */
export interface LogoutRequest {
  /** Where the browser goes afterwards, `state` included; null: our own page. */
  readonly location: string | null;
  /** Named by the hint or the request. */
  readonly clientId: string | null;
  /** Of the client that the browser goes back to. */
  readonly clientName: string | null;
  /** From an ID token of this issuer: its subject and its authorization. */
  readonly hint: { readonly sub: string; readonly sid: string } | null;
}

/**
 * Reads a request for RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0 section 2). An expired hint is good; one that cannot be
 * verified counts as none.
 * @throws AuthError invalid_request: a URI that the client has not registered, or a hint of another client
 */
export async function readLogoutRequest(
  ctx: OAuthContext,
  parameters: Readonly<Record<string, string>>,
): Promise<LogoutRequest> {
  const { id_token_hint: hint, client_id: clientId, post_logout_redirect_uri: uri, state } = parameters;
  const claims = hint === undefined ? null : readIdTokenHint(ctx, hint);
  if (claims !== null && clientId !== undefined && claims.aud !== clientId) {
    throw new AuthError("invalid_request", "id_token_hint was issued to another client");
  }
  const named = claims?.aud ?? clientId;
  let location: string | null = null;
  let clientName: string | null = null;
  if (uri !== undefined) {
    const client = named === undefined ? null : await findClient(ctx, named);
    if (client === null || !isUsableRedirectUri(ctx, client.metadata.post_logout_redirect_uris, uri)) {
      throw new AuthError("invalid_request", "post_logout_redirect_uri is not registered for this client");
    }
    const query = state === undefined ? "" : `${uri.includes("?") ? "&" : "?"}${new URLSearchParams({ state })}`;
    location = `${uri}${query}`;
    clientName = client.metadata.client_name ?? client.clientId;
  }
  return { location, clientId: named ?? null, clientName, hint: claims };
}

/**
 * A signed-in user is asked first, unless the request brings an ID token of that user: another site may have sent the browser here, with
 * the ID token of another user too (section 6).
 */
export function mustAsk({ userId }: BrowserSession, { hint }: LogoutRequest): boolean {
  return userId !== null && hint?.sub !== userId;
}

/**
 * Ends the browser's session with everything that it gave but offline access, and the hint's authorization. An ID token without a
 * session cookie ends only the authorization that it was issued for.
 */
export async function logOut(ctx: OAuthContext, session: BrowserSession | null, request: LogoutRequest): Promise<void> {
  if (session !== null) await endSession(ctx, session);
  if (request.hint === null) return;
  const { authorizations } = ctx.store;
  const authorization = await authorizations.find(request.hint.sid);
  if (authorization === null || !endsWithSession(authorization.scope)) return;
  await authorizations.revoke(authorization.id, "logout", ctx.clock.now());
}
