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
 * @returns null, or what is wrong with it: for the log alone
 * @throws AuthError invalid_client: the client proved its key, but its assertion must name the issuer as audience
 */
export async function assertionProblem(ctx: OAuthContext, client: Client, assertion: string): Promise<string | null> {
  const algs = assertionAlgsOf(client);
  const jwt = parseForeignJwt(assertion, algs, typs);
  if (jwt === null || Object.hasOwn(jwt.header, "jwk")) return `is no JWT signed by ${algs.join(", ")}`;
  const { iss, sub, aud, exp, nbf, iat, jti } = jwt.claims;
  if (iss !== client.clientId || sub !== client.clientId) return "must have the client's id as iss and as sub";
  if (aud !== ctx.config.issuer && !isEndpoint(ctx, aud))
    return `must have ${ctx.config.issuer} as aud, and nothing else`;
  const timeProblem = problemOfTimes(ctx, { exp, nbf, iat });
  if (timeProblem !== null) return timeProblem;
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) return "needs a jti";
  if (!(await ctx.clientKeys.verify(ctx, client, jwt))) return "has a signature that none of the client's keys made";
  if (aud !== ctx.config.issuer) acceptEndpoint(ctx, client, aud);
  // last, so that an assertion with a wrong signature uses up no identifier; kept a minute longer than it is good for, because the clocks of the replicas differ
  const until = Math.ceil(Number(exp) + 60) * 1000;
  const isFirst = await ctx.store.usedOnce.use(hashOf(`client assertion\n${client.clientId}\n${jti}`), until);
  return isFirst ? null : "was used before: each is good once";
}

function problemOfTimes(
  { clock }: OAuthContext,
  { exp, nbf, iat }: { readonly exp: unknown; readonly nbf: unknown; readonly iat: unknown },
): string | null {
  const now = clock.seconds();
  const latest = now + aheadTolerance;
  if (!isTime(exp)) return "needs exp";
  if (exp <= now) return `ended ${Math.ceil(now - exp)} s ago: look at the clock of the client`;
  for (const time of [nbf, iat]) {
    if (time === undefined) continue;
    if (!isTime(time)) return "has a nbf or iat that is no time";
    if (time > latest) return `begins in ${Math.ceil(time - now)} s: look at the clock of the client`;
  }
  if (exp > latest + longestLife) return `is good for more than ${longestLife} s, or the clock of the client is ahead`;
  return null;
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
