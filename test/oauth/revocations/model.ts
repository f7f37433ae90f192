import { Clock } from "../../../src/clock.ts";
import { deriveKeys } from "../../../src/crypto/derived-keys.ts";
import { AuthError } from "../../../src/errors.ts";
import { ClientCache } from "../../../src/oauth/clients/client-cache.ts";
import type { OAuthContext } from "../../../src/oauth/context.ts";
import { FeedTail } from "../../../src/oauth/revocations/feed-tail.ts";
import { SlowWatcher, watchRevocations } from "../../../src/oauth/revocations/watch.ts";
import { introspect } from "../../../src/oauth/tokens/introspection.ts";
import { VerifiedTokens } from "../../../src/oauth/tokens/verified-tokens.ts";
import type { Client } from "../../../src/store/clients.ts";
import type { Revocation, RevocationKind } from "../../../src/store/revocations.ts";
import { type Course, FakeDatabase, FakeStore, type Trouble } from "./fake-store.ts";
import { type IssuedToken, Truth } from "./oracle.ts";
import { Random, VirtualTime } from "./virtual-time.ts";

const issuer = "https://auth.example";
const derivedKeys = deriveKeys(Buffer.alloc(32, 7));
const tokenMs = 120_000;
/** As the store adds it to the end of the last token concerned. */
const marginMs = 600_000;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

const encode = (json: unknown) => Buffer.from(JSON.stringify(json)).toString("base64url");

/** Remembers when it first showed what. */
class WatchedClock extends Clock {
  readonly shown = new Map<number, number>();
  readonly #time: VirtualTime;
  constructor(time: VirtualTime) {
    super();
    this.#time = time;
  }

  override now(): number {
    const now = super.now();
    if (!this.shown.has(now)) this.shown.set(now, this.#time.now);
    return now;
  }
}

class Replica {
  readonly clock: WatchedClock;
  readonly kids = new Set<string>(["key-0"]);
  readonly verifiedTokens = new VerifiedTokens(tokenMs / 1000);
  openedAt = 0;
  readonly store: FakeStore;
  readonly feed: FeedTail;
  readonly clients: ClientCache;
  readonly ctx: OAuthContext;

  constructor(store: FakeStore, feed: FeedTail, clock: WatchedClock, allKids: ReadonlySet<string>) {
    this.store = store;
    this.feed = feed;
    this.clock = clock;
    this.clients = new ClientCache(store.clients, feed, { documents: true });
    const keys = {
      isTrusted: (kid: string) => this.kids.has(kid),
      verify: async (_use: string, { header }: { header: { kid: string } }) =>
        this.kids.has(header.kid) ||
        store.ping().then(() => {
          for (const kid of allKids) this.kids.add(kid);
          return this.kids.has(header.kid);
        }),
    };
    this.ctx = {
      config: { issuer },
      derivedKeys,
      clock,
      keys,
      feed,
      verifiedTokens: this.verifiedTokens,
      clients: this.clients,
    } as unknown as OAuthContext;
  }
}

interface Watcher {
  stopped: boolean;
  /** Takes its time between responses, at the most so much. */
  readonly slowMs: number;
}

/** What a user allowed a client, from a browser's session. */
interface Grant {
  readonly sid: string;
  readonly user: string;
  readonly session: string;
  readonly client: string;
  revoked: boolean;
}

/** One interleaving: replicas, watchers, a database and what happens to them, all chosen by the seed. */
export class Interleaving {
  readonly #time = new VirtualTime();
  readonly #random: Random;
  readonly #database: FakeDatabase;
  readonly #truth: Truth;
  readonly #boundMs: number;
  readonly #kids = new Set<string>(["key-0"]);
  #replicas: Replica[] = [];
  #grants: Grant[] = [];
  readonly #tokens: IssuedToken[] = [];
  readonly #watchers: Watcher[] = [];
  readonly #deletedUsers = new Set<string>();
  /** Rows of the database that a transaction under way has locked. */
  readonly #locked = new Set<string>();
  #names = 0;
  /** Time that goes by for everybody while nobody does anything. */
  #pause = 0;
  /** What happened, for whoever looks into a failing seed. */
  readonly log: string[] = [];
  readonly failures: string[] = [];
  readonly counts = { active: 0, inactive: 0, unavailable: 0, watched: 0, resumed: 0 };

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#database = new FakeDatabase(this.#time, this.#random);
    this.#boundMs = this.#random.pick([1_000, 1_000, 2_000]);
    this.#truth = new Truth(this.#database, this.#boundMs);
  }

  async run(): Promise<void> {
    this.#time.install();
    try {
      for (const clientId of ["client-1", "client-2"]) this.#truth.setClient(this.#newClient(clientId));
      for (let n = this.#random.between(2, 3); n > 0; n--) {
        void this.#open(new WatchedClock(this.#time)).then((replica) => this.#replicas.push(replica));
      }
      await this.#time.pass(300);
      const steps = this.#random.between(30, 90);
      for (let step = 0; step < steps && this.failures.length === 0; step++) {
        this.#step();
        await this.#time.pass(this.#gap() + this.#pause);
        this.#pause = 0;
      }
      // everything heals, and then everything is known
      this.#database.thaw();
      for (const { store, clock } of this.#replicas) {
        store.trouble = "none";
        clock.shift = 0;
      }
      await this.#time.pass(5_000 + this.#boundMs);
      for (const replica of this.#replicas) for (const token of this.#tokens) this.#verify(replica, token);
      await this.#time.pass(1);
      for (const watcher of this.#watchers) watcher.stopped = true;
      for (const { feed } of this.#replicas) void feed.close();
      await this.#time.pass(1);
    } finally {
      this.#time.uninstall();
    }
  }

  #gap(): number {
    const dice = this.#random.next();
    if (dice < 0.6) return this.#random.between(0, 30);
    if (dice < 0.93) return this.#random.between(30, 400);
    return dice < 0.985 ? this.#random.between(400, 1_500) : this.#random.between(1_500, 12_000);
  }

  #step(): void {
    const replica = this.#random.pick(this.#replicas);
    const dice = this.#random.next();
    if (dice < 0.16) this.#issue(replica);
    else if (dice < 0.22) this.#refresh(replica);
    else if (dice < 0.6) this.#verifySome(replica);
    else if (dice < 0.64) this.#askClient(replica);
    else if (dice < 0.82) this.#revoke(replica);
    else if (dice < 0.84) this.#changeClient(replica);
    else if (dice < 0.85) this.#kids.add(this.#name("key"));
    else if (dice < 0.89) this.#troubleReplica(replica);
    else if (dice < 0.915) this.#freeze();
    else if (dice < 0.935) this.#stepClock(replica);
    else if (dice < 0.95) void this.#restart(replica);
    else if (dice < 0.98) this.#watch();
    else this.#stopWatcher();
  }

  async #open(clock: WatchedClock): Promise<Replica> {
    const store = new FakeStore(this.#database);
    const feed = await FeedTail.open({
      store: store.revocations,
      clock,
      log: silent as never,
      maxStalenessMs: this.#boundMs,
    });
    const replica = new Replica(store, feed, clock, this.#kids);
    replica.openedAt = this.#time.now;
    return replica;
  }

  async #restart(replica: Replica): Promise<void> {
    this.#say("restart", this.#replicas.indexOf(replica));
    void replica.feed.close();
    try {
      const fresh = await this.#open(replica.clock);
      const at = this.#replicas.indexOf(replica);
      if (at < 0) void fresh.feed.close();
      else this.#replicas[at] = fresh;
    } catch {
      // it comes up another time
    }
  }

  #name(kind: string): string {
    return `${kind}-${++this.#names}`;
  }

  #say(...what: unknown[]): void {
    this.log.push(`${this.#time.now} ${what.join(" ")}`);
  }

  #newClient(clientId: string): Client {
    const secret = { id: this.#name("secret"), hash: "", createdAt: this.#time.wall, expiresAt: null };
    return {
      clientId,
      disabledAt: null,
      secrets: [{ ...secret, authorizationId: this.#name("own") }],
      metadata: { resource_server_for: [] },
    } as unknown as Client;
  }

  #issue(replica: Replica): void {
    const user = `user-${this.#random.between(1, 3)}`;
    const client = this.#random.pick(["client-1", "client-2"]);
    const own = this.#random.chance(0.2);
    if (this.#database.frozen || this.#locked.has(client) || this.#database.clients.get(client)?.disabledAt !== null)
      return;
    if (own) {
      const sid = this.#database.clients.get(client)?.secrets[0]?.authorizationId;
      this.#sign(replica, { sid: sid ?? "", user: client, session: "", client, revoked: false });
      return;
    }
    if (this.#deletedUsers.has(user) || this.#locked.has(user)) return;
    const session = `${user}-session-${this.#random.between(1, 2)}`;
    const grant: Grant = { sid: this.#name("sid"), user, session, client, revoked: false };
    this.#grants.push(grant);
    this.#sign(replica, grant);
  }

  #refresh(replica: Replica): void {
    const live = this.#grants.filter(({ revoked, user }) => !revoked && !this.#locked.has(user));
    if (live.length === 0 || this.#database.frozen) return;
    const grant = this.#random.pick(live);
    if (this.#locked.has(grant.sid) || this.#database.clients.get(grant.client)?.disabledAt !== null) return;
    this.#sign(replica, grant);
  }

  #sign({ clock }: Replica, grant: Grant): void {
    const iat = clock.seconds();
    const kid = this.#random.pick([...this.#kids]);
    const claims = { jti: this.#name("jti"), sid: grant.sid, sub: grant.user, client_id: grant.client, iat };
    const whole = { ...claims, iss: issuer, aud: grant.client, exp: iat + tokenMs / 1000, scope: "openid" };
    const text = `${encode({ alg: "ES256", typ: "at+jwt", kid })}.${encode(whole)}.${encode("signature")}`;
    this.#tokens.push({ text, ...claims, exp: whole.exp });
  }

  #verifySome(replica: Replica): void {
    for (let n = this.#random.between(1, 4); n > 0 && this.#tokens.length > 0; n--) {
      const recent = this.#tokens.slice(-12);
      this.#verify(replica, this.#random.pick(this.#random.chance(0.8) ? recent : this.#tokens));
    }
  }

  #verify(replica: Replica, token: IssuedToken): void {
    if (replica.feed.known.draining) return;
    const caller = { clientId: "gateway", metadata: { resource_server_for: [] } } as unknown as Client;
    const startedAt = this.#time.now;
    const clockAtStart = replica.clock.seconds();
    const judge = (answer: "active" | "inactive" | "unavailable") => {
      this.counts[answer]++;
      if (replica.feed.known.draining) return;
      const complaint = this.#truth.judge(answer, token, {
        now: this.#time.now,
        startedAt,
        clockSeconds: [clockAtStart, replica.clock.seconds()],
        goodAt: replica.store.goodAt,
        badAt: Math.max(replica.store.badAt, replica.openedAt),
      });
      if (complaint !== null) this.#fail(`${complaint}: replica ${this.#replicas.indexOf(replica)}, ${token.jti}`);
    };
    const sort = ({ active }: { active: boolean }) => judge(active ? "active" : "inactive");
    const answer = introspect(replica.ctx, { client: caller, scopes: new Set(["auth.introspect"]) }, token.text);
    if (answer instanceof Promise) void answer.then(sort).catch((error) => this.#refused(error, judge));
    else sort(answer);
  }

  #refused(error: unknown, judge: (answer: "unavailable") => void): void {
    if (error instanceof AuthError && error.code === "unavailable") judge("unavailable");
    else this.#fail(`threw ${error}`);
  }

  /** What authenticating a client's secret stands on. */
  #askClient(replica: Replica): void {
    if (replica.feed.known.draining) return;
    const clientId = this.#random.pick(["client-1", "client-2"]);
    replica.clients
      .find(clientId)
      .then((client) => {
        if (client === null || !this.#truth.wasClientLately(client, this.#time.now)) {
          this.#fail(`replica ${this.#replicas.indexOf(replica)} knows an old ${clientId}`);
        }
      })
      .catch((error) => this.#refused(error, () => {}));
  }

  #fail(what: string): void {
    this.#say("FAILED", what);
    this.failures.push(what);
  }

  /** One transaction with everything that must go together. */
  #begin(
    replica: Replica,
    what: string,
    rows: [RevocationKind, string, number?][],
    locks: string[],
    apply: () => void,
  ) {
    if (rows.length === 0 || locks.some((lock) => this.#locked.has(lock)) || replica.feed.known.draining) return;
    for (const lock of locks) this.#locked.add(lock);
    const now = replica.clock.now();
    const revocations = rows.map(
      ([kind, value, expiresAt = now + tokenMs]): Revocation => ({
        kind,
        value,
        epoch: null,
        revokedAt: now,
        expiresAt: expiresAt + marginMs,
      }),
    );
    const late = this.#random.chance(0.3);
    const ms = late ? this.#random.between(50, 4_900) : this.#random.between(0, 10);
    const course: Course = { ms, mute: this.#random.chance(0.1) };
    const done = () => {
      this.#say("committed", what);
      for (const lock of locks) this.#locked.delete(lock);
      apply();
    };
    const begun = this.#database.begin(revocations, course, done, replica.store.listeners);
    this.#truth.began(begun);
    this.#say("replica", this.#replicas.indexOf(replica), what, `ids ${begun[0]?.id}+${begun.length}`, `${ms} ms`);
  }

  #revoke(replica: Replica): void {
    const dice = this.#random.next();
    const end = (what: string, grants: Grant[], more: [RevocationKind, string][] = [], locks: string[] = []) => {
      const live = grants.filter(({ revoked }) => !revoked);
      const rows = live.map(({ sid }): [RevocationKind, string] => ["authorization", sid]);
      this.#begin(replica, what, [...rows, ...more], [...locks, ...live.map(({ sid }) => sid)], () => {
        for (const grant of live) grant.revoked = true;
      });
    };
    if (dice < 0.3 && this.#tokens.length > 0) {
      const { jti, exp } = this.#random.pick(this.#tokens.slice(-12));
      if (exp * 1000 <= replica.clock.now()) return;
      this.#begin(replica, `revoke ${jti}`, [["token", jti, exp * 1000]], [], () => {});
    } else if (dice < 0.6 && this.#grants.length > 0) {
      const grant = this.#random.pick(this.#grants);
      end(`end ${grant.sid}`, [grant]);
    } else if (dice < 0.75 && this.#grants.length > 0) {
      const { session } = this.#random.pick(this.#grants);
      end(
        `log out ${session}`,
        this.#grants.filter((grant) => grant.session === session),
      );
    } else if (dice < 0.985) {
      const user = `user-${this.#random.between(1, 3)}`;
      const deletes = this.#random.chance(0.15);
      if (deletes) this.#deletedUsers.add(user);
      const mine = this.#grants.filter((grant) => grant.user === user);
      end(`${deletes ? "delete" : "password of"} ${user}`, mine, deletes ? [["subject", user]] : [], [user]);
    } else {
      const count = this.#random.chance(0.05) ? 6_000 : this.#random.between(100, 1_200);
      const rows = Array.from({ length: count }, (_, n): [RevocationKind, string] => ["authorization", `other-${n}`]);
      this.#begin(replica, "many of somebody else", rows, [], () => {});
    }
  }

  #changeClient(replica: Replica): void {
    const clientId = this.#random.pick(["client-1", "client-2"]);
    const client = this.#database.clients.get(clientId);
    if (client === undefined) return;
    const change = (what: string, to: Client, rows: [RevocationKind, string][]) =>
      this.#begin(replica, `${what} ${clientId}`, rows, [clientId], () => this.#truth.setClient(to));
    if (client.disabledAt !== null) {
      change("enable", { ...client, disabledAt: null }, [["client_changed", clientId]]);
    } else if (this.#random.chance(0.5)) {
      change("disable", { ...client, disabledAt: replica.clock.now() }, [["client", clientId]]);
    } else {
      const own = client.secrets[0]?.authorizationId ?? "";
      const { secrets } = this.#newClient(clientId);
      change("new secret of", { ...client, secrets }, [
        ["client_changed", clientId],
        ["authorization", own],
      ]);
    }
  }

  #troubleReplica(replica: Replica): void {
    const trouble = this.#random.pick<Trouble>(["none", "slow", "fails", "hangs"]);
    replica.store.trouble = trouble;
    this.#say("replica", this.#replicas.indexOf(replica), "database", trouble);
    // some outages outlast every row of the feed
    const ms = this.#random.chance(0.003) ? this.#random.between(750_000, 900_000) : this.#random.between(50, 8_000);
    void this.#time.after(ms, () => {
      replica.store.trouble = "none";
    });
    if (ms > 100_000) this.#pause = ms + 500;
  }

  #freeze(): void {
    if (this.#database.frozen) return;
    this.#say("freeze");
    this.#database.frozen = true;
    void this.#time.after(this.#random.between(50, this.#random.chance(0.2) ? 20_000 : 4_000), () => {
      this.#say("thaw");
      this.#database.thaw();
    });
  }

  /** The clock of one replica is wrong for as long as its synchronization takes to find out. */
  #stepClock({ clock }: Replica): void {
    const far = this.#random.chance(0.3) ? 3_600_000 : 40_000;
    clock.shift = this.#random.between(-far, far);
    this.#say("a clock is off by", clock.shift);
    void this.#time.after(this.#random.between(10, 5_000), () => {
      clock.shift = 0;
    });
  }

  #stopWatcher(): void {
    const running = this.#watchers.filter(({ stopped }) => !stopped);
    if (running.length > 0) this.#random.pick(running).stopped = true;
  }

  #watch(): void {
    if (this.#watchers.filter(({ stopped }) => !stopped).length >= 3) return;
    const slowMs = this.#random.chance(0.3) ? this.#random.pick([300, 2_000, 6_000]) : 0;
    const watcher: Watcher = { stopped: false, slowMs };
    this.#watchers.push(watcher);
    this.#say("a watcher comes");
    void this.#follow(watcher);
  }

  async #follow(watcher: Watcher): Promise<void> {
    const state = { applied: new Set<string>(), known: 0 };
    let token = "";
    let inSnapshot = true;
    while (!watcher.stopped) {
      const replica = this.#random.pick(this.#replicas);
      const end = new AbortController();
      let left = this.#random.between(1, 60);
      try {
        for await (const response of watchRevocations(
          replica.ctx,
          { resumeToken: token, userEpochs: true },
          end.signal,
        )) {
          for (const { kind, value } of response.revocations) state.applied.add(`${kind} ${value}`);
          this.counts.watched++;
          token = response.resumeToken;
          inSnapshot = response.snapshot;
          if (!inSnapshot) {
            // a clock that was set back shows times twice: the first counts
            const sentAt = replica.clock.shown.get(response.completeUntil) ?? 0;
            const lost = this.#truth.missing(state, sentAt);
            if (lost !== null) {
              this.#fail(`a watcher of replica ${this.#replicas.indexOf(replica)} lacks ${lost}`);
              return;
            }
          }
          if (--left <= 0 || watcher.stopped) break;
          if (watcher.slowMs > 0) await this.#time.sleep(this.#random.between(1, watcher.slowMs));
        }
      } catch (error) {
        if (error instanceof SlowWatcher) token = error.resumeToken;
        else if (!(error instanceof AuthError) || error.code !== "unavailable")
          return this.#fail(`watch threw ${error}`);
      }
      this.counts.resumed++;
      await this.#time.sleep(this.#random.between(1, 500));
    }
  }
}
