import { X509Certificate } from "node:crypto";

const begin = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;
const block = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----/g;

/**
 * Is it PEM with at least one certificate, each of them whole? A file that is being written may end in the middle of one; what reads
 * PEM leaves that one out without a word.
 * @throws Error saying what is wrong
 */
export function checkCertificates(pem: string): void {
  const certificates = pem.match(block) ?? [];
  const begun = pem.match(begin)?.length ?? 0;
  if (begun === 0) throw new Error("there is no certificate in it");
  if (begun > certificates.length) throw new Error("a certificate in it is cut off");
  for (const certificate of certificates) {
    if (!certificate.includes("TRUSTED")) new X509Certificate(certificate);
  }
}
