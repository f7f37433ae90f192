import type { AccessTokenClaims } from "../../token/access-token.ts";
import { parseJws } from "../../token/jws.ts";
import type { OAuthContext } from "../context.ts";
import type { VerifiedToken } from "./verified-tokens.ts";

/** Claims of a refresh token. Its key is in no published set, and the authorization's row decides. */
export interface RefreshTokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly sid: string;
  /** Number of the token in its authorization, from 0. */
  readonly gen: number;
  readonly token_type: "refresh";
}

/** Claims of an ID token (OpenID Connect Core section 2). */
export interface IdTokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly auth_time: number;
  readonly sid: string;
}

/** Header `typ` of each kind of token: none passes for another (RFC 8725 section 3.11). */
const accessTypes = ["at+jwt", "JWT"];

/** Seconds by which a token may come from the future of our clock. */
const futureTolerance = 10;

/**
 * Reads a token that must be an access token of ours with a good signature; whether it is expired or revoked, and its key still
 * trusted, is not looked at. A token that was checked once is remembered, unless it was over by then.
 * @returns null for anything else; a promise only where the key has to be looked up first
 */
export function readAccessToken(
  ctx: OAuthContext,
  token: string,
): VerifiedToken | null | Promise<VerifiedToken | null> {
  const known = ctx.verifiedTokens.get(token);
  if (known !== undefined) return known;
  const jws = parseJws(token);
  if (jws === null || !accessTypes.includes(jws.header.typ)) return null;
  const claims = jws.claims as unknown as AccessTokenClaims;
  // an ID token has no client_id: with access_token_typ JWT only its claims tell the two apart
  const strings = [claims.iss, claims.sub, claims.aud, claims.jti, claims.client_id, claims.sid, claims.scope];
  if (strings.some((claim) => typeof claim !== "string") || !hasTimes(ctx, claims)) return null;
  if (claims.iss !== ctx.config.issuer) return null;
  const { kid } = jws.header;
  const remember = (verified: boolean) => {
    if (!verified) return null;
    if (claims.exp <= ctx.clock.seconds()) return { claims, kid, introspection: undefined };
    return ctx.verifiedTokens.add(token, claims, kid);
  };
  const verified = ctx.keys.verify("access", jws);
  return verified instanceof Promise ? verified.then(remember) : remember(verified);
}

/** Like `readAccessToken`, for refresh tokens. */
export async function readRefreshToken(ctx: OAuthContext, token: string): Promise<RefreshTokenClaims | null> {
  const jws = parseJws(token);
  if (jws === null || jws.header.typ !== "rt+jwt") return null;
  const claims = jws.claims as unknown as RefreshTokenClaims;
  const strings = [claims.iss, claims.sub, claims.aud, claims.jti, claims.sid];
  if (strings.some((claim) => typeof claim !== "string") || !hasTimes(ctx, claims)) return null;
  if (claims.token_type !== "refresh" || !Number.isSafeInteger(claims.gen)) return null;
  return claims.iss === ctx.config.issuer && (await ctx.keys.verify("refresh", jws)) ? claims : null;
}

/** Like `readAccessToken`, for an ID token used as a hint: it may be long expired. */
export async function readIdTokenHint(ctx: OAuthContext, token: string): Promise<IdTokenClaims | null> {
  const jws = parseJws(token);
  if (jws === null || jws.header.typ !== "JWT") return null;
  const claims = jws.claims as unknown as IdTokenClaims & { client_id?: unknown; token_type?: unknown };
  const strings = [claims.iss, claims.sub, claims.aud, claims.sid];
  if (strings.some((claim) => typeof claim !== "string") || !hasTimes(ctx, claims)) return null;
  if (claims.client_id !== undefined || claims.token_type !== undefined) return null;
  return claims.iss === ctx.config.issuer && (await ctx.keys.verify("access", jws)) ? claims : null;
}

function hasTimes(ctx: OAuthContext, { exp, iat, nbf }: { exp: number; iat: number; nbf?: unknown }): boolean {
  const latest = ctx.clock.seconds() + futureTolerance;
  // ours have no nbf: one that has is held to it (RFC 7519 section 4.1.5)
  const begun = nbf === undefined || (Number.isSafeInteger(nbf) && (nbf as number) <= latest);
  return Number.isSafeInteger(exp) && exp > 0 && Number.isSafeInteger(iat) && iat <= latest && begun;
}
