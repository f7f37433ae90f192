import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "@jest/globals";
import { followTlsFiles, readTlsFiles, type TlsMaterial } from "../../src/net/tls-files.ts";
import {
  caCertificate,
  clientCertificate,
  clientKey,
  otherCertificate,
  serverCertificate,
  serverKey,
} from "../rpc/certificates.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function filesOf(clientAuthority: string | null = null) {
  const folder = mkdtempSync(join(tmpdir(), "auth-tls-"));
  const files = {
    cert: join(folder, "tls.crt"),
    key: join(folder, "tls.key"),
    clientCa: clientAuthority === null ? null : join(folder, "ca.crt"),
  };
  writeFileSync(files.cert, serverCertificate);
  writeFileSync(files.key, serverKey);
  if (files.clientCa !== null) writeFileSync(files.clientCa, clientAuthority ?? "");
  return files;
}

/** Two listeners, which have read the files already, and what is told. */
function follow(files: ReturnType<typeof filesOf>) {
  const used: (TlsMaterial | null)[] = [null, null];
  const told: string[] = [];
  const listeners = used.map((_, index) => ({
    useCertificate(material: TlsMaterial) {
      used[index] = material;
    },
  }));
  const following = followTlsFiles(files, listeners, {
    expires: () => told.push("expires"),
    changed: () => told.push("changed"),
    unusable: (error) => told.push(String((error as Error).message)),
  });
  closers.push(following.close);
  const certificates = () => used.map((each) => each?.cert.toString() ?? null);
  return { reload: following.reload, told, certificates, authority: () => used[0]?.ca?.toString() };
}

it("gives listeners what replaced the files between their reading and the watching", () => {
  const files = filesOf();
  readTlsFiles(files);
  writeFileSync(files.cert, clientCertificate);
  writeFileSync(files.key, clientKey);
  const { certificates, reload, told } = follow(files);
  expect(certificates()).toEqual([clientCertificate, clientCertificate]);
  reload();
  expect(told).toEqual(["expires"]);
});

it("starts while one of the files is replaced and the other is not yet, and takes the pair when it is one", () => {
  const files = filesOf();
  writeFileSync(files.cert, clientCertificate);
  const { certificates, reload, told } = follow(files);
  expect(certificates()).toEqual([null, null]);
  reload();
  expect(told).toEqual([expect.stringMatching(/mismatch/)]);
  writeFileSync(files.key, clientKey);
  reload();
  expect(certificates()).toEqual([clientCertificate, clientCertificate]);
  expect(told.slice(1)).toEqual(["expires"]);
});

it("keeps what it has while a file is half written, the clients' authorities too, and says so once", () => {
  const files = filesOf(caCertificate);
  const { authority, certificates, reload, told } = follow(files);
  const bundle = caCertificate + otherCertificate;
  const cut = bundle.length - 100;
  for (const written of ["", bundle.slice(0, cut), bundle.slice(0, cut + 10)]) {
    writeFileSync(files.clientCa ?? "", written);
    reload();
  }
  expect(authority()).toBe(caCertificate);
  expect(told).toEqual(["expires", "there is no certificate in it", "a certificate in it is cut off"]);
  writeFileSync(files.clientCa ?? "", bundle);
  // a chain of which the second certificate is being written
  writeFileSync(files.cert, serverCertificate + caCertificate.slice(0, 200));
  reload();
  expect(certificates()[0]).toBe(serverCertificate);
  writeFileSync(files.cert, serverCertificate + caCertificate);
  reload();
  expect([certificates()[1], authority()]).toEqual([serverCertificate + caCertificate, bundle]);
  expect(told.at(-1)).toBe("changed");
});
