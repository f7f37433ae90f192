import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { authenticateClient, type ClientCredentials } from "../clients/authentication.ts";
import { findClient, isOfEarlierClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { checkProof, needsNonce, type PresentedProof } from "../tokens/dpop.ts";
import { ClientError, type Parameters, readDestination, readRequest } from "./request.ts";

const prefix = "urn:ietf:params:oauth:request_uri:";
/** From push to the browser's arrival, seconds. */
const lifeSeconds = 90;
/** Bytes of the parameters as they are stored. */
const maxBytes = 16 * 1024;

/**
 * Pushed authorization requests (RFC 9126 section 2): the client authenticates as at the token endpoint, and the request is
 * checked as it will be at the authorization endpoint. A DPoP proof binds its code to the key as `dpop_jkt` does (RFC 9449
 * section 10.1).
 * @throws AuthError as `authenticateClient`, invalid_dpop_proof, use_dpop_nonce, and what the authorization endpoint would have told the client
 */
export async function pushAuthorizationRequest(
  ctx: OAuthContext,
  credentials: ClientCredentials,
  dpop: PresentedProof | null,
): Promise<{ request_uri: string; expires_in: number }> {
  const { client } = await authenticateClient(ctx, credentials);
  const { client_secret: _, client_assertion: __, client_assertion_type: ___, ...rest } = credentials.parameters;
  if (rest["request_uri"] !== undefined) {
    throw new AuthError("invalid_request", "request_uri cannot be pushed (RFC 9126 section 2.1)");
  }
  const jkt = dpop === null ? null : await checkProof(ctx, dpop, { accessToken: null, nonce: needsNonce(client) });
  if (jkt !== null && (rest["dpop_jkt"] ?? jkt) !== jkt) {
    throw new AuthError("invalid_dpop_proof", "dpop_jkt differs from the key of the DPoP proof");
  }
  const bound = jkt === null ? {} : { dpop_jkt: jkt };
  const parameters: Parameters = { ...rest, ...bound, client_id: client.clientId };
  if (client.metadata.profile === "fapi2" && parameters["redirect_uri"] === undefined) {
    throw new AuthError("invalid_request", "redirect_uri is missing (FAPI 2.0 section 5.3.2.2)");
  }
  if (Buffer.byteLength(JSON.stringify(parameters)) > maxBytes) {
    throw new AuthError("invalid_request", "the request is too long");
  }
  await check(ctx, parameters);
  const uri = `${prefix}${randomToken()}`;
  const now = ctx.clock.now();
  await ctx.store.pushedRequests.save({
    uriHash: hashOf(uri),
    clientId: client.clientId,
    parameters,
    createdAt: now,
    expiresAt: now + lifeSeconds * 1000,
    clientEpoch: client.epoch,
  });
  return { request_uri: uri, expires_in: lifeSeconds };
}

async function check(ctx: OAuthContext, parameters: Parameters): Promise<void> {
  try {
    await readRequest(ctx, await readDestination(ctx, parameters), parameters);
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    const told = { client_id: parameters["client_id"], error: error.code, reason: error.message };
    securityEvent(ctx, "authorization_refused", told);
    throw new AuthError(error.code, error.message);
  }
}

/**
 * The request that a browser brings to the authorization endpoint. If `request_uri` is ours, all other query parameters are ignored
 * (RFC 9126 section 4).
 * @returns pushedHash null where nothing was pushed
 * @throws AuthError invalid_request_uri: unknown, expired, used, or of another client
 */
export async function resolvePushedRequest(
  ctx: OAuthContext,
  given: Parameters,
): Promise<{ parameters: Parameters; pushedHash: string | null }> {
  const uri = given["request_uri"];
  if (uri === undefined || !uri.startsWith(prefix)) return { parameters: given, pushedHash: null };
  const pushedHash = hashOf(uri);
  const pushed = await ctx.store.pushedRequests.find(pushedHash, ctx.clock.now());
  if (pushed === null || pushed.clientId !== given["client_id"]) throw invalidRequestUri();
  const client = await findClient(ctx, pushed.clientId);
  if (client !== null && isOfEarlierClient(client, pushed)) throw invalidRequestUri();
  return { parameters: pushed.parameters, pushedHash };
}

export function invalidRequestUri(): AuthError {
  return new AuthError("invalid_request_uri", "the request_uri is unknown, expired, used, or another client's");
}
