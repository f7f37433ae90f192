/** One row of `signing_key`: every installation makes its own keys, and copies share them. */
export interface InstallationKey {
  readonly kid: string;
  readonly created_at: number;
}

export const INSTALLATION_KEYS = "SELECT kid, created_at FROM signing_key";

/** A replica may not have got the first keys of an installation yet (milliseconds). */
const replicationMs = 60_000;

/** Whether two servers hold the data of different installations, by all the signing keys of each. */
export function isOtherInstallation(ours: readonly InstallationKey[], theirs: readonly InstallationKey[]): boolean {
  if (ours.some(({ kid }) => theirs.some((key) => key.kid === kid))) return false;
  if (ours.length > 0 && theirs.length > 0) return true;
  const oldest = Math.min(...[...ours, ...theirs].map(({ created_at }) => created_at));
  return oldest < Date.now() - replicationMs;
}
