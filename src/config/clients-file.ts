import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { type ClientRegistration, readClientRegistration } from "../store/client-metadata.ts";
import type { Reader } from "./reader.ts";

/** The clients file as it was read at start. */
export interface ClientsFile {
  /** With their secrets. */
  readonly clients: readonly ClientRegistration[];
  /** Its member `version`, which orders files of replicas that start side by side; null: by `modifiedAt`. */
  readonly version: number | null;
  /** When the file was written (epoch milliseconds). */
  readonly modifiedAt: number;
  /** SHA-256 of its text, hex. */
  readonly contentHash: string;
}

/** CLIENTS_FILE. @param privateUriSchemes as `readPrivateUriSchemes` @returns null: there is none, or it cannot be read */
export function readClients(
  read: Reader,
  production: boolean,
  privateUriSchemes: readonly string[],
): ClientsFile | null {
  const file = read.json("CLIENTS_FILE");
  // asked for only where it could be read: a file that cannot be is one problem, not two
  const path = file === null ? null : read.readablePath("CLIENTS_FILE");
  if (file === null || path === null) return null;
  const { json, text } = file;
  const versioned = isVersioned(json) ? json : null;
  const entries = versioned === null ? json : versioned.clients;
  if (!Array.isArray(entries)) {
    const forms = 'a JSON array of client registrations, or { "version": 1, "clients": [...] }';
    read.problem("CLIENTS_FILE", `must hold ${forms}`);
    return null;
  }
  const clients = new Map<string, ClientRegistration>();
  for (const [index, entry] of entries.entries()) {
    const client = readClientRegistration(entry, production, privateUriSchemes);
    if (Array.isArray(client)) {
      for (const wrong of client) read.problem("CLIENTS_FILE", `client ${nameOf(entry, index)}: ${wrong}`);
    } else if (clients.has(client.clientId)) {
      read.problem("CLIENTS_FILE", `client ${index + 1}: duplicate client_id ${client.clientId}`);
    } else clients.set(client.clientId, client);
  }
  const contentHash = createHash("sha256").update(text).digest("hex");
  return {
    clients: [...clients.values()],
    version: versioned?.version ?? null,
    modifiedAt: Math.floor(statSync(path).mtimeMs),
    contentHash,
  };
}

/** Its id, or its place in the file where it has none that can be told. */
function nameOf(entry: unknown, index: number): string {
  const id = typeof entry === "object" && entry !== null && "client_id" in entry ? entry.client_id : null;
  return typeof id === "string" && /^[\x21-\x7e]{1,100}$/.test(id) ? id : String(index + 1);
}

function isVersioned(json: unknown): json is { version: number; clients: unknown } {
  if (typeof json !== "object" || json === null || !("version" in json) || !("clients" in json)) return false;
  return Number.isSafeInteger(json.version) && Number(json.version) > 0 && Object.keys(json).length === 2;
}
