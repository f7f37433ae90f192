import { StartRefused } from "../errors.ts";
import { addressOf } from "../net/address.ts";
import type { Hosts } from "./hosts.ts";

interface Key {
  readonly kid: string;
  readonly created_at: number;
}

/** A replica may not have got the first keys of an installation yet (milliseconds). */
const replicationMs = 60_000;

/**
 * Compares the servers of DATABASE_URL by their signing keys: every installation makes its own, and copies share them. Servers that do
 * not answer are left out.
 * @throws StartRefused: they hold the data of different installations
 */
export async function requireCopies(hosts: Hosts): Promise<void> {
  const found = await hosts.rowsOfEach<Key>("SELECT kid, created_at FROM signing_key");
  const current = found.find(({ host }) => host === hosts.current);
  if (current === undefined) return;
  const others = found.filter(({ rows }) => isOtherInstallation(current.rows, rows));
  if (others.length === 0) return;
  const names = others.map(({ host }) => addressOf(host)).join(", ");
  throw new StartRefused(
    `DATABASE_URL: ${names} and ${addressOf(current.host)} hold different data: they have no signing key in common. Nothing was ` +
      "changed. Name only servers that are copies of one another: a primary and its replicas, or the nodes of a Galera cluster",
  );
}

function isOtherInstallation(ours: readonly Key[], theirs: readonly Key[]): boolean {
  if (ours.some(({ kid }) => theirs.some((key) => key.kid === kid))) return false;
  if (ours.length > 0 && theirs.length > 0) return true;
  const oldest = Math.min(...[...ours, ...theirs].map(({ created_at }) => created_at));
  return oldest < Date.now() - replicationMs;
}
