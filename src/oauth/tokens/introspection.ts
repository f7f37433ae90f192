import type { Client } from "../../store/clients.ts";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import { tokenTypeOf } from "../../token/access-token.ts";
import { GATEWAY, type GatewayRow } from "../../token/gateway.ts";
import type { Caller } from "../callers/caller-memory.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { audiencesOf, isServedBy } from "../resources.ts";
import { readAccessToken, readRefreshToken } from "./claims.ts";
import { isIdle } from "./idle-limit.ts";
import type { ActiveIntrospection, Introspection } from "./introspection-answer.ts";
import type { VerifiedToken } from "./verified-tokens.ts";

const inactive: Introspection = { active: false };

/**
 * Introspects a token for a caller that was authenticated before (RFC 7662 section 2). If any check of the token fails the answer
 * is `active: false`.
 * @throws AuthError unavailable: the state of revocations cannot be read
 */
export function introspect(ctx: OAuthContext, caller: Caller, token: string): Introspection | Promise<Introspection> {
  const reading = readAccessToken(ctx, token);
  if (reading instanceof Promise) return reading.then((known) => introspectRead(ctx, caller, token, known));
  return introspectRead(ctx, caller, token, reading);
}

function introspectRead(
  ctx: OAuthContext,
  caller: Caller,
  token: string,
  known: VerifiedToken | null,
): Introspection | Promise<Introspection> {
  if (known === null) return introspectRefreshToken(ctx, caller.client, token);
  const client = ctx.clients.peek(known.claims.client_id);
  if (client === undefined || known.claims.exchanged_from !== undefined) {
    return introspectSlowly(ctx, caller, known);
  }
  if (!mayIntrospect(caller, known.claims)) return inactive;
  return judge(ctx, known, client) === "valid" ? describe(known) : inactive;
}

/** An introspection as a JWT for the caller (RFC 9701 section 5). It holds for the time of its `iat` and does not expire. */
export function signIntrospection(ctx: OAuthContext, caller: Client, introspection: Introspection): string {
  const { introspection_signed_response_alg: alg } = caller.metadata;
  return ctx.keys.sign("access", alg, "token-introspection+jwt", {
    iss: ctx.config.issuer,
    aud: caller.clientId,
    iat: ctx.clock.seconds(),
    token_introspection: introspection,
  }).token;
}

/** The same where the store has to be read first. */
async function introspectSlowly(ctx: OAuthContext, caller: Caller, known: VerifiedToken): Promise<Introspection> {
  if (!mayIntrospect(caller, known.claims)) return inactive;
  return (await standingOf(ctx, known)) === "valid" ? describe(known) : inactive;
}

/** The answer about an active token, one object for each token that is seen again: its claims do not change. */
function describe(known: VerifiedToken): ActiveIntrospection {
  if (known.introspection !== undefined) return known.introspection;
  const introspection = toIntrospection(known.claims);
  if (known.kept) {
    known.introspection = introspection;
    reused.add(introspection);
  }
  return introspection;
}

/** Answers that are given again for the same token. */
const reused = new WeakSet<Introspection>();

/** Whether later introspections of the same token return this very object, so that its serialized form is worth keeping. */
export function isReused(introspection: Introspection): boolean {
  return reused.has(introspection);
}

function toIntrospection(claims: AccessTokenClaims): ActiveIntrospection {
  const { scope, client_id, exp, iat, sub, aud, iss, jti, sid, roles, nickname, cnf, act } = claims;
  const { auth_time, acr, amr } = claims;
  return {
    active: true,
    scope,
    client_id,
    ...(nickname === undefined ? {} : { username: nickname }),
    token_type: tokenTypeOf(cnf?.jkt ?? null),
    exp,
    iat,
    sub,
    aud: audiencesOf(aud),
    iss,
    jti,
    sid,
    ...(roles === undefined ? {} : { roles }),
    ...(nickname === undefined ? {} : { nickname }),
    ...(auth_time === undefined ? {} : { auth_time }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    ...(cnf === undefined ? {} : { cnf }),
    ...(act === undefined ? {} : { act }),
  };
}

/**
 * A client may introspect tokens for itself and for the resources it serves; one with the scope `auth.introspect` also every token for the
 * client it was issued to (RFC 7662 section 2.2).
 */
function mayIntrospect({ client, scopes }: Caller, { aud, client_id }: AccessTokenClaims): boolean {
  return (scopes.has("auth.introspect") && audiencesOf(aud).includes(client_id)) || isServedBy(client, aud);
}

async function introspectRefreshToken(ctx: OAuthContext, caller: Client, token: string): Promise<Introspection> {
  const claims = await readRefreshToken(ctx, token);
  if (claims === null || claims.aud !== caller.clientId || claims.exp <= ctx.clock.seconds()) return inactive;
  const authorization = await ctx.store.authorizations.find(claims.sid);
  if (authorization === null || authorization.revokedAt !== null) return inactive;
  if (
    authorization.generation !== claims.gen ||
    authorization.expiresAt <= ctx.clock.now() ||
    isIdle(ctx, caller, authorization)
  )
    return inactive;
  const { iss, sub, aud, exp, iat, jti, sid } = claims;
  const { scope, clientId, dpopJkt } = authorization;
  return {
    active: true,
    scope,
    client_id: clientId,
    token_type: "refresh_token",
    exp,
    iat,
    sub,
    aud: [aud],
    iss,
    jti,
    sid,
    ...(dpopJkt === null ? {} : { cnf: { jkt: dpopJkt } }),
  };
}

/**
 * Is an access token of this service valid now? Answered from memory, which lags behind the store by REVOCATION_MAX_STALENESS at
 * most. A token that is both revoked and expired is `revoked`.
 */
export async function standingOf(ctx: OAuthContext, known: VerifiedToken): Promise<"valid" | "expired" | "revoked"> {
  const { claims } = known;
  // revocations of the tokens themselves are in the feed; their clients, secrets and keys are checked here
  for (const { client_id, kid } of claims.exchanged_from ?? []) {
    const client = await findClient(ctx, client_id);
    const ended = client === null || isOfEndedSecret(ctx, client, { ...claims, client_id });
    if (ended || !ctx.keys.isTrusted(kid)) return "revoked";
  }
  const stale = ctx.feed.ensureFresh();
  if (stale !== null) await stale;
  return judge(ctx, known, await findClient(ctx, claims.client_id));
}

/** Call while the feed is fresh. @param client of the token, null where it is unknown or disabled */
function judge(ctx: OAuthContext, known: VerifiedToken, client: Client | null): "valid" | "expired" | "revoked" {
  const { claims } = known;
  if (
    client === null ||
    client.disabledAt !== null ||
    ctx.feed.revoked.isRevoked(claims, known.kid) ||
    !ctx.keys.isTrusted(known.kid) ||
    isOfEndedSecret(ctx, client, claims)
  )
    return "revoked";
  return claims.exp <= ctx.clock.seconds() ? "expired" : "valid";
}

/** A client's own tokens end with the secret that it got them for, when its overlap is over. */
function isOfEndedSecret(ctx: OAuthContext, client: Client, claims: AccessTokenClaims): boolean {
  if (claims.sub !== claims.client_id) return false;
  const secret = client.secrets.find(({ authorizationId }) => authorizationId === claims.sid);
  return secret !== undefined && secret.expiresAt !== null && secret.expiresAt <= ctx.clock.now();
}

/** The gateway's answer about one request. */
export type BearerDecision =
  | { readonly allowed: true; readonly token: Introspection }
  | { readonly allowed: false; readonly refusal: GatewayRow };

/**
 * Decides about a request to a resource server by the gateway's table.
 * @param token empty: the request carried none
 * @param bindingChecked whether the caller checks the DPoP proof itself: without, a token that is bound to a key is refused
 */
export async function authorizeToken(
  ctx: OAuthContext,
  caller: Caller,
  token: string,
  requiredScopes: readonly string[],
  bindingChecked: boolean,
): Promise<BearerDecision> {
  const refuse = (row: keyof typeof GATEWAY): BearerDecision => ({ allowed: false, refusal: GATEWAY[row] });
  if (token === "") return refuse("unauthorized");
  const known = await readAccessToken(ctx, token);
  if (known === null || !mayIntrospect(caller, known.claims)) return refuse("invalid_token");
  const { claims } = known;
  if (claims.cnf !== undefined && !bindingChecked) return refuse("invalid_token");
  const standing = await standingOf(ctx, known);
  if (standing === "revoked") return refuse("invalid_token");
  if (standing === "expired") return refuse("token_expired");
  const held = claims.scope.split(" ");
  if (!requiredScopes.every((scope) => held.includes(scope))) return refuse("forbidden");
  return { allowed: true, token: describe(known) };
}
