import { randomUUID } from "node:crypto";
import { AuthError } from "../../errors.ts";
import type { Client } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import { tokenTypeOf } from "../../token/access-token.ts";
import type { OAuthContext } from "../context.ts";
import { type Audience, audiencesOf, findNames, isServedBy, toAudience } from "../resources.ts";
import { narrowedScope, scopeForResource } from "../scopes.ts";
import { readAccessToken } from "../tokens/claims.ts";
import { standingOf } from "../tokens/introspection.ts";
import type { VerifiedToken } from "../tokens/verified-tokens.ts";
import type { Grant } from "./grant.ts";

const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";
/** What an access token may be called as well, because it is a JWT (RFC 8693 section 3). */
const jwtType = "urn:ietf:params:oauth:token-type:jwt";
/** The number of exchanges a token may come from. */
const longestChain = 5;

const invalid = (description: string) => new AuthError("invalid_request", description);

/**
 * Token exchange (RFC 8693): a service that was called with a token gets one for the service that it calls next, for audiences that the
 * client is registered to exchange for. The new token has at most the scope and the lifetime of the subject token, and whatever revokes
 * the subject token revokes it too.
 */
export const tokenExchangeGrant: Grant = async (ctx, { client, dpopJkt }, parameters) => {
  if (client.metadata.token_endpoint_auth_method === "none") {
    throw new AuthError("unauthorized_client", "token exchange requires client authentication");
  }
  const requested = parameters["requested_token_type"] ?? accessTokenType;
  if (requested !== accessTokenType && requested !== jwtType)
    throw invalid(`requested_token_type must be ${accessTokenType} or ${jwtType}`);
  const { claims: subject, kid } = await readToken(ctx, parameters, "subject_token", dpopJkt);
  if (!isServedBy(client, subject.aud)) {
    throw invalid("subject_token is not intended for this client");
  }
  await checkActor(ctx, client, parameters, dpopJkt);
  const before = subject.exchanged_from ?? [];
  if (before.length >= longestChain) throw invalid("subject_token was exchanged too many times");
  const aud = readTarget(client, parameters);
  const granted = narrowedScope(subject.scope, parameters["scope"]);
  const scope = scopeForResource(ctx, granted, audiencesOf(aud).join(" "));
  const now = ctx.clock.seconds();
  const { jti, client_id, client_epoch } = subject;
  const { sub, sid, epoch, roles, nickname, auth_time, acr, amr } = subject;
  const claims: AccessTokenClaims = {
    iss: ctx.config.issuer,
    sub,
    aud,
    exp: Math.min(subject.exp, now + ctx.config.accessTokenTtl),
    iat: now,
    jti: randomUUID(),
    client_id: client.clientId,
    client_epoch: client.epoch,
    sid,
    scope,
    ...(epoch === undefined ? {} : { epoch }),
    ...(roles === undefined ? {} : { roles }),
    ...(nickname === undefined ? {} : { nickname }),
    ...(auth_time === undefined ? {} : { auth_time }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    ...(dpopJkt === null ? {} : { cnf: { jkt: dpopJkt } }),
    act: { sub: client.clientId, ...(subject.act === undefined ? {} : { act: subject.act }) },
    exchanged_from: [{ jti, client_id, ...(client_epoch === undefined ? {} : { client_epoch }), kid }, ...before],
  };
  const { access_token_signed_response_alg: alg, access_token_typ: typ } = client.metadata;
  const { token } = ctx.keys.sign("access", alg, typ, claims);
  securityEvent(ctx, "token_exchanged", { client_id: client.clientId, sub, sid, aud });
  return {
    access_token: token,
    // the same token by either name: an access token that is a JWT
    issued_token_type: requested,
    expires_in: claims.exp - now,
    token_type: tokenTypeOf(dpopJkt),
    scope,
  };
};

/** RFC 8693 section 2.1. A token that is bound to a key is exchanged only with a proof of that key. */
async function readToken(
  ctx: OAuthContext,
  parameters: Readonly<Record<string, string>>,
  name: "subject_token" | "actor_token",
  dpopJkt: string | null,
): Promise<VerifiedToken> {
  const token = parameters[name];
  if (token === undefined) throw invalid(`${name} is missing`);
  const type = parameters[`${name}_type`];
  if (type !== accessTokenType && type !== jwtType)
    throw invalid(`${name}_type must be ${accessTokenType} or ${jwtType}`);
  const known = await readAccessToken(ctx, token);
  if (known === null || (await standingOf(ctx, known)) !== "valid") {
    throw invalid(`${name} is not an access token of this server, or is expired or revoked`);
  }
  const { cnf } = known.claims;
  if (cnf !== undefined && cnf.jkt !== dpopJkt) throw invalid(`${name} is bound to a key: send a proof of that key`);
  return known;
}

/** The client acts for itself: an actor token must be the client's own. */
async function checkActor(
  ctx: OAuthContext,
  client: Client,
  parameters: Readonly<Record<string, string>>,
  dpopJkt: string | null,
): Promise<void> {
  if (parameters["actor_token"] === undefined) {
    if (parameters["actor_token_type"] === undefined) return;
    throw invalid("actor_token_type without actor_token");
  }
  const { claims } = await readToken(ctx, parameters, "actor_token", dpopJkt);
  if (claims.sub !== client.clientId || claims.client_id !== client.clientId) {
    throw invalid("actor_token must be an access token of this client itself");
  }
}

/** What the new token is for: everything that `audience` and `resource` name (RFC 8693 section 2.1). */
function readTarget(client: Client, { audience = "", resource = "" }: Readonly<Record<string, string>>): Audience {
  const targets = findNames(client.metadata.token_exchange_audiences, `${audience} ${resource}`);
  if (targets?.length === 0) throw invalid("audience or resource is missing");
  if (targets !== null) return toAudience(targets);
  throw new AuthError("invalid_target", "the client may not exchange tokens for this audience");
}
