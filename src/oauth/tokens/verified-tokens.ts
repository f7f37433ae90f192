import { LRUCache } from "lru-cache";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import type { ActiveIntrospection } from "./introspection-answer.ts";

/** A token whose signature was verified. Its claims are remembered, decisions about it never. */
export interface VerifiedToken {
  readonly claims: AccessTokenClaims;
  readonly kid: string;
  /** Later requests with this token get this very object. */
  readonly kept: boolean;
  /** Its introspection, where the object is kept. */
  introspection: ActiveIntrospection | undefined;
}

const maxBytes = 96 * 1024 * 1024;
/** Bytes of an entry in addition to the token's text. */
const textOverhead = 400;
/** Bytes of the claims' objects and of the answers that the edges keep, in addition to the token's text. */
const overhead = 3_600;

type Kept = VerifiedToken & { readonly token: string };
type Generation = LRUCache<string, string | Kept>;

/**
 * Access tokens whose signature was verified: the text alone of a token that was seen once, its claims from the second time on, so that
 * tokens that are seen once take little memory and work. Bounded by bytes; the least recently used go first. Only unexpired tokens of
 * this service are added, so a flood of others neither grows it nor evicts anything. There are two generations, each as long as a token
 * lives: when a new one begins, every token of the one before the last has ended, and they go together.
 */
export class VerifiedTokens {
  readonly #lifeMs: number;
  /** By signature, which is quicker to look up than the token; the token itself is compared. */
  #young = generation();
  #old = generation();
  #youngSince = performance.now();

  /** @param lifeSeconds how long an access token lives. One that lives longer may be forgotten early, and is verified again */
  constructor(lifeSeconds: number) {
    this.#lifeMs = lifeSeconds * 1000;
  }

  /** @returns what is kept of the token; `"verified"` where it was seen once: its signature needs no second look, its claims do */
  find(token: string): VerifiedToken | "verified" | undefined {
    const signature = signatureOf(token);
    const entry = this.#young.get(signature) ?? this.#old.get(signature);
    if (entry === token) return "verified";
    return typeof entry === "object" && entry.token === token ? entry : undefined;
  }

  /** Remembers that the signature was verified. */
  add(token: string): void {
    const copy = copyOf(token);
    this.#set(copy, copy);
  }

  /** Keeps the claims of a token that is seen again. */
  keep(token: string, claims: AccessTokenClaims, kid: string): VerifiedToken {
    const copy = copyOf(token);
    const kept: Kept = { token: copy, claims, kid, kept: true, introspection: undefined };
    this.#set(copy, kept);
    return kept;
  }

  #set(token: string, entry: string | Kept): void {
    const now = performance.now();
    if (now - this.#youngSince >= this.#lifeMs) {
      this.#old = this.#young;
      this.#young = generation();
      this.#youngSince = now;
    }
    this.#young.set(signatureOf(token), entry);
    while (this.#old.size > 0 && this.#young.calculatedSize + this.#old.calculatedSize > maxBytes) this.#old.pop();
  }
}

function generation(): Generation {
  const sizeCalculation = (entry: string | Kept) =>
    typeof entry === "string" ? entry.length + textOverhead : entry.token.length + overhead;
  return new LRUCache({ maxSize: maxBytes, sizeCalculation });
}

/** A token that was cut from a request would keep the whole request in memory. @param token a JWS: ASCII */
function copyOf(token: string): string {
  return Buffer.from(token, "latin1").toString("latin1");
}

function signatureOf(token: string): string {
  return token.slice(token.lastIndexOf(".") + 1);
}
