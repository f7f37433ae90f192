import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { ClientMetadata } from "../../../src/store/client-metadata.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  consentIn,
  DAY,
  hash,
  losesNextCommit,
  makeAuthorization,
  makeCode,
  metadata,
  NOW,
  type OpenedStore,
  redemption,
  signIn,
  signUp,
  times,
} from "./fixtures.ts";

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
      const results = await times(5, () => store.clients.create(registration(id), hash()));
      expect(results.filter((result) => result !== null)).toHaveLength(1);
      await store.clients.replaceMetadata(id, { ...metadata, scope: "a" }, "file", NOW);
      expect(await store.clients.find(id)).toMatchObject({ source: "file", metadata: { scope: "a" } });
      const many = await store.clients.findMany([id, ...Array.from({ length: 1_100 }, (_, n) => `nobody-${n}`), "no"]);
      expect(many).toEqual([await store.clients.find(id)]);
      expect(await store.clients.disable(id, "file", NOW)).toBe(true);
      expect(await store.clients.disable(id, "command", NOW)).toBe(true);
      expect(await store.clients.enable(id, "file", NOW)).toBe(false);
      const told = () => database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'client' AND value = ?", [id]);
      expect(await told()).toHaveLength(1);
      expect(await store.clients.enable(id, "command", NOW)).toBe(true);
      // what was revoked stays so
      expect(await told()).toHaveLength(1);
      expect((await store.clients.list()).some(({ clientId }) => clientId === id)).toBe(true);
      expect(await store.clients.disable("nobody", "file", NOW)).toBe(false);
    });

    it("keeps what others changed at the same moment, and gives one of them a secret", async () => {
      const id = `c-${randomUUID()}`;
      await store.clients.create(registration(id), null);
      const secrets = [hash(), hash()];
      const changed = await Promise.all(
        secrets.map((secretHash, n) =>
          store.clients.update(
            id,
            ({ metadata, secrets: [known] }) => ({
              metadata: { ...metadata, contacts: [...(metadata.contacts ?? []), `${n}@example.com`] },
              secretHash: known === undefined ? secretHash : null,
            }),
            NOW,
          ),
        ),
      );
      const client = await store.clients.find(id);
      expect([...(client?.metadata.contacts ?? [])].sort()).toEqual(["0@example.com", "1@example.com"]);
      expect(client?.secrets).toHaveLength(1);
      for (const each of changed) expect(each?.secrets).toEqual(client?.secrets);
      expect(changed).toContainEqual(client);
      expect(await store.clients.update("nobody", () => ({ metadata, secretHash: null }), NOW)).toBeNull();
    });

    it("answers as done what was done before its answer to COMMIT was lost", async () => {
      const id = `c-${randomUUID()}`;
      losesNextCommit(database);
      const created = await store.clients.create(registration(id), hash("own"));
      expect(created).toEqual(await store.clients.find(id));
      // the same secret again is not the same run
      expect(await store.clients.create(registration(id), hash("own"))).toBeNull();

      losesNextCommit(database);
      const secretHash = hash();
      const change = () => ({ metadata: { ...metadata, scope: "b" }, secretHash });
      const updated = await store.clients.update(id, change, NOW + 1);
      expect(updated).toEqual(await store.clients.find(id));
      expect(updated?.secrets[0]?.hash).toBe(secretHash);

      const initialToken = hash();
      await store.clients.saveInitialAccessToken({
        tokenHash: initialToken,
        uses: 1,
        createdAt: NOW,
        expiresAt: NOW + DAY,
      });
      const own = { clientId: randomUUID(), metadata, createdAt: NOW };
      const hashes = { initialToken, registrationToken: hash(), secret: hash() };
      losesNextCommit(database);
      expect(await store.clients.register(own, hashes)).toBe("registered");
      const next = { ...own, clientId: randomUUID() };
      expect(await store.clients.register(next, hashes)).toBe("token_refused");
      expect(await store.clients.find(next.clientId)).toBeNull();
    });

    it("raises a client's epoch each time that its tokens end as a whole; a later client of its id goes on counting", async () => {
      const id = `c-${randomUUID()}`;
      const epoch = async () => (await store.clients.find(id))?.epoch;
      await store.clients.create(registration(id), null);
      expect(await epoch()).toBe(0);
      await store.clients.disable(id, "file", NOW);
      await store.clients.disable(id, "command", NOW);
      expect(await epoch()).toBe(1);
      await store.clients.enable(id, "command", NOW);
      expect(await epoch()).toBe(1);
      await store.clients.disable(id, "command", NOW);
      await store.clients.remove(id, NOW);
      await store.clients.create(registration(id), null);
      expect(await epoch()).toBe(3);
      const feed = (await store.revocations.after(0, 100_000, NOW)).filter(({ value }) => value === id);
      const ended = feed.filter(({ kind }) => kind !== "client_changed");
      expect(ended.map(({ kind, epoch }) => [kind, epoch])).toEqual([
        ["client", 1],
        ["client", 2],
        ["client", 3],
      ]);
    });

    it("a later client of its id counts on when the feed has forgotten the earlier one, which replicas may still remember", async () => {
      const id = `c-${randomUUID()}`;
      for (const epoch of [1, 3]) {
        await store.clients.create(registration(id), null);
        await store.clients.remove(id, NOW);
        await database.change("DELETE FROM revocation WHERE value = ?", [id]);
        await store.clients.create(registration(id), null);
        expect((await store.clients.find(id))?.epoch).toBe(epoch);
        await store.clients.remove(id, NOW);
      }
    });

    it("knows since when a client has an idle limit, whatever else of it changes", async () => {
      const id = `c-${randomUUID()}`;
      await store.clients.create(registration(id), hash());
      const since = async (ttl: number | undefined, now: number, scope = "a") => {
        const limit = ttl === undefined ? {} : { refresh_token_idle_ttl: ttl };
        await store.clients.replaceMetadata(id, { ...metadata, ...limit, scope }, "file", now);
        return (await store.clients.find(id))?.idleLimitSince;
      };
      expect(await since(undefined, NOW)).toBeNull();
      expect(await since(600, NOW + 1)).toBe(NOW + 1);
      expect(await since(600, NOW + 2, "b")).toBe(NOW + 1);
      expect(await since(60, NOW + 3)).toBe(NOW + 1);
      expect(await since(undefined, NOW + 4)).toBeNull();
      expect(await since(600, NOW + 5)).toBe(NOW + 5);
      await expect(store.clients.replaceMetadata("nobody", metadata, "file", NOW)).rejects.toMatchObject({
        code: "not_found",
      });
    });

    it("C-84 removes a client with its secrets and the consents to it alone, and its id is free again", async () => {
      const [id, other] = [`c-${randomUUID()}`, `c-${randomUUID()}`];
      for (const each of [id, other]) await store.clients.create(registration(each), hash());
      const user = await signUp(store);
      const session = await signIn(store, user);
      for (const each of [id, other]) await store.authorizations.addConsent(consentIn(session, each, "openid"), NOW);
      expect(await store.clients.remove(id, NOW)).toBe(true);
      expect(await store.clients.remove(id, NOW)).toBe(false);
      expect(await store.clients.find(id)).toBeNull();
      const consents = await store.authorizations.listConsents(user.uuid);
      expect(consents.map(({ clientId }) => clientId)).toEqual([other]);
      const told = await database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'client' AND value = ?", [id]);
      expect(told).toHaveLength(1);
      expect(await store.clients.create(registration(id), hash())).not.toBeNull();
      expect((await store.clients.find(id))?.secrets).toHaveLength(1);
    });

    it("C-84 takes nothing that an earlier client of the same id was given for the next one's", async () => {
      const id = `c-${randomUUID()}`;
      const user = await signUp(store);
      const session = await signIn(store, user);
      const { authorizations } = store;
      const allow = (scope: string, epoch: number, now: number) =>
        authorizations.addConsent(consentIn(session, id, scope, epoch), now);
      const seen = async () => {
        const listed = [
          await authorizations.listConsents(user.uuid),
          await authorizations.listGrants(user.uuid, NOW + 9),
        ];
        return [
          await authorizations.findConsent(user.uuid, id),
          ...listed.map((each) => each.map(({ scope }) => scope)),
        ];
      };
      await store.clients.create(registration(id), null);
      const code = makeCode(session, { clientId: id });
      await authorizations.createCode(code);
      const given = redemption(user, session);
      await authorizations.redeemCode(
        code.codeHash,
        { ...given, authorization: { ...given.authorization, clientId: id } },
        NOW,
      );
      expect(await store.clients.remove(id, NOW + 1)).toBe(true);
      // another replica knows the client still
      expect(await allow("openid", 0, NOW + 2)).toBe("saved");
      expect(await seen()).toEqual([null, [], []]);
      // by a clock that was set back
      await store.clients.create({ ...registration(id), createdAt: NOW - 5 }, null);
      expect(await store.clients.find(id)).toMatchObject({ epoch: 1, firstEpoch: 1 });
      expect(await seen()).toEqual([null, [], []]);
      expect(await allow("openid", 0, NOW + 3)).toBe("saved");
      expect(await seen()).toEqual([null, [], []]);
      expect(await allow("profile", 1, NOW + 4)).toBe("saved");
      expect(await seen()).toEqual(["profile", ["profile"], []]);
      expect(await allow("email", 1, NOW + 5)).toBe("saved");
      expect(await allow("openid", 0, NOW + 6)).toBe("saved");
      expect(await seen()).toEqual(["profile email", ["profile email"], []]);
      // disabled and enabled it is the same client
      expect(await store.clients.disable(id, "command", NOW + 7)).toBe(true);
      expect(await store.clients.enable(id, "command", NOW + 7)).toBe(true);
      expect(await store.clients.find(id)).toMatchObject({ epoch: 2, firstEpoch: 1 });
      expect(await seen()).toEqual(["profile email", ["profile email"], []]);
    });

    it("C-84 tells by time what a release before wrote without the client's epoch", async () => {
      const id = `c-${randomUUID()}`;
      const user = await signUp(store);
      const session = await signIn(store, user);
      const allowed = async () => {
        await store.authorizations.addConsent(consentIn(session, id, "openid"), NOW + 5);
        await database.change(
          "UPDATE oauth2_authorization_consent SET scope = 'profile', client_epoch = NULL WHERE client_id = ?",
          [id],
        );
        return store.authorizations.findConsent(user.uuid, id);
      };
      await store.clients.create({ ...registration(id), createdAt: NOW }, null);
      expect(await allowed()).toBe("profile");
      await database.change("UPDATE oauth2_registered_client SET created_at = ? WHERE client_id = ?", [NOW + 6, id]);
      expect(await store.authorizations.findConsent(user.uuid, id)).toBeNull();
    });

    it("lists the operator's clients without those that registered themselves", async () => {
      const [own, other] = [`c-${randomUUID()}`, `c-${randomUUID()}`];
      await store.clients.create(registration(own), null);
      await store.clients.create({ ...registration(other), source: "document" }, null);
      const listed = (await store.clients.listOfOperator()).map(({ clientId }) => clientId);
      expect([listed.includes(own), listed.includes(other)]).toEqual([true, false]);
    });

    it("keeps every member of the metadata, and completes what was stored before a member existed", async () => {
      const every: Required<ClientMetadata> = {
        client_name: "Every member",
        client_uri: "https://client.example/",
        logo_uri: "https://client.example/logo.png",
        policy_uri: "https://client.example/policy",
        tos_uri: "https://client.example/terms",
        contacts: ["ops@client.example"],
        application_type: "native",
        redirect_uris: ["https://client.example/cb"],
        post_logout_redirect_uris: ["https://client.example/out"],
        grant_types: ["authorization_code"],
        response_types: ["code"],
        scope: "openid read",
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_signing_alg: "PS256",
        jwks: { keys: [{ kty: "OKP", crv: "Ed25519", x: "x" }] },
        jwks_uri: "https://client.example/jwks",
        id_token_signed_response_alg: "ES256",
        id_token_claims: true,
        introspection_signed_response_alg: "ES256",
        access_token_signed_response_alg: "RS256",
        access_token_typ: "JWT",
        first_party: true,
        require_verified_email: false,
        default_max_age: 60,
        require_auth_time: true,
        default_acr_values: ["urn:auth-service:acr:passkey"],
        require_acr: "urn:auth-service:acr:two-factor",
        backchannel_logout_uri: "https://client.example/logout",
        backchannel_logout_session_required: true,
        require_pkce: false,
        require_pushed_authorization_requests: true,
        dpop_bound_access_tokens: true,
        profile: "fapi2",
        refresh_token_rotation: false,
        refresh_rejected_status: 401,
        refresh_token_reuse_window: 5,
        refresh_token_idle_ttl: 3600,
        resources: ["https://api.example/"],
        default_resource: ["https://api.example/"],
        any_secret_method: true,
        resource_server_for: ["https://api.example/"],
        token_exchange_audiences: ["orders"],
        tls_client_auth_subject_dn: "CN=client",
      };
      const id = `c-${randomUUID()}`;
      await store.clients.create({ ...registration(id), metadata: every }, null);
      expect((await store.clients.find(id))?.metadata).toEqual(every);

      await database.change("UPDATE oauth2_registered_client SET metadata = ? WHERE client_id = ?", [
        JSON.stringify({ token_endpoint_auth_method: "none", redirect_uris: ["https://client.example/cb"] }),
        id,
      ]);
      const members = Object.keys((await store.clients.find(id))?.metadata ?? {});
      const always = Object.keys(metadata).filter((name) => metadata[name as keyof typeof metadata] !== undefined);
      expect(always.filter((name) => !members.includes(name))).toEqual([]);
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
