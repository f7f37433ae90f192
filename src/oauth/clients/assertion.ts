import { hashOf } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import { ASSERTION_ALGS, FAPI_ALGS } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { ClientAssertionAlg } from "../../token/foreign-jwt.ts";
import { isTime, parseForeignJwt } from "../../token/foreign-jwt.ts";
import type { OAuthContext } from "../context.ts";
import { PATHS } from "../paths.ts";

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
 * Does this assertion authenticate the client (RFC 7523 section 3)? One made for another server, or for several, is not for us. Each is
 * good once, over all replicas.
 * @throws AuthError invalid_client: the client proved its key, but its assertion must name the issuer as audience
 */
export async function authenticates(ctx: OAuthContext, client: Client, assertion: string): Promise<boolean> {
  const jwt = parseForeignJwt(assertion, assertionAlgsOf(client), typs);
  if (jwt === null || Object.hasOwn(jwt.header, "jwk")) return false;
  const { iss, sub, aud, exp, nbf, iat, jti } = jwt.claims;
  if (iss !== client.clientId || sub !== client.clientId) return false;
  if (aud !== ctx.config.issuer && !isEndpoint(ctx, aud)) return false;
  const now = ctx.clock.seconds();
  const latest = now + aheadTolerance;
  if (!isTime(exp) || exp <= now || exp > latest + longestLife) return false;
  for (const time of [nbf, iat]) if (time !== undefined && !(isTime(time) && time <= latest)) return false;
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) return false;
  if (!(await ctx.clientKeys.verify(ctx, client, jwt))) return false;
  if (aud !== ctx.config.issuer) acceptEndpoint(ctx, client, aud);
  // last, so that an assertion with a wrong signature uses up no identifier; kept a minute longer than it is good for, because the clocks of the replicas differ
  return ctx.store.usedOnce.use(hashOf(`client assertion\n${client.clientId}\n${jti}`), Math.ceil(exp + 60) * 1000);
}

/** What clients of OpenID Connect Core section 9 and RFC 9126 section 2 name in place of the issuer. */
function isEndpoint({ config }: OAuthContext, aud: unknown): boolean {
  return aud === `${config.issuer}${PATHS.token}` || aud === `${config.issuer}${PATHS.pushedAuthorization}`;
}

/**
 * FAPI 2.0 section 5.3.2.1-8 takes the issuer alone, as draft-ietf-oauth-rfc7523bis does: a server that shows a client another one's endpoint
 * would get an assertion for that one.
 */
function acceptEndpoint(ctx: OAuthContext, client: Client, aud: unknown): void {
  const { config, log } = ctx;
  if (client.metadata.profile === "fapi2" || config.strictAssertionAudience) {
    throw new AuthError("invalid_client", `the audience of the client assertion must be the issuer, ${config.issuer}`);
  }
  log.info(
    { client_id: client.clientId, aud },
    "the audience of a client assertion is an endpoint: it should be the issuer",
  );
}
