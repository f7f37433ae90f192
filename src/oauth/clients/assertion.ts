import { hashOf } from "../../crypto/hashes.ts";
import { ASSERTION_ALGS, FAPI_ALGS } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { ClientAssertionAlg } from "../../token/foreign-jwt.ts";
import { isTime, parseForeignJwt } from "../../token/foreign-jwt.ts";
import type { OAuthContext } from "../context.ts";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** Header `typ`: none, or what RFC 7519 and draft-ietf-oauth-rfc7523bis name. */
const typs = [undefined, "JWT", "client-authentication+jwt"];
/** Seconds. */
const longestLife = 300;
/** Seconds by which a client's clock may be ahead (FAPI 2.0 section 5.3.2.1-13). */
const aheadTolerance = 10;
const maxJtiLength = 500;

/** What signs this client's assertions. */
export function assertionAlgsOf({ metadata }: Client): readonly ClientAssertionAlg[] {
  const allowed = metadata.profile === "fapi2" ? FAPI_ALGS : ASSERTION_ALGS;
  const only = metadata.token_endpoint_auth_signing_alg;
  return only === undefined ? allowed : allowed.filter((alg) => alg === only);
}

/** The client that an assertion says it is of: only to look it up, nothing was checked yet. */
export function claimedClient(assertion: string): string | undefined {
  const sub = parseForeignJwt(assertion, ASSERTION_ALGS, typs)?.claims["sub"];
  return typeof sub === "string" ? sub : undefined;
}

/**
 * Does this assertion authenticate the client (RFC 7523 section 3)? Its audience is our issuer and nothing else (FAPI 2.0
 * section 5.3.2.1-8): one made for another server, or for several, is not for us. Each is good once, over all replicas.
 */
export async function authenticates(ctx: OAuthContext, client: Client, assertion: string): Promise<boolean> {
  const jwt = parseForeignJwt(assertion, assertionAlgsOf(client), typs);
  if (jwt === null || Object.hasOwn(jwt.header, "jwk")) return false;
  const { iss, sub, aud, exp, nbf, iat, jti } = jwt.claims;
  if (iss !== client.clientId || sub !== client.clientId || aud !== ctx.config.issuer) return false;
  const now = ctx.clock.seconds();
  const latest = now + aheadTolerance;
  if (!isTime(exp) || exp <= now || exp > latest + longestLife) return false;
  for (const time of [nbf, iat]) if (time !== undefined && !(isTime(time) && time <= latest)) return false;
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) return false;
  if (!(await ctx.clientKeys.verify(ctx, client, jwt))) return false;
  // last, so that an assertion with a wrong signature uses up no identifier; kept a minute longer than it is good for, because the clocks of the replicas differ
  return ctx.store.usedOnce.use(hashOf(`client assertion\n${client.clientId}\n${jti}`), Math.ceil(exp + 60) * 1000);
}
