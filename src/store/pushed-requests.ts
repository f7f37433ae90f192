/** A pushed authorization request (RFC 9126), known by the SHA-256 of its request_uri. */
export interface PushedRequest {
  readonly uriHash: string;
  readonly clientId: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** The epoch that its client had; null: written by a release that did not keep it. */
  readonly clientEpoch: number | null;
}

export interface PushedRequestStore {
  save(request: PushedRequest): Promise<void>;
  /** Unexpired and not used up. */
  find(uriHash: string, now: number): Promise<PushedRequest | null>;
}
