import { readFileSync } from "node:fs";
import { messageOf, StartRefused } from "../errors.ts";
import { checkCertificates } from "../net/pem.ts";
import type { SslMode } from "../net/ssl-mode.ts";

interface TlsLog {
  warn(fields: object, message: string): void;
}

/** TLS of connections to the database. */
export class DatabaseTls {
  /** For mysql2: one object for all connections, which takes another `ca` for those to come. */
  readonly options: {
    ca?: string;
    readonly rejectUnauthorized: boolean;
    readonly verifyIdentity: boolean;
    readonly minVersion: "TLSv1.2";
  };
  readonly #file: string | null;
  readonly #log: TlsLog;
  #complained = "";

  private constructor(mode: SslMode | null, sslCa: string | undefined, log: TlsLog) {
    this.#log = log;
    this.#file = sslCa === undefined || sslCa.includes("-----BEGIN") ? null : sslCa;
    const ca = this.#file === null ? sslCa : readAtStart(this.#file);
    const isChecked = mode !== "REQUIRED" || ca !== undefined;
    this.options = {
      ...(ca === undefined ? {} : { ca }),
      rejectUnauthorized: isChecked,
      verifyIdentity: mode === null || mode === "VERIFY_IDENTITY",
      minVersion: "TLSv1.2",
    };
  }

  /**
   * As MySQL's own clients mean the modes: REQUIRED encrypts without verification, VERIFY_CA verifies the certificate's CA,
   * VERIFY_IDENTITY also the host name. A CA alone means VERIFY_IDENTITY.
   * @param sslCa PEM text, or the path of a PEM file
   * @returns null: no TLS
   * @throws StartRefused: the file cannot be used
   */
  static of(mode: SslMode | null, sslCa: string | undefined, log: TlsLog): DatabaseTls | null {
    const isOff = mode === "DISABLED" || (mode === null && sslCa === undefined);
    return isOff ? null : new DatabaseTls(mode, sslCa, log);
  }

  /** Reads the file again, before a connection is made. One that cannot be used changes nothing, and is told of once. */
  look(): void {
    if (this.#file === null) return;
    try {
      const found = readFileSync(this.#file, "utf8");
      if (found !== this.options.ca) {
        checkCertificates(found);
        this.options.ca = found;
      }
      this.#complained = "";
    } catch (error) {
      const { code = messageOf(error) } = error as NodeJS.ErrnoException;
      if (this.#complained === code) return;
      this.#complained = code;
      this.#log.warn({ err: error }, "the file of DATABASE_SSL_CA cannot be used: what it held before stays");
    }
  }
}

function readAtStart(file: string): string {
  try {
    const pem = readFileSync(file, "utf8");
    checkCertificates(pem);
    return pem;
  } catch (cause) {
    throw new StartRefused(`DATABASE_SSL_CA: ${file} cannot be used: ${messageOf(cause)}`, { cause });
  }
}
