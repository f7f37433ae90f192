import { readFileSync } from "node:fs";
import { checkCertificates } from "../net/pem.ts";
import { readTlsFiles, type TlsFiles } from "../net/tls-files.ts";
import type { Reader } from "./reader.ts";

/** GRPC_TLS_*: TLS of both internal listeners; null: none. What the files hold is looked at too, so that it is told with all other problems. */
export function readInternalTls(read: Reader): TlsFiles | null {
  const cert = read.readablePath("GRPC_TLS_CERT");
  const key = read.readablePath("GRPC_TLS_KEY");
  const clientCa = read.readablePath("GRPC_TLS_CLIENT_CA");
  if ((cert === null) !== (key === null)) {
    read.problem("GRPC_TLS_CERT", "GRPC_TLS_CERT and GRPC_TLS_KEY belong together");
  }
  if (clientCa !== null && cert === null) {
    read.problem("GRPC_TLS_CLIENT_CA", "needs GRPC_TLS_CERT and GRPC_TLS_KEY");
  }
  if (cert === null || key === null) return null;
  const files = { cert, key, clientCa };
  try {
    readTlsFiles(files);
  } catch (error) {
    read.problem("GRPC_TLS_CERT", (error as Error).message);
  }
  return files;
}

/** DATABASE_SSL_CA. @returns the path of a PEM file; null: there is none */
export function readDatabaseSslCa(read: Reader): string | null {
  const path = read.readablePath("DATABASE_SSL_CA");
  if (path === null) return null;
  try {
    checkCertificates(readFileSync(path, "utf8"));
  } catch (error) {
    read.problem("DATABASE_SSL_CA", `${path} cannot be used: ${(error as Error).message}`);
  }
  return path;
}
