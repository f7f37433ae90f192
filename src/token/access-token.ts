import type { ParsedJws } from "./jws.ts";

/** Claims of an access token (RFC 9068 section 2.2), times in seconds since 1970. */
export interface AccessTokenClaims {
  readonly iss: string;
  /** User UUID, or the client id where a client acts for itself. */
  readonly sub: string;
  /** The client, or the resource that the token is for (RFC 8707); several as a list. */
  readonly aud: string | readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly client_id: string;
  /** The client's epoch as it got the token: disabling the client raises it. A token of an earlier epoch is revoked. */
  readonly client_epoch?: number;
  /** The authorization it belongs to. */
  readonly sid: string;
  /** Space-separated scopes. */
  readonly scope: string;
  /** Of a user: the epoch of the account that the authorization was given at. A token of an earlier epoch is revoked. */
  readonly epoch?: number;
  /** Of a user; absent where a client acts for itself. */
  readonly roles?: readonly string[];
  readonly nickname?: string;
  /** Of a user: when they signed in, how, and the class of that (RFC 9068 section 2.2.1, RFC 9470 section 6). */
  readonly auth_time?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
  /** The key it is bound to (RFC 7800). */
  readonly cnf?: Confirmation;
  /** Who acts for the subject, and for whom before (RFC 8693 section 4.1). */
  readonly act?: Actor;
  /** The tokens that it was exchanged from, the last one first. A revocation of one of them concerns this one too. */
  readonly exchanged_from?: readonly ExchangedToken[];
}

export interface Confirmation {
  /** RFC 7638 thumbprint of a DPoP key (RFC 9449 section 6.1): what this service binds tokens by. */
  readonly jkt?: string;
  readonly [method: string]: unknown;
}

export interface Actor {
  readonly sub: string;
  readonly act?: Actor;
}

/** What a token can be revoked by. Its subject and authorization are those of the token that it was exchanged for. */
export interface ExchangedToken {
  readonly jti: string;
  readonly client_id: string;
  readonly client_epoch?: number;
  readonly kid: string;
}

export type TokenType = "Bearer" | "DPoP";

/** How a token is sent: with a proof where it is bound to a key (RFC 9449 section 5). */
export function tokenTypeOf(dpopJkt: string | null): TokenType {
  return dpopJkt === null ? "Bearer" : "DPoP";
}

/** Claims that only ID tokens, logout tokens and refresh tokens carry (RFC 8725 section 3.11). */
const foreignClaims = ["nonce", "at_hash", "c_hash", "events", "token_type", "gen"];
const required = ["iss", "sub", "jti", "client_id", "sid", "scope"];

export interface AccessTokenRules {
  readonly issuer: string;
  /** Whether header typ `JWT` is accepted as well as `at+jwt`. */
  readonly allowJwtTyp: boolean;
  /** Seconds that iat and nbf may lie in the future. */
  readonly clockToleranceSeconds: number;
}

/**
 * The claims of a JWS that has the form of an access token of this issuer (RFC 9068 section 4). Signature, audience, expiry and
 * revocation are not checked here.
 * @param now seconds since 1970
 * @returns null for anything else
 */
export function readAccessTokenClaims(jws: ParsedJws, rules: AccessTokenRules, now: number): AccessTokenClaims | null {
  const { claims, header } = jws;
  // an ID token has no client_id: with typ JWT only its claims tell the two apart
  if (header.typ !== "at+jwt" && !(rules.allowJwtTyp && header.typ === "JWT")) return null;
  for (const name of required) if (typeof claims[name] !== "string") return null;
  for (const name of foreignClaims) if (Object.hasOwn(claims, name)) return null;
  const { iss, sub, aud, jti, epoch, client_epoch, roles, nickname, cnf, act, exchanged_from } = claims;
  const { auth_time, acr, amr } = claims;
  if (!isAudience(aud)) return null;
  if (iss !== rules.issuer || sub === "" || jti === "") return null;
  if (!hasTimes(claims, now + rules.clockToleranceSeconds)) return null;
  if (!isEpoch(epoch) || !isEpoch(client_epoch)) return null;
  if (roles !== undefined && !isTexts(roles)) return null;
  if (nickname !== undefined && typeof nickname !== "string") return null;
  if (auth_time !== undefined && !isWholeSeconds(auth_time)) return null;
  if (acr !== undefined && typeof acr !== "string") return null;
  if (amr !== undefined && !isTexts(amr)) return null;
  if (cnf !== undefined && !isConfirmation(cnf)) return null;
  if (act !== undefined && !isActor(act)) return null;
  if (exchanged_from !== undefined && !isChain(exchanged_from)) return null;
  return claims as unknown as AccessTokenClaims;
}

/**
 * Has a token its times, none of which is in the future but `exp`? No token of this service has `nbf`; one that has is held to it
 * (RFC 7519 section 4.1.5).
 * @param latest seconds since 1970 up to which iat and nbf are accepted
 */
export function hasTimes({ exp, iat, nbf }: Readonly<Record<string, unknown>>, latest: number): boolean {
  if (!isWholeSeconds(exp) || !isWholeSeconds(iat) || iat > latest) return false;
  return nbf === undefined || (isWholeSeconds(nbf) && nbf <= latest);
}

/** This service writes no fractions, though a NumericDate may have one (RFC 7519 section 2). */
function isWholeSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/** Absent in tokens of a release that had none. */
function isEpoch(value: unknown): boolean {
  return value === undefined || Number.isSafeInteger(value);
}

/** One string, or a list of several, as the issuer writes it. */
function isAudience(aud: unknown): boolean {
  if (!Array.isArray(aud)) return typeof aud === "string" && aud !== "";
  return aud.length > 1 && aud.every((one) => typeof one === "string" && one !== "");
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isConfirmation(value: unknown): boolean {
  return isObject(value) && (value["jkt"] === undefined || typeof value["jkt"] === "string");
}

function isActor(value: unknown): boolean {
  return isObject(value) && typeof value["sub"] === "string" && (value["act"] === undefined || isActor(value["act"]));
}

function isChain(value: unknown): boolean {
  const members = ["jti", "client_id", "kid"];
  return (
    Array.isArray(value) &&
    value.every(
      (from: unknown) =>
        isObject(from) && members.every((name) => typeof from[name] === "string") && isEpoch(from["client_epoch"]),
    )
  );
}
