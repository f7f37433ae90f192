import { hash, randomUUID } from "node:crypto";
import type { Authorization, RefreshTokenState } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";
import type { User } from "../../store/users.ts";
import type { AccessTokenClaims, TokenType } from "../../token/access-token.ts";
import { acrOf } from "../../token/authentication.ts";
import { askedClaims } from "../authorization/claims-request.ts";
import type { OAuthContext } from "../context.ts";
import { audienceOf } from "../resources.ts";
import { scopesOf } from "../scopes.ts";
import type { RefreshTokenClaims } from "./claims.ts";
import { userClaims } from "./user-claims.ts";

/** Successful answer of the token endpoint (RFC 6749 section 5.1). */
export interface TokenResponse {
  access_token: string;
  /** Of an exchange (RFC 8693 section 2.2.1). */
  issued_token_type?: string;
  refresh_token?: string;
  id_token?: string;
  /** Seconds. */
  expires_in: number;
  token_type: TokenType;
  scope: string;
}

/**
 * An access token of an authorization (RFC 9068).
 * @param authorization its `resource`: what this token is for, space-separated
 * @param user null where the client acts for itself
 * @param dpopJkt thumbprint of the key it is bound to, as the client proved it with this request
 */
export function issueAccessToken(
  ctx: OAuthContext,
  client: Client,
  authorization: Pick<Authorization, "id" | "subject" | "resource" | "userEpoch" | SignIn>,
  user: User | null,
  scope: string,
  dpopJkt: string | null,
): string {
  const now = ctx.clock.seconds();
  const claims: AccessTokenClaims = {
    iss: ctx.config.issuer,
    sub: authorization.subject,
    aud: audienceOf(ctx, client, authorization.resource, user !== null && scopesOf(scope).includes("openid")),
    exp: now + ctx.config.accessTokenTtl,
    iat: now,
    jti: randomUUID(),
    client_id: client.clientId,
    client_epoch: client.epoch,
    sid: authorization.id,
    scope,
    ...(authorization.userEpoch === null ? {} : { epoch: authorization.userEpoch }),
    ...(user === null ? {} : { roles: user.roles, nickname: user.nickname, ...signInClaims(authorization) }),
    ...(dpopJkt === null ? {} : { cnf: { jkt: dpopJkt } }),
  };
  const { access_token_signed_response_alg: alg, access_token_typ: typ } = client.metadata;
  return ctx.keys.sign("access", alg, typ, claims).token;
}

type SignIn = "authTime" | "methods" | "acr";

/** When and how the user signed in: the same in ID tokens (OpenID Connect Core section 2) and access tokens (RFC 9470 section 6). */
function signInClaims({ authTime, methods, acr }: Pick<Authorization, SignIn>) {
  if (authTime === null) return {};
  return { auth_time: Math.floor(authTime / 1000), acr: acr ?? acrOf(methods), amr: methods };
}

/** A new refresh token, `gen` in the authorization. @param exp seconds; the authorization's absolute end */
export function issueRefreshToken(
  ctx: OAuthContext,
  authorization: Pick<Authorization, "id" | "subject" | "clientId">,
  gen: number,
  exp: number,
): { token: string; state: RefreshTokenState } {
  const named = { jti: randomUUID(), iat: ctx.clock.seconds(), exp };
  const { token, kid } = ctx.keys.sign("refresh", "EdDSA", "rt+jwt", refreshClaims(ctx, authorization, gen, named));
  return { token, state: { ...named, kid } };
}

/** The authorization's current refresh token again, byte for byte. @returns null if its signing key no longer exists */
export function repeatRefreshToken(ctx: OAuthContext, authorization: Authorization): string | null {
  const { refresh, generation } = authorization;
  if (refresh === null) return null;
  return ctx.keys.signAgain(refresh.kid, "rt+jwt", refreshClaims(ctx, authorization, generation, refresh));
}

function refreshClaims(
  ctx: OAuthContext,
  authorization: Pick<Authorization, "id" | "subject" | "clientId">,
  gen: number,
  { jti, iat, exp }: Pick<RefreshTokenState, "jti" | "iat" | "exp">,
): RefreshTokenClaims {
  return {
    iss: ctx.config.issuer,
    sub: authorization.subject,
    aud: authorization.clientId,
    exp,
    iat,
    jti,
    sid: authorization.id,
    gen,
    token_type: "refresh",
  };
}

/** An ID token (OpenID Connect Core section 2), where scope openid was granted. */
export function issueIdToken(
  ctx: OAuthContext,
  client: Client,
  authorization: Authorization,
  user: User,
  options: { accessToken: string; nonce: string | null },
): string {
  const now = ctx.clock.seconds();
  const alg = client.metadata.id_token_signed_response_alg;
  const claims = {
    iss: ctx.config.issuer,
    sub: user.uuid,
    aud: client.clientId,
    exp: now + ctx.config.idTokenTtl,
    iat: now,
    ...signInClaims(authorization),
    ...(options.nonce === null ? {} : { nonce: options.nonce }),
    at_hash: hash("sha256", options.accessToken, "buffer").subarray(0, 16).toString("base64url"),
    sid: authorization.id,
    ...idTokenClaims(ctx, client, authorization, user),
  };
  return ctx.keys.sign("access", alg, "JWT", claims).token;
}

/**
 * Where there is an access token, the claims of the scopes are at userinfo (OpenID Connect Core section 5.4), and the ID token has those that
 * were asked for in it (section 5.5). A client may be registered to find the others there too, but for `roles`.
 */
function idTokenClaims(
  ctx: OAuthContext,
  client: Client,
  authorization: Authorization,
  user: User,
): Record<string, unknown> {
  const asked = askedClaims(authorization, "id_token");
  const scope = client.metadata.id_token_claims ? authorization.scope : "";
  const { roles, ...claims } = userClaims(ctx, user, scope, asked, scopesOf(client.metadata.scope));
  return asked.includes("roles") && roles !== undefined ? { ...claims, roles } : claims;
}
