import { LRUCache } from "lru-cache";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import type { ActiveIntrospection } from "./introspection-answer.ts";

/** A token whose signature was verified. Its claims are remembered, decisions about it never. */
export interface VerifiedToken {
  readonly claims: AccessTokenClaims;
  readonly kid: string;
  /** Its introspection, kept from the second request on, so that a token that is seen once takes little memory. */
  introspection: ActiveIntrospection | null | undefined;
}

const maxBytes = 96 * 1024 * 1024;
/** Bytes of the claims' objects and of the answers that the edges keep, in addition to the token's text. */
const overhead = 3_600;

/**
 * Access tokens whose signature was verified. Bounded by bytes; the least recently used go first. Only unexpired tokens of this
 * service are added, so a flood of others neither grows it nor evicts anything.
 */
export class VerifiedTokens {
  /** By signature, which is quicker to look up than the token; the token itself is compared. */
  readonly #tokens = new LRUCache<string, VerifiedToken & { readonly token: string }>({
    maxSize: maxBytes,
    sizeCalculation: ({ token }) => token.length + overhead,
  });

  get(token: string): VerifiedToken | undefined {
    const known = this.#tokens.get(signatureOf(token));
    return known?.token === token ? known : undefined;
  }

  add(token: string, claims: AccessTokenClaims, kid: string): VerifiedToken {
    const verified = { token, claims, kid, introspection: undefined };
    this.#tokens.set(signatureOf(token), verified);
    return verified;
  }
}

function signatureOf(token: string): string {
  return token.slice(token.lastIndexOf(".") + 1);
}
