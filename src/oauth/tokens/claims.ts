import { hasTimes, readAccessTokenClaims } from "../../token/access-token.ts";
import { type ParsedJws, parseJws } from "../../token/jws.ts";
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

/** Seconds that iat and nbf may be ahead of this replica's clock. */
const futureTolerance = 10;

/**
 * Reads an access token of this service and verifies its signature. Expiry, revocation and trust in its key are not checked. A
 * verified token is remembered, unless it is expired.
 * @returns null for anything else; a promise only where the token is not remembered
 */
export function readAccessToken(
  ctx: OAuthContext,
  token: string,
): VerifiedToken | null | Promise<VerifiedToken | null> {
  const known = ctx.verifiedTokens.find(token);
  if (typeof known === "object") return known;
  const jws = parseJws(token);
  if (jws === null) return null;
  const { issuer } = ctx.config;
  const rules = { issuer, allowJwtTyp: true, clockToleranceSeconds: futureTolerance };
  const claims = readAccessTokenClaims(jws, rules, ctx.clock.seconds());
  if (claims === null) return null;
  const { kid } = jws.header;
  const live = claims.exp > ctx.clock.seconds();
  if (live && known === "verified") return ctx.verifiedTokens.keep(token, claims, kid);
  const remember = (verified: boolean) => {
    if (!verified) return null;
    if (live) ctx.verifiedTokens.add(token);
    return { claims, kid, kept: false, introspection: undefined };
  };
  return ctx.keys.verify("access", jws).then(remember);
}

/** Like `readAccessToken`, for refresh tokens. */
export async function readRefreshToken(ctx: OAuthContext, token: string): Promise<RefreshTokenClaims | null> {
  const jws = parseJws(token);
  if (jws === null || jws.header.typ !== "rt+jwt") return null;
  const claims = jws.claims as unknown as RefreshTokenClaims;
  if (!hasClaims(ctx, jws, ["iss", "sub", "aud", "jti", "sid"])) return null;
  if (claims.token_type !== "refresh" || !Number.isSafeInteger(claims.gen)) return null;
  return claims.iss === ctx.config.issuer && (await ctx.keys.verify("refresh", jws)) ? claims : null;
}

/** An ID token sent as a hint: it may be long expired. @returns null where it cannot be verified: then it counts as none */
export function readIdTokenHint(ctx: OAuthContext, token: string): IdTokenClaims | null {
  const jws = parseJws(token);
  if (jws === null || jws.header.typ !== "JWT") return null;
  const claims = jws.claims as unknown as IdTokenClaims & { client_id?: unknown; token_type?: unknown };
  if (!hasClaims(ctx, jws, ["iss", "sub", "aud", "sid"])) return null;
  if (claims.client_id !== undefined || claims.token_type !== undefined) return null;
  return claims.iss === ctx.config.issuer && ctx.keys.verifyHint(jws) ? claims : null;
}

/** Are these claims strings, and are its times good (but for `exp`, which may be over)? */
function hasClaims(ctx: OAuthContext, { claims }: ParsedJws, names: readonly string[]): boolean {
  const latest = ctx.clock.seconds() + futureTolerance;
  return names.every((name) => typeof claims[name] === "string") && hasTimes(claims, latest);
}
