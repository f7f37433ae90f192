import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { Clock } from "../../src/clock.ts";
import { openStore } from "../../src/database/open-store.ts";
import { caCertificate, otherCertificate, otherKey, serverCertificate, serverKey } from "../rpc/certificates.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { sealer } from "./contract/fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "auth-tls-"));
const files = { cert: join(folder, "tls.crt"), key: join(folder, "tls.key"), ca: join(folder, "ca.crt") };
let server: MariaDb;
beforeAll(async () => {
  writeFileSync(files.cert, serverCertificate);
  writeFileSync(files.key, serverKey);
  server = await startMariaDb([`--ssl-cert=${files.cert}`, `--ssl-key=${files.key}`]);
});
afterAll(() => server?.stop());

it("DATABASE_SSL_CA is read again for new connections; while it is half written, what it held before stays, with one warning", async () => {
  const url = new URL(await server.createDatabase());
  url.username = "encrypted";
  url.password = "secret";
  url.searchParams.set("ssl-mode", "VERIFY_CA");
  const database = url.pathname.slice(1);
  await execute(
    server.url,
    "CREATE USER 'encrypted'@'%' IDENTIFIED BY 'secret' REQUIRE SSL",
    `GRANT ALL ON \`${database}\`.* TO 'encrypted'@'%'`,
  );
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => warnings.push(message), error: () => undefined };
  writeFileSync(files.ca, caCertificate);
  const store = await openStore({ url: url.href, sslCa: files.ca, sealer, clock: new Clock(), log });
  /** As when idle connections end, or the server was restarted. */
  const onNewConnections = async () => {
    await execute(server.url, "KILL USER encrypted");
    await store.users.find("5b8ee9f1-3d0e-4c6f-8a33-000000000000");
    await store.time();
  };
  try {
    await onNewConnections();
    const bundle = caCertificate + otherCertificate;
    writeFileSync(files.ca, bundle.slice(0, bundle.length - 100));
    await onNewConnections();
    await onNewConnections();
    expect(warnings).toEqual([expect.stringMatching(/DATABASE_SSL_CA cannot be used/)]);

    writeFileSync(files.ca, bundle);
    writeFileSync(files.cert, otherCertificate);
    writeFileSync(files.key, otherKey);
    await execute(server.url, "FLUSH SSL");
    await onNewConnections();

    // the old authority is trusted no longer
    writeFileSync(files.ca, caCertificate);
    await expect(onNewConnections()).rejects.toMatchObject({ code: "unavailable" });
    writeFileSync(files.ca, otherCertificate);
    await onNewConnections();
    expect(warnings).toHaveLength(1);
  } finally {
    await store.close();
  }
});

it("a start with a file of DATABASE_SSL_CA that holds no whole certificate is refused, naming the setting", async () => {
  const url = await server.createDatabase();
  writeFileSync(files.ca, caCertificate.slice(0, 200));
  const opened = openStore({
    url,
    sslCa: files.ca,
    sealer,
    clock: new Clock(),
    log: { warn: () => undefined, error: () => undefined },
  });
  await expect(opened).rejects.toThrow(/^DATABASE_SSL_CA: .*cut off/);
});
