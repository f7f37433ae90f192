import { hashOf } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { Client } from "../../store/clients.ts";
import { checkDpopProof, PROOF_LIFETIME } from "../../token/dpop-proof.ts";
import type { OAuthContext } from "../context.ts";

/** A DPoP header (RFC 9449 section 4.1) and the request it came with. */
export interface PresentedProof {
  /** As received. Several headers are joined, which is not a JWT, so they are refused. */
  readonly proof: string;
  readonly method: string;
  /** Of the resource as clients know it, below the issuer; without query. */
  readonly url: string;
}

/** Seconds that a used proof is remembered for after it ended: replicas' clocks differ a little. */
const rememberedLonger = 60;
/** Milliseconds after which the nonce changes. A nonce is accepted for two such periods. */
const nonceWindow = 150_000;

const invalid = (description: string) => new AuthError("invalid_dpop_proof", description);

/**
 * Checks a proof (RFC 9449 section 4.3) and uses it up, over all replicas.
 * @param demands accessToken: the one it must be made for, or null; nonce: whether it must have a nonce of this service
 * @returns the thumbprint of its key (RFC 7638)
 * @throws AuthError invalid_dpop_proof, use_dpop_nonce
 */
export async function checkProof(
  ctx: OAuthContext,
  presented: PresentedProof,
  demands: { accessToken: string | null; nonce: boolean },
): Promise<string> {
  const { proof: text, method, url } = presented;
  const proof = checkDpopProof(text, { method, url, accessToken: demands.accessToken }, ctx.clock.seconds());
  if (typeof proof === "string") throw invalid(proof);
  const { thumbprint, jti, iat, nonce } = proof;
  if (nonce === undefined ? demands.nonce : !isNonce(ctx, nonce)) {
    throw new AuthError("use_dpop_nonce", "use the nonce of the DPoP-Nonce header");
  }
  const expiresAt = (iat + PROOF_LIFETIME + rememberedLonger) * 1000;
  if (await ctx.store.usedOnce.use(hashOf(`dpop proof\n${thumbprint}\n${jti}`), expiresAt)) return thumbprint;
  throw invalid("the proof was used before");
}

/**
 * The key that a token request proves to hold, which its tokens will be bound to; null where they are bound to none.
 * @throws AuthError invalid_dpop_proof, use_dpop_nonce
 */
export async function provenKey(
  ctx: OAuthContext,
  client: Client,
  presented: PresentedProof | null,
): Promise<string | null> {
  if (presented !== null) return checkProof(ctx, presented, { accessToken: null, nonce: needsNonce(client) });
  if (!client.metadata.dpop_bound_access_tokens) return null;
  throw invalid("the tokens of this client are bound to a key: send a DPoP proof");
}

/** Must this client's proofs have a nonce of this service (RFC 9449 section 8)? */
export function needsNonce(client: Client): boolean {
  return client.metadata.profile === "fapi2";
}

/** The nonce for a client's next proof. Derived from the time and KEY_ENCRYPTION_KEY, so all replicas have the same and store none. */
export function dpopNonce(ctx: OAuthContext): string {
  return ctx.derivedKeys.dpopNonces.of(String(Math.floor(ctx.clock.now() / nonceWindow)));
}

function isNonce(ctx: OAuthContext, given: unknown): boolean {
  const current = Math.floor(ctx.clock.now() / nonceWindow);
  // the next one too: another replica's clock may be slightly ahead
  const windows = [current, current - 1, current + 1];
  return windows.some((window) => ctx.derivedKeys.dpopNonces.verifies(String(window), String(given)));
}
