import { readFileSync } from "node:fs";
import { messageOf, StartRefused } from "../errors.ts";
import { checkCertificates } from "../net/pem.ts";
import type { SslMode } from "../net/ssl-mode.ts";

interface TlsLog {
  warn(fields: object, message: string): void;
}

/** mysql2's `ssl`: one object for all connections, whose `ca` each new one reads. */
interface DatabaseTls {
  readonly ca?: string;
  readonly rejectUnauthorized: boolean;
  readonly verifyIdentity: boolean;
  readonly minVersion: "TLSv1.2";
}

/**
 * TLS to the database, as MySQL's own clients mean the modes: REQUIRED encrypts without verification, VERIFY_CA verifies the
 * certificate's CA, VERIFY_IDENTITY also the host name. A CA alone means VERIFY_IDENTITY.
 * @param sslCa PEM text, or the path of a PEM file, which is read again for each connection
 * @returns undefined: no TLS
 * @throws StartRefused: the file cannot be used
 */
export function databaseTls(mode: SslMode | null, sslCa: string | undefined, log: TlsLog): DatabaseTls | undefined {
  if (mode === "DISABLED" || (mode === null && sslCa === undefined)) return undefined;
  const modes = {
    rejectUnauthorized: mode !== "REQUIRED" || sslCa !== undefined,
    verifyIdentity: mode === null || mode === "VERIFY_IDENTITY",
    minVersion: "TLSv1.2",
  } as const;
  if (sslCa === undefined) return modes;
  if (sslCa.includes("-----BEGIN")) return { ...modes, ca: sslCa };
  const file = new AuthorityFile(sslCa, log);
  return {
    ...modes,
    get ca() {
      return file.read();
    },
  };
}

/** The file of DATABASE_SSL_CA, which may be replaced while the service runs. */
class AuthorityFile {
  readonly #file: string;
  readonly #log: TlsLog;
  #pem = "";
  #complained = "";

  constructor(file: string, log: TlsLog) {
    this.#file = file;
    this.#log = log;
    try {
      this.#look();
    } catch (cause) {
      throw new StartRefused(`DATABASE_SSL_CA: ${file} cannot be used: ${messageOf(cause)}`, { cause });
    }
  }

  /** One that cannot be used changes nothing, and is told of once. */
  read(): string {
    try {
      this.#look();
      this.#complained = "";
    } catch (error) {
      const { code = messageOf(error) } = error as NodeJS.ErrnoException;
      if (this.#complained !== code) {
        this.#log.warn({ err: error }, "the file of DATABASE_SSL_CA cannot be used: what it held before stays");
      }
      this.#complained = code;
    }
    return this.#pem;
  }

  #look(): void {
    const found = readFileSync(this.#file, "utf8");
    if (found === this.#pem) return;
    checkCertificates(found);
    this.#pem = found;
  }
}
