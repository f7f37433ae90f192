import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { Store } from "../../../src/store/store.ts";
import { hash, makeAuthorization, metadata, NOW, type OpenedStore, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function clientsContract(opened: () => OpenedStore): void {
  describe("clients", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    const registration = (clientId: string) =>
      ({ clientId, metadata, source: "command", createdAt: NOW, fileSecretHash: null }) as const;

    it("registers once, replaces metadata, and undoes only one's own disabling", async () => {
      const id = `c-${randomUUID()}`;
      const results = await times(5, () => store.clients.create(registration(id), hash("s")));
      expect(results.filter((result) => result === "created")).toHaveLength(1);
      await store.clients.replaceMetadata(id, { ...metadata, scope: "a" }, "file", NOW);
      expect(await store.clients.find(id)).toMatchObject({ source: "file", metadata: { scope: "a" } });
      expect(await store.clients.disable(id, "file", NOW)).toBe(true);
      expect(await store.clients.disable(id, "command", NOW)).toBe(true);
      expect(await store.clients.enable(id, "file", NOW)).toBe(false);
      const told = () => database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'client' AND value = ?", [id]);
      expect(await told()).toHaveLength(1);
      expect(await store.clients.enable(id, "command", NOW)).toBe(true);
      // what was revoked stays so: it applies to tokens issued before
      expect(await told()).toHaveLength(1);
      expect((await store.clients.list()).some(({ clientId }) => clientId === id)).toBe(true);
      expect(await store.clients.disable("nobody", "file", NOW)).toBe(false);
    });

    it("gives 20 callers the same standing authorization, and takes it back with its secret", async () => {
      const id = `c-${randomUUID()}`;
      await store.clients.create(registration(id), hash("one"));
      const [secret] = (await store.clients.find(id))?.secrets ?? [];
      const ids = await times(20, () =>
        store.clients.standingAuthorization(secret?.id ?? "", makeAuthorization(id), NOW),
      );
      expect(new Set(ids).size).toBe(1);
      await store.clients.addSecret(id, hash("two"), {
        now: NOW + 1,
        olderEndAt: NOW + 1,
        fileSecretHash: hash("f"),
      });
      const client = await store.clients.find(id);
      expect(client?.fileSecretHash).toBe(hash("f"));
      expect(client?.secrets.map(({ hash, expiresAt }) => [hash, expiresAt])).toEqual([
        [hash("two"), null],
        [hash("one"), NOW + 1],
      ]);
      expect((await store.authorizations.find(ids[0] as string))?.revokedAt).toBe(NOW + 1);
      const ended = store.clients.standingAuthorization(secret?.id ?? "", makeAuthorization(id), NOW + 2);
      await expect(ended).rejects.toMatchObject({ code: "invalid_client" });
    });

    it("gives 20 callers the same standing authorization of a client without a secret, until it is revoked", async () => {
      const id = `c-${randomUUID()}`;
      await store.clients.create(registration(id), null);
      const standing = (now: number) => {
        const fresh = makeAuthorization(id);
        return store.clients.standingAuthorization(
          null,
          { ...fresh, clientId: id, grantType: "client_credentials", createdAt: now },
          now,
        );
      };
      const ids = await times(20, () => standing(NOW));
      expect(new Set(ids).size).toBe(1);
      expect(await standing(NOW + 1)).toBe(ids[0]);
      await store.authorizations.revoke(ids[0] as string, "test", NOW + 2);
      expect(await standing(NOW + 3)).not.toBe(ids[0]);
    });
  });
}
