export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly epoch: number;
}

/** Single ownership, by the database's clock. */
export interface LeaseStore {
  /** Null: somebody else holds it. */
  acquire(name: string, owner: string, ttlMs: number): Promise<Lease | null>;
  /** False: it was lost. */
  renew(lease: Lease, ttlMs: number): Promise<boolean>;
  /** In one statement. @returns the names of those still held; the others were lost */
  renewAll(leases: readonly Lease[], ttlMs: number): Promise<ReadonlySet<string>>;
  release(lease: Lease): Promise<void>;
  /** Live leases by name prefix. */
  holders(prefix: string): Promise<{ name: string; owner: string }[]>;
}
