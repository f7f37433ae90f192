import type { VerifiedClaims } from "./decision.ts";
import type { SigningKey } from "./key-set.ts";

/** A token whose signature was checked. Claims are remembered; audience, scopes and time are judged at every call. */
export interface RememberedToken {
  readonly claims: VerifiedClaims;
  readonly scopes: ReadonlySet<string>;
  readonly key: SigningKey;
  /** Shared answer of an allowed call. */
  readonly allowed: { readonly allowed: true; readonly claims: VerifiedClaims };
  /** Revision of the revoked set that `revoked` was read at. */
  checkedAt: number;
  revoked: boolean;
}

/** Bytes that a remembered token takes in addition to its text and claims: measured, rounded up. */
const overhead = 1_000;

/**
 * Tokens by their text, bounded by bytes. Two generations: a hit in the old one moves the token to the young one; when the young
 * one holds half the bytes, or has lasted as long as its tokens live, it becomes the old one and the old one is dropped. So the least
 * recently used go, and those that ended, and a hit costs one look-up. Only verified tokens get in: a flood of others neither grows it
 * nor pushes anything out.
 */
export class TokenMemory {
  readonly #halfBytes: number;
  #young = new Map<string, RememberedToken>();
  #old = new Map<string, RememberedToken>();
  #youngBytes = 0;
  #oldBytes = 0;
  /** When the young generation began, and until when it may last by the lives of its tokens (epoch seconds). */
  #youngSince = 0;
  #youngUntil = 0;

  /** @param maxBytes approximate */
  constructor(maxBytes: number) {
    this.#halfBytes = maxBytes / 2;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** At most the bound. */
  get bytes(): number {
    return this.#youngBytes + this.#oldBytes;
  }

  get(token: string): RememberedToken | undefined {
    const young = this.#young.get(token);
    if (young !== undefined) return young;
    const old = this.#old.get(token);
    if (old === undefined) return undefined;
    this.delete(token);
    this.#put(token, old);
    return old;
  }

  /** @param now epoch seconds */
  add(token: string, remembered: RememberedToken, now: number): void {
    if (now >= this.#youngUntil || now < this.#youngSince) {
      if (this.#young.size > 0) this.#beginGeneration();
      this.#youngSince = now;
      this.#youngUntil = now;
    }
    this.#youngUntil = Math.max(this.#youngUntil, this.#youngSince + remembered.claims.exp - now);
    this.#put(token, remembered);
  }

  #beginGeneration(): void {
    this.#old = this.#young;
    this.#oldBytes = this.#youngBytes;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  #put(token: string, remembered: RememberedToken): void {
    const bytes = sizeOf(token);
    if (bytes > this.#halfBytes) return;
    if (this.#youngBytes + bytes > this.#halfBytes) this.#beginGeneration();
    // a text of its own: a part of a longer one would keep the whole alive
    this.#young.set(Buffer.from(token, "latin1").toString("latin1"), remembered);
    this.#youngBytes += bytes;
  }

  delete(token: string): void {
    if (this.#young.delete(token)) this.#youngBytes -= sizeOf(token);
    if (this.#old.delete(token)) this.#oldBytes -= sizeOf(token);
  }
}

/** Approximate bytes of the text and of the objects of its claims. */
function sizeOf(token: string): number {
  return 3 * token.length + overhead;
}
