import { AuthError } from "../../errors.ts";
import type { Client } from "../../store/clients.ts";
import { authenticateBasic, authenticateClient, type ClientCredentials } from "../clients/authentication.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { scopesOf } from "../scopes.ts";
import { requireBearer } from "../tokens/bearer.ts";
import type { Caller } from "./caller-memory.ts";

/** What a call to the internal API brings to say who makes it. */
export interface CallerCredentials {
  /** The Authorization header. */
  readonly authorization: string | null;
  /** Subject of the TLS client certificate. */
  readonly certificateSubject: string | null;
  /** Of the caller, as `networkOf` names it. */
  readonly network: string;
}

/**
 * Authenticates a caller by Basic client credentials, by an access token of its own (client credentials), or by the subject of
 * its TLS certificate. User tokens are rejected.
 * @throws AuthError unauthorized, invalid_token, token_expired, forbidden, rate_limited (by the promise)
 */
export function authenticateCaller(ctx: OAuthContext, credentials: CallerCredentials): Caller | Promise<Caller> {
  const { authorization } = credentials;
  const known = authorization === null ? undefined : ctx.callers.recall(ctx, authorization);
  return known ?? checkCaller(ctx, credentials);
}

async function checkCaller(ctx: OAuthContext, credentials: CallerCredentials): Promise<Caller> {
  const { authorization } = credentials;
  if (authorization === null) {
    const { certificateSubject } = credentials;
    if (certificateSubject !== null) return callerOfCertificate(ctx, certificateSubject);
  } else if (/^basic /i.test(authorization)) {
    try {
      const { client, secret } = await authenticateBasic(ctx, authorization, credentials.network);
      const caller: Caller = { client, scopes: new Set(scopesOf(client.metadata.scope)) };
      if (secret !== null) ctx.callers.remember(authorization, caller, secret);
      return caller;
    } catch (error) {
      if (!(error instanceof AuthError) || error.code !== "invalid_client") throw error;
      throw new AuthError("invalid_token", "caller authentication failed", { cause: error });
    }
  }
  const claims = await requireBearer(ctx, authorization, null);
  if (claims.sub !== claims.client_id) throw new AuthError("forbidden", "user tokens are rejected on this listener");
  const client = await findClient(ctx, claims.client_id);
  if (client === null) throw new AuthError("invalid_token", "the client is disabled");
  return { client, scopes: new Set(scopesOf(claims.scope)) };
}

/**
 * For a call that goes on: who makes it now? A token that expired meanwhile was good when the call began.
 * @returns null where that cannot be told right now
 * @throws AuthError as `authenticateCaller`: the credentials have ended
 */
export async function recheckCaller(ctx: OAuthContext, credentials: CallerCredentials): Promise<Caller | null> {
  try {
    return await authenticateCaller(ctx, credentials);
  } catch (error) {
    if (error instanceof AuthError && (error.code === "token_expired" || error.code === "unavailable")) return null;
    throw error;
  }
}

async function callerOfCertificate(ctx: OAuthContext, subject: string): Promise<Caller> {
  const isBound = (client: Client | null): client is Client =>
    client !== null && client.disabledAt === null && client.metadata.tls_client_auth_subject_dn === subject;
  const remembered = ctx.callers.clientOfSubject.get(subject);
  let client = remembered === undefined ? null : await findClient(ctx, remembered);
  if (!isBound(client)) {
    const found = (await ctx.store.clients.listOfOperator()).find(isBound);
    if (found === undefined) throw new AuthError("unauthorized", "no client is bound to this certificate");
    ctx.callers.clientOfSubject.set(subject, found.clientId);
    client = found;
  }
  return { client, scopes: new Set(scopesOf(client.metadata.scope)) };
}

/**
 * Authenticates the caller of HTTP introspection: a confidential client (RFC 7662 section 2.1), by the method it is registered
 * for, or its own access token.
 * @throws AuthError as `authenticateCaller`, invalid_client, invalid_request
 */
export function authenticateHttpCaller(ctx: OAuthContext, credentials: ClientCredentials): Caller | Promise<Caller> {
  const { authorization } = credentials;
  const { client_secret: secret, client_assertion: assertion } = credentials.parameters;
  const alone = authorization !== null && secret === undefined && assertion === undefined;
  const known = alone ? ctx.callers.recall(ctx, authorization) : undefined;
  const byBasic = known?.client.metadata.token_endpoint_auth_method === "client_secret_basic";
  const named = credentials.parameters["client_id"];
  if (known !== undefined && byBasic && (named ?? known.client.clientId) === known.client.clientId) return known;
  return checkHttpCaller(ctx, credentials);
}

async function checkHttpCaller(ctx: OAuthContext, credentials: ClientCredentials): Promise<Caller> {
  const { authorization, network } = credentials;
  if (authorization !== null && /^bearer /i.test(authorization)) {
    return authenticateCaller(ctx, { authorization, certificateSubject: null, network });
  }
  const { client_id: named, client_secret: inBody = "", client_assertion: assertion } = credentials.parameters;
  if (authorization === null && named === undefined && assertion === undefined) {
    throw new AuthError("invalid_client", "client authentication is required");
  }
  const { client, secret } = await authenticateClient(ctx, credentials);
  if (client.metadata.token_endpoint_auth_method === "none") {
    throw new AuthError("invalid_client", "a public client may not introspect");
  }
  const caller: Caller = { client, scopes: new Set(scopesOf(client.metadata.scope)) };
  // only a header that authenticated is remembered: with the secret in the body, any Authorization header may have come too, one without a secret as well
  if (authorization !== null && /^basic /i.test(authorization) && secret !== null && inBody === "") {
    ctx.callers.remember(authorization, caller, secret);
  }
  return caller;
}
