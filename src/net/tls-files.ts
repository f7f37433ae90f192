import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { messageOf, StartRefused } from "../errors.ts";
import { checkCertificates } from "./pem.ts";

/** Paths of PEM files, which were readable when the environment was read. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | null;
}

/** What the files hold, as `tls.createSecureContext` and `Server.setSecureContext` take it. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
}

/** A listener whose new connections can be given another certificate. */
export interface TlsListener {
  useCertificate(material: TlsMaterial): void;
}

/** How often the files are looked at (milliseconds). */
const lookMs = 5_000;

/** @throws StartRefused: no certificate, no key, or not a pair */
export function readTlsFiles(files: TlsFiles): TlsMaterial {
  try {
    return read(files);
  } catch (cause) {
    throw new StartRefused(
      `GRPC_TLS_CERT, GRPC_TLS_KEY, GRPC_TLS_CLIENT_CA: not usable together: ${messageOf(cause)}`,
      { cause },
    );
  }
}

function read({ cert, key, clientCa }: TlsFiles): TlsMaterial {
  const material = {
    cert: readFileSync(cert),
    key: readFileSync(key),
    ...(clientCa === null ? {} : { ca: readFileSync(clientCa) }),
  };
  for (const certificates of [material.cert, material.ca]) {
    if (certificates !== undefined) checkCertificates(certificates.toString());
  }
  createSecureContext(material);
  return material;
}

/** When the certificate ends (epoch milliseconds). */
function expiryOf({ cert }: TlsMaterial): number {
  return Date.parse(new X509Certificate(cert).validTo);
}

/**
 * Gives replaced files to listeners within some seconds; connections that are open keep what they have. Files that are no pair, because
 * one of them is not replaced yet, or that are being written, change nothing. The files may have been replaced since the listeners
 * read them, each at a time of its own: all listeners get what the files hold now.
 * @param told.expires called with the time at which the certificate in use ends (epoch milliseconds)
 * @param told.unusable called once for each content that cannot be used
 */
export function followTlsFiles(
  files: TlsFiles,
  listeners: readonly TlsListener[],
  told: { expires(at: number): void; changed(): void; unusable(error: unknown): void },
): { reload(): void; close(): void } {
  let used: TlsMaterial | null = null;
  let complained = "";
  const reload = () => {
    try {
      const found = read(files);
      complained = "";
      if (used !== null && isSame(found, used)) return;
      for (const listener of listeners) listener.useCertificate(found);
      const isFirst = used === null;
      used = found;
      told.expires(expiryOf(found));
      if (!isFirst) told.changed();
    } catch (error) {
      if (complained === messageOf(error)) return;
      complained = messageOf(error);
      told.unusable(error);
    }
  };
  reload();
  const timer = setInterval(reload, lookMs);
  timer.unref();
  return { reload, close: () => clearInterval(timer) };
}

function isSame(one: TlsMaterial, other: TlsMaterial): boolean {
  return one.cert.equals(other.cert) && one.key.equals(other.key) && isSameCa(one.ca, other.ca);
}

function isSameCa(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}
