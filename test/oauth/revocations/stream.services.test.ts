import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService, type WatchRevocationsResponse } from "../../../gen/auth/v1/introspection_pb.ts";
import { PATIENCE_MS } from "../../../src/net/connection-guard.ts";
import { createVerifier } from "../../../src/verifier/verifier.ts";
import { startReplicas, type TestApp, testEnvironment } from "../../support/app.ts";
import { getTokens, internalBasic, introspect, portal, postForm, signUp } from "../../support/flow.ts";
import { heapInUse } from "../../support/heap.ts";
import { execute, type MariaDb, startMariaDb } from "../../support/mariadb.ts";
import { freeze, type ServiceProcess, spawnService } from "../../support/process.ts";
import { startWire } from "../../support/wire.ts";

const asService = { authorization: internalBasic };
const outsiderSecret = "a secret of at least thirty-two characters";
const clients = [
  {
    client_id: "outsider",
    client_secret: outsiderSecret,
    grant_types: ["client_credentials"],
    scope: "orders.read",
  },
];

/** What one watcher received over all its connections. */
class Watcher {
  readonly values = new Set<string>();
  resumeToken = "";
  completeUntil = 0;
  responses = 0;
  error: ConnectError | null = null;
  readonly #end = new AbortController();
  readonly ended: Promise<void>;

  constructor(grpc: string, resumeToken = "", headers: Record<string, string> = asService) {
    this.resumeToken = resumeToken;
    this.ended = this.#follow(grpc, headers);
  }

  async #follow(grpc: string, headers: Record<string, string>): Promise<void> {
    const calls = createClient(IntrospectionService, createGrpcTransport({ baseUrl: `http://${grpc}` }));
    for (;;) {
      const request = { resumeToken: this.resumeToken };
      try {
        for await (const response of calls.watchRevocations(request, { headers, signal: this.#end.signal })) {
          this.#take(response);
        }
        return;
      } catch (error) {
        this.error = ConnectError.from(error);
        // a busy replica says when to come again
        const hint = this.error.metadata.get("retry-after");
        if (this.error.code !== Code.Unavailable || hint === null || this.#end.signal.aborted) return;
        await sleep(Number(hint) * 1_000);
      }
    }
  }

  #take({ revocations, resumeToken, completeUntil }: WatchRevocationsResponse): void {
    for (const { value } of revocations) this.values.add(value);
    this.resumeToken = resumeToken;
    if (completeUntil !== undefined) this.completeUntil = timestampMs(completeUntil);
    this.responses++;
  }

  async until(holds: (watcher: this) => boolean, ms = 20_000): Promise<void> {
    const end = performance.now() + ms;
    while (!holds(this)) {
      if (performance.now() > end) throw new Error(`the watcher waited in vain (${this.error?.message ?? "no error"})`);
      await sleep(10);
    }
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.ended;
  }
}

/** Revokes access tokens that nobody has. @returns their ids */
async function revokeSome(app: TestApp, count: number): Promise<string[]> {
  const now = app.clock.now();
  const ids = Array.from({ length: count }, () => randomUUID());
  for (const jti of ids) await app.context.store.authorizations.revokeAccessToken(jti, now + 120_000, now);
  return ids;
}

async function eventually(holds: () => boolean, ms = 30_000): Promise<void> {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) throw new Error("waited in vain");
    await sleep(20);
  }
}

/** A private server: it is frozen. */
describe("the stream of revocations on two replicas", () => {
  let database: MariaDb;
  let a: TestApp;
  let b: TestApp;
  beforeAll(async () => {
    delete process.env["TEST_DATABASE_URL"];
    database = await startMariaDb();
    [a, b] = (await startReplicas(2, { DATABASE_URL: await database.createDatabase() }, clients)) as [TestApp, TestApp];
  });
  afterAll(async () => {
    if (database?.pid) process.kill(database.pid, "SIGCONT");
    await a?.close();
    await b?.close();
    await database?.stop();
  });

  it("loses nothing when the watched replica is killed and the watcher resumes on another one", async () => {
    const env = await testEnvironment(
      { DATABASE_URL: a.env["DATABASE_URL"] ?? "", ISSUER: a.env["ISSUER"] ?? "" },
      clients,
    );
    const third: ServiceProcess = await spawnService(env);
    const first = new Watcher(`127.0.0.1:${env["GRPC_PORT"]}`);
    try {
      const before = await revokeSome(a, 5);
      await first.until(({ values }) => before.every((id) => values.has(id)));
      const killed = third.kill("SIGKILL");
      const during = await revokeSome(b, 5);
      await killed;
      await first.ended;
      expect(first.error).not.toBeNull();
      const after = await revokeSome(b, 5);
      const second = new Watcher(a.grpc, first.resumeToken);
      await second.until(({ values }) => [...during, ...after].every((id) => first.values.has(id) || values.has(id)));
      await second.close();
    } finally {
      await third.kill("SIGKILL").catch(() => {});
      await first.close();
    }
  });

  it("C-20 F-30 loses nothing where the database under it is an earlier one, whose ids come again", async () => {
    const url = a.env["DATABASE_URL"] ?? "";
    await revokeSome(a, 8);
    const [highest] = (await execute(url, "SELECT MAX(id) AS id FROM revocation")) as [[{ id: number }]];
    const last = Number(highest[0].id);
    // long enough ago that a replica does not read it again
    await eventually(() => [a, b].every(({ context }) => context.feed.completeBelow >= last));
    const watcher = new Watcher(b.grpc);
    await watcher.until(({ responses }) => responses > 0);
    await watcher.close();
    // restored from a backup without the last rows
    await execute(url, `DELETE FROM revocation WHERE id > ${last - 8}`, "ALTER TABLE revocation AUTO_INCREMENT = 1");
    const since = await revokeSome(a, 3);
    const isKnown = (jti: string) => b.context.feed.known.read(0, 100_000).some(({ value }) => value === jti);
    await eventually(() => since.every(isKnown));
    const again = new Watcher(b.grpc, watcher.resumeToken);
    await again.until(({ values }) => since.every((id) => values.has(id)));
    await again.close();
  });

  it("serves fifty watchers, each of whom hears of a revocation on the other replica within the bound", async () => {
    const watchers = Array.from({ length: 50 }, (_, n) => new Watcher(n % 2 === 0 ? a.grpc : b.grpc));
    await Promise.all(watchers.map((watcher) => watcher.until(({ responses }) => responses > 0)));
    const latencies: number[] = [];
    for (let n = 0; n < 5; n++) {
      const [id = ""] = await revokeSome(a, 1);
      const acknowledgedAt = performance.now();
      await Promise.all(watchers.map((watcher) => watcher.until(({ values }) => values.has(id))));
      latencies.push(performance.now() - acknowledgedAt);
    }
    // watchers and replicas are one process, which a busy machine may stop for a moment, but not each time
    expect(latencies.sort((x, y) => x - y)[2]).toBeLessThan(1_000);
    await Promise.all(watchers.map((watcher) => watcher.close()));
  });

  it("refuses callers without the scope, and a resume token that the service did not issue", async () => {
    const outsider = `Basic ${Buffer.from(`outsider:${encodeURIComponent(outsiderSecret)}`).toString("base64")}`;
    const real = new Watcher(a.grpc);
    await real.until(({ resumeToken }) => resumeToken !== "");
    await real.close();
    const [body = "", seal = ""] = real.resumeToken.split(".");
    const forged = `${Buffer.from('[12345678,""]').toString("base64url")}.${seal}`;
    const cases: [Watcher, Code][] = [
      [new Watcher(a.grpc, "", {}), Code.Unauthenticated],
      [new Watcher(a.grpc, "", { authorization: outsider }), Code.PermissionDenied],
      [new Watcher(a.grpc, forged), Code.InvalidArgument],
      [new Watcher(a.grpc, body), Code.InvalidArgument],
      [new Watcher(a.grpc, "nonsense"), Code.InvalidArgument],
    ];
    for (const [watcher, code] of cases) {
      await watcher.ended;
      expect([watcher.error?.code, watcher.responses]).toEqual([code, 0]);
    }
  });

  it("forgets nothing and invents nothing while the clock of one replica is an hour off", async () => {
    const account = await signUp(a.url);
    const tokens = await getTokens(a.url, account);
    const good = await getTokens(a.url, account);
    const [id = ""] = await revokeSome(a, 1);
    const form = { token: tokens.access_token, client_id: "portal-client" };
    expect((await postForm(`${a.url}/oauth2/revoke`, form)).status).toBe(200);
    await sleep(1_000);
    for (const shift of [3_600_000, -3_600_000, 0]) {
      b.clock.shift = shift;
      const [during = ""] = await revokeSome(a, 1);
      const watcher = new Watcher(b.grpc);
      await watcher.until(({ values }) => values.has(id) && values.has(during));
      await watcher.close();
      await sleep(500);
      expect(await introspect(b.url, tokens.access_token)).toEqual({ active: false });
    }
    expect(await introspect(b.url, good.access_token)).toMatchObject({ active: true });
  });

  it("what is revoked while the network between a verifier and the service is cut is refused as soon as it is whole again", async () => {
    const wire = await startWire(a.grpc);
    const verifier = createVerifier({
      issuer: a.url,
      audience: portal.clientId,
      stream: {
        baseUrl: `http://${wire.address}`,
        credentials: { clientId: "internal-service", clientSecret: "internal-service-secret" },
      },
      onStreamLost: "fail-closed",
    });
    try {
      await verifier.ready();
      const { access_token: kept } = await getTokens(a.url, await signUp(a.url));
      const { access_token: revoked } = await getTokens(a.url, await signUp(a.url));
      const answerOf = async (token: string) => {
        const decision = await verifier.verify(token);
        return decision.allowed ? "allowed" : decision.error;
      };
      /** @returns what was answered until then */
      const until = async (token: string, answer: string) => {
        const before: string[] = [];
        for (let tries = 0; tries < 600; tries++) {
          const found = await answerOf(token);
          if (found === answer) return before;
          before.push(found);
          await sleep(50);
        }
        throw new Error(`not ${answer} but ${[...new Set(before)]}`);
      };
      await until(kept, "allowed");
      await until(revoked, "allowed");
      wire.cut();
      await postForm(`${b.url}/oauth2/revoke`, { token: revoked, client_id: portal.clientId });
      await until(kept, "Unavailable");
      expect(await answerOf(revoked)).not.toBe("allowed");
      wire.mend();
      await until(kept, "allowed");
      // a busy machine may lose the stream again for a moment
      expect((await until(revoked, "Invalid Token")).filter((answer) => answer !== "Unavailable")).toEqual([]);
    } finally {
      await verifier.close();
      wire.close();
    }
  });

  it("sends a watcher that stopped reading away with a resume token, and keeps nothing for it", async () => {
    const calls = createClient(IntrospectionService, createGrpcTransport({ baseUrl: `http://${a.grpc}` }));
    const stream = calls.watchRevocations({}, { headers: asService })[Symbol.asyncIterator]();
    const first = await stream.next();
    expect(first.done).toBe(false);
    const before = heapInUse();
    const stoppedAt = performance.now();
    // many more bytes than the connection takes while nobody reads
    const now = a.clock.now();
    const { context } = a;
    const values = Array.from({ length: 40_000 }, () => randomUUID());
    const rows = values.map((value) => `('token', '${value}', 'test', ${now}, ${now + 720_000})`);
    for (let at = 0; at < rows.length; at += 5_000) {
      const some = rows.slice(at, at + 5_000).join(", ");
      const insert = `INSERT INTO revocation (kind, value, reason, revoked_at, expires_at) VALUES ${some}`;
      await execute(a.env["DATABASE_URL"] ?? "", insert);
    }
    const known = () => context.feed.known.end - context.feed.known.start;
    for (let tries = 0; tries < 600 && known() <= 40_000; tries++) await sleep(50);
    expect(known()).toBeGreaterThan(40_000);
    // longer than a watcher may take for one response
    await sleep(7_000);
    // the rows themselves, once, for all watchers of two replicas
    expect(heapInUse() - before).toBeLessThan(100 * 1024 * 1024);
    const stoodStillMs = performance.now() - stoppedAt;
    let token = first.value?.resumeToken ?? "";
    const received = new Set<string>();
    let refusal: ConnectError | null = null;
    try {
      for (let next = await stream.next(); !next.done; next = await stream.next()) {
        for (const { value } of next.value.revocations) received.add(value);
        token = next.value.resumeToken;
      }
    } catch (error) {
      refusal = ConnectError.from(error);
    }
    // on a busy machine the stream may have stood still for so long that it was cut: then the last response has the token
    const isCut = stoodStillMs > PATIENCE_MS && refusal?.code === Code.Canceled;
    if (!isCut) {
      expect(refusal?.code).toBe(Code.ResourceExhausted);
      expect(refusal?.metadata.get("resume-token")).toBe(token);
    }
    const again = new Watcher(b.grpc, token);
    await again.until((watcher) => values.every((value) => received.has(value) || watcher.values.has(value)), 60_000);
    await again.close();
  });

  it("says nothing about tokens while the database is frozen for longer than the bound, and heals", async () => {
    if (database.pid === null) throw new Error("the server is not ours to freeze");
    const tokens = await getTokens(a.url, await signUp(a.url));
    const revoked = await getTokens(a.url, await signUp(a.url));
    await postForm(`${a.url}/oauth2/revoke`, { token: revoked.access_token, client_id: "portal-client" });
    await introspect(b.url, tokens.access_token);
    const watcher = new Watcher(b.grpc);
    await watcher.until(({ responses }) => responses > 2);
    await freeze(database.pid);
    try {
      await sleep(1_200);
      let frozenAt = 0;
      const statuses: number[] = [];
      for (let n = 0; n < 6; n++) {
        for (const token of [tokens.access_token, revoked.access_token]) {
          const answer = await postForm(`${b.url}/oauth2/introspect`, { token }, asService);
          await answer.arrayBuffer();
          statuses.push(answer.status);
        }
        // by now the watcher has read what was sent to it before
        frozenAt ||= watcher.completeUntil;
        await sleep(100);
      }
      expect(new Set(statuses)).toEqual(new Set([503]));
      const calls = createClient(IntrospectionService, createGrpcTransport({ baseUrl: `http://${b.grpc}` }));
      const refusal = await calls.introspect({ token: tokens.access_token }, { headers: asService }).then(
        () => null,
        (error) => ConnectError.from(error),
      );
      expect(refusal?.code).toBe(Code.Unavailable);
      expect(watcher.completeUntil).toBe(frozenAt);
    } finally {
      process.kill(database.pid, "SIGCONT");
    }
    const stoppedAt = watcher.completeUntil;
    await watcher.until(({ completeUntil }) => completeUntil > stoppedAt, 60_000);
    expect(await introspect(b.url, tokens.access_token)).toMatchObject({ active: true });
    expect(await introspect(b.url, revoked.access_token)).toEqual({ active: false });
    const [id = ""] = await revokeSome(a, 1);
    await watcher.until(({ values }) => values.has(id));
    await watcher.close();
  });
});
