import { LRUCache } from "lru-cache";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import type { ActiveIntrospection } from "./introspection-answer.ts";

/** What a good signature was found on: claims are remembered, decisions never. */
export interface VerifiedToken {
  readonly claims: AccessTokenClaims;
  readonly kid: string;
  /** Its introspection, from the second time on: a token that comes once leaves little behind. */
  introspection: ActiveIntrospection | null | undefined;
}

const maxBytes = 96 * 1024 * 1024;
/** Of the claims' objects and of what the edges keep of an answer, beside the token's text. */
const overhead = 3_600;

/**
 * Access tokens whose signature was checked once. Bounded by bytes, least recently used out first. Only live tokens of ours get in,
 * so a flood of others neither grows it nor pushes anything out.
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
