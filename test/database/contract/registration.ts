import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { hash, metadata, NOW, type OpenedStore } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function registrationContract(opened: () => OpenedStore): void {
  describe("registration", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("registers exactly as many clients as an initial access token has uses, of 20 at once", async () => {
      const tokenHash = hash();
      await store.clients.saveInitialAccessToken({ tokenHash, uses: 3, createdAt: NOW, expiresAt: NOW + 1000 });
      expect(await store.clients.hasInitialAccessToken(tokenHash, NOW)).toBe(true);
      expect(await store.clients.hasInitialAccessToken(tokenHash, NOW + 1000)).toBe(false);
      const ids = Array.from({ length: 20 }, () => `r-${randomUUID()}`);
      const answers = await Promise.all(
        ids.map((clientId) =>
          store.clients.register(
            { clientId, metadata, createdAt: NOW },
            { initialToken: tokenHash, registrationToken: hash(clientId), secret: hash("s") },
          ),
        ),
      );
      expect(answers.filter((answer) => answer === "registered")).toHaveLength(3);
      expect(await store.clients.hasInitialAccessToken(tokenHash, NOW)).toBe(false);
      const found = await Promise.all(ids.map((id) => store.clients.find(id)));
      expect(found.filter((client) => client !== null)).toHaveLength(3);
      const own = found.find((client) => client !== null);
      const id = own?.clientId ?? "";
      expect(own).toMatchObject({ source: "registration", secrets: [{ hash: hash("s") }] });
      expect(await store.clients.findRegistered(id, hash(id))).toMatchObject({ clientId: id });
      expect(await store.clients.findRegistered(id, hash("other"))).toBeNull();
      await store.clients.disable(id, "command", NOW);
      expect(await store.clients.findRegistered(id, hash(id))).toBeNull();
    });

    it("uses up no expired token", async () => {
      const tokenHash = hash();
      await store.clients.saveInitialAccessToken({ tokenHash, uses: 1, createdAt: NOW, expiresAt: NOW + 1000 });
      const late = { clientId: `r-${randomUUID()}`, metadata, createdAt: NOW + 1000 };
      const hashes = { initialToken: tokenHash, registrationToken: hash(), secret: null };
      expect(await store.clients.register(late, hashes)).toBe("token_refused");
      expect(await store.clients.register({ ...late, createdAt: NOW }, hashes)).toBe("registered");
    });
  });
}
