/** Replay protection over all replicas: identifiers of client assertions and DPoP proofs. */
export interface UsedOnceStore {
  /** Of N callers one gets true. @param valueHash SHA-256, hex @param expiresAt when nothing will accept the value any more */
  use(valueHash: string, expiresAt: number): Promise<boolean>;
}
