import cluster from "node:cluster";
import { Clock } from "./clock.ts";
import type { Config, Secrets, Settings } from "./config/config.ts";
import { deriveKeys } from "./crypto/derived-keys.ts";
import { keysFor } from "./crypto/keys-for.ts";
import { Passwords } from "./crypto/passwords.ts";
import { Sealer } from "./crypto/sealing.ts";
import { MigrationsWait } from "./database/migrate.ts";
import { openStore } from "./database/open-store.ts";
import { AuthError, StartRefused } from "./errors.ts";
import { startHttpServer } from "./http/server.ts";
import { syncClock } from "./jobs/clock-sync.ts";
import { startEndedSecrets } from "./jobs/ended-secrets.ts";
import { startHousekeeping } from "./jobs/housekeeping.ts";
import { startLogoutNotices } from "./jobs/logout-notices.ts";
import { fileSink, prepareFile } from "./kafka/file-sink.ts";
import { kafkaPublisher } from "./kafka/publisher.ts";
import { startRelay } from "./kafka/relay.ts";
import { Limits } from "./limits.ts";
import type { Drainable } from "./net/drainable.ts";
import { followTlsFiles } from "./net/tls-files.ts";
import { CallerLimits } from "./oauth/callers/caller-limits.ts";
import { CallerMemory } from "./oauth/callers/caller-memory.ts";
import { applyConfiguredClients } from "./oauth/clients/apply-clients-file.ts";
import { ClientCache } from "./oauth/clients/client-cache.ts";
import { ClientKeys } from "./oauth/clients/client-keys.ts";
import { ClientLogos } from "./oauth/clients/client-logos.ts";
import { DocumentMemory } from "./oauth/clients/document-memory.ts";
import type { OAuthContext } from "./oauth/context.ts";
import { requireIssuer } from "./oauth/issuer.ts";
import { KeyRing } from "./oauth/keys/key-ring.ts";
import { declareMaxAge, removeOutlivedKeys, rotateWhenDue } from "./oauth/keys/rotation.ts";
import { deliverLogoutNotice } from "./oauth/logout/backchannel-logout.ts";
import { Replicas } from "./oauth/replicas.ts";
import { FeedTail } from "./oauth/revocations/feed-tail.ts";
import { VerifiedTokens } from "./oauth/tokens/verified-tokens.ts";
import { drain } from "./process/drain.ts";
import { listen } from "./process/listen.ts";
import { lowerPriority } from "./process/thread-priority.ts";
import { openWaitingRoom, type WaitingRoom } from "./process/waiting-room.ts";
import { RequestLimit } from "./request-limit.ts";
import { startGrpcServer } from "./rpc/grpc-server.ts";
import { startInternalListener } from "./rpc/internal-listener.ts";
import { OLDEST_MAIL_MS } from "./store/mail.ts";
import { createLogger, type Logger } from "./telemetry/log.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { eraseClosedAccounts, forgetDeleted } from "./users/deletion.ts";

export interface Overrides {
  readonly clock?: Clock;
  readonly log?: Logger;
  /** False: an old schema is refused instead of brought up to date. */
  readonly migrate?: boolean;
  /** False: another process answers at the internal port meanwhile. */
  readonly waitingRoom?: boolean;
  /** Another process prepares the database: awaited before it is opened. The waiting room says meanwhile what is waited for. */
  readonly prepared?: (room: Pick<WaitingRoom, "reason">) => Promise<void>;
  /** Awaited before anything is listened at but the waiting room. */
  readonly turn?: () => Promise<void>;
  /** False: the configured clients were applied already (`prepare`). */
  readonly applyClients?: boolean;
  /** True: no other process may serve the same SQLite file meanwhile. The service says so unless this is false. */
  readonly serves?: boolean;
}

export interface App {
  readonly context: OAuthContext;
  /** Looks at the certificate files now. They are looked at every few seconds anyway. */
  reload(): void;
  /** Stops accepting requests, finishes accepted ones, then closes everything. */
  close(): Promise<void>;
}

/** A replica whose clock differs more from the database's is not ready (milliseconds). */
const maxClockOffset = 60_000;
/** How often closed accounts whose time is over are looked for (milliseconds). */
const erasureEveryMs = 10 * 60_000;
/** How often gRPC health follows readiness, and the service clock the database's. */
const readinessMs = 1_000;
/** After the listeners were closed, what is under way has this long (milliseconds). */
const graceMs = 4_000;
/** From the first moment of the end, the drain included (milliseconds): the relay and the store need the rest of the ten seconds. */
const underWayMs = 6_000;

/** The domain on its store, without listeners: what the command line works with. */
export async function createContext(
  { config, secrets }: Settings,
  overrides: Overrides = {},
): Promise<OAuthContext & AsyncDisposable> {
  const log = overrides.log ?? createLogger(config.logLevel);
  const clock = overrides.clock ?? new Clock();
  const metrics = createMetrics();
  const sealer = new Sealer(keysFor("sealing", secrets.keyEncryptionKeys));
  const store = await openStore({
    url: secrets.databaseUrl,
    ...(config.databaseSslCa === null ? {} : { sslCa: config.databaseSslCa }),
    sealer,
    sendsMail: secrets.smtpUrl !== null,
    clock,
    log,
    migrate: overrides.migrate ?? true,
    serves: overrides.serves ?? false,
  });
  try {
    const keys = await KeyRing.open({ store: store.keys, clock, sealer, log });
    const maxStalenessMs = config.revocationMaxStaleness;
    const feed = await FeedTail.open({ store: store.revocations, clock, log, maxStalenessMs });
    const { rateLimitPerMinute } = config;
    const requestLimit = new RequestLimit(store.limits, clock, rateLimitPerMinute, () =>
      metrics.limitsHit.inc({ limit: "request" }),
    );
    feed.revoked.onKeyDistrusted((kid) => keys.distrust(kid));
    return {
      config,
      store,
      clock,
      keys,
      feed,
      verifiedTokens: new VerifiedTokens(config.accessTokenTtl),
      clients: new ClientCache(store.clients, feed, { documents: config.clientIdDocuments }),
      clientKeys: new ClientKeys(),
      clientLogos: new ClientLogos(),
      clientDocuments: new DocumentMemory(),
      callers: new CallerMemory(),
      callerLimits: new CallerLimits(config.callerRateLimit, (limit) => metrics.limitsHit.inc({ limit })),
      derivedKeys: deriveKeys(...secrets.keyEncryptionKeys),
      passwords: new Passwords({
        queue: (length) => metrics.passwordQueue.set(length),
        full: () => metrics.limitsHit.inc({ limit: "password_queue" }),
        firstHash: () => lowerPriority("libuv-worker"),
      }),
      replicas: new Replicas(),
      limits: new Limits(store.limits, clock, (rule) => metrics.limitsHit.inc({ limit: rule })),
      requestLimit,
      log,
      metrics,
      async [Symbol.asyncDispose]() {
        await requestLimit.close();
        await feed.close();
        // its last reload may be under way
        await keys.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/**
 * Starts the service: store, keys, clients, listeners, relay and jobs. While the database is away it waits for it, alive but not
 * ready.
 * @throws ConfigError, StartRefused: an operator must change something first
 */
export async function createApp(settings: Settings, overrides: Overrides = {}): Promise<App> {
  const { config } = settings;
  const log = overrides.log ?? createLogger(config.logLevel);
  // with several workers, their primary has said it for all of them
  if (cluster.worker === undefined) warnOfSettings(config, log);
  const room =
    (overrides.waitingRoom ?? true)
      ? await listen("INTERNAL_HTTP", config, () => openWaitingRoom(config))
      : { reason: "", waiting: null, close: async () => undefined };
  const closers = new Closers();
  closers.push(room.close);
  const state = { draining: false };
  try {
    await overrides.prepared?.(room);
    const context = await openPatiently(settings, { ...overrides, log }, room, async (opened) => {
      // before anything is signed; the command line signs nothing
      await opened.store.revocations.declareLifetime(config.accessTokenTtl * 1000, opened.clock.now());
      await declareMaxAge(opened);
      if (overrides.applyClients ?? true) await applyConfiguredClients(opened, settings.secrets.clients);
    });
    closers.push(() => context[Symbol.asyncDispose]());
    await prepareEventsFile(config);
    startEvents(context, settings.secrets, closers);
    const together = new Closers();
    closers.push((ms) => together.closeTogether(ms));
    await startMail(context, settings.secrets, together);
    startJobs(context, together);
    watchState(context);
    await overrides.turn?.();
    const { listeners, reload } = await startListeners(context, together, readiness(context, state), room.waiting);
    const close = async () => {
      const startedAt = performance.now();
      state.draining = true;
      if (config.production) await drain(listeners);
      context.feed.known.drain();
      await closers.close(Math.min(graceMs, startedAt + underWayMs - performance.now()));
    };
    return { context, reload, close };
  } catch (error) {
    await closers.close(graceMs);
    throw error;
  }
}

/** @param graceMs what is under way has this long (milliseconds) */
type Close = (graceMs: number) => PromiseLike<void>;

/** What was started, to be closed in the opposite order. */
class Closers {
  readonly #closers: Close[] = [];

  push(close: Close): void {
    this.#closers.push(close);
  }

  async close(graceMs: number): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close(graceMs);
  }

  /** For parts that do not need one another: together they have the time that one has. */
  async closeTogether(graceMs: number): Promise<void> {
    const results = await Promise.allSettled(this.#closers.splice(0).map((close) => close(graceMs)));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}

/** Where events go to a file: can it be written? Asked before the first event is promised. @throws StartRefused */
async function prepareEventsFile({ kafka, eventsFile }: Config): Promise<void> {
  if (kafka !== null) return;
  await prepareFile(eventsFile).catch((error: NodeJS.ErrnoException) => {
    const why = `cannot be written (${error.code ?? error.message})`;
    throw new StartRefused(
      `EVENTS_FILE: ${eventsFile} ${why}. Name a file that this process may write, or KAFKA_BROKERS`,
      { cause: error },
    );
  });
}

function startEvents(
  { config, store, clock, log, metrics, replicas }: OAuthContext,
  secrets: Secrets,
  closers: Closers,
): void {
  const publisher =
    config.kafka === null
      ? fileSink({ file: config.eventsFile, log })
      : kafkaPublisher({ ...config.kafka, sasl: secrets.kafkaSasl, clientId: "auth-service", log });
  closers.push(() => publisher.close());
  const relay = startRelay({
    store,
    publisher,
    clock,
    log,
    owner: replicas.ownName,
    sink: config.kafka === null ? "file" : "kafka",
    onRelays: (names) => replicas.saw(names),
    issuer: config.issuer,
    metrics: {
      sent: (count) => metrics.eventsSent.inc(count),
      failed: (count) => metrics.eventsFailed.inc(count),
      parked: (count) => metrics.eventsParked.inc(count),
    },
  });
  closers.push(() => relay.close());
  metrics.watch("outbox_lanes", "Lanes of the outbox that this process sends from", () => relay.lanes);
}

/** Where SMTP_URL is set, the service sends its own mails; else consumers of its events do. */
async function startMail(context: OAuthContext, { smtpUrl }: Secrets, closers: Closers): Promise<void> {
  if (smtpUrl === null) {
    const { store, clock, log } = context;
    const waiting = await store.mail.leave(clock.now() - OLDEST_MAIL_MS).catch((error: unknown) => {
      // the next start deletes them
      log.warn({ err: error }, "the mails that wait could not be counted");
      return 0;
    });
    if (waiting > 0) log.warn({ waiting }, "mails wait to be sent, for a week at most, and SMTP_URL is not set");
    return;
  }
  // nodemailer is loaded only where it is used
  const [{ startMailSender }, { smtpTransport }] = await Promise.all([
    import("./mail/sender.ts"),
    import("./mail/smtp.ts"),
  ]);
  closers.push(
    startMailSender(context, smtpTransport(smtpUrl, context.config.mailFrom, context.config.brand?.name)).close,
  );
}

/** What operators watch that nothing counts: looked up when the metrics are read. */
function watchState({ metrics, feed, keys, clock, store }: OAuthContext): void {
  metrics.watch("auth_database_waiting", "Calls that wait for a database connection", () => store.load().waiting);
  metrics.watchTotal("auth_database_calls_total", "Calls that took a database connection", () => store.load().calls);
  const waits = "Seconds that calls waited for a database connection";
  metrics.watchTotal("auth_database_wait_seconds_total", waits, () => store.load().waitedMs / 1000);
  const age = "Seconds since the revocation feed was read; introspection refuses beyond REVOCATION_MAX_STALENESS";
  metrics.watch("auth_revocation_feed_age_seconds", age, () => feed.ageMs / 1000, "max");
  metrics.watch("auth_revocation_watchers", "Open WatchRevocations streams", () => feed.known.watchers);
  const ages = () => {
    const active = keys.list().filter(({ state }) => state === "active");
    return new Map(active.map(({ use, alg, activeFrom }) => [`${use} ${alg}`, (clock.now() - activeFrom) / 1000]));
  };
  metrics.watchEach("auth_signing_key_age_seconds", "Age of each key that signs", "key", ages);
}

function startJobs(context: OAuthContext, closers: Closers): void {
  let erasureDueAt = 0;
  const housekeeping = startHousekeeping(context, {
    "rotate keys": () => rotateWhenDue(context),
    "remove keys": () => removeOutlivedKeys(context),
    "forget traces of deleted users": () => forgetDeleted(context),
    "erase closed accounts": async (goesOn) => {
      if (performance.now() < erasureDueAt) return;
      erasureDueAt = performance.now() + erasureEveryMs;
      await eraseClosedAccounts(context, goesOn);
    },
  });
  closers.push(housekeeping.close);
  closers.push(startEndedSecrets(context).close);
  closers.push(startLogoutNotices(context, (notice) => deliverLogoutNotice(context, notice)).close);
}

type Ready = () => Promise<{ ready: boolean; reason?: string }>;

function readiness(context: OAuthContext, state: { readonly draining: boolean }): Ready {
  return async () => {
    if (state.draining) return { ready: false, reason: "shutting down" };
    try {
      await syncClock(context);
    } catch {
      return { ready: false, reason: "the database is away" };
    }
    const isClockWrong = Math.abs(context.clock.offset) > maxClockOffset;
    return isClockWrong ? { ready: false, reason: "this machine's clock is wrong" } : { ready: true };
  };
}

/** @returns reload gives the listeners certificates that were replaced */
async function startListeners(
  context: OAuthContext,
  closers: Closers,
  ready: Ready,
  waiting: WaitingRoom["waiting"],
): Promise<{ listeners: readonly Drainable[]; reload: () => void }> {
  const { config, log, metrics } = context;
  const tls = config.internalTls;
  const http = await listen("HTTP", config, () => startHttpServer(context));
  closers.push(http.close);
  const reflection = config.production ? "authorized" : "open";
  const grpc = await listen("GRPC", config, () => startGrpcServer(context, { ...config.grpc, tls, reflection }));
  closers.push(grpc.close);
  const watch = setInterval(async () => grpc.setServing((await ready()).ready), readinessMs);
  watch.unref();
  closers.push(async () => clearInterval(watch));
  const internal = await listen("INTERNAL_HTTP", config, () =>
    startInternalListener(context, { ...config.internalHttp, tls, ready, waiting }),
  );
  closers.push(internal.close);
  const listeners = [http, grpc, internal];
  if (tls === null) return { listeners, reload: () => {} };
  const certificates = followTlsFiles(tls, [grpc, internal], {
    expires: (at) => metrics.certificateExpires.set(at / 1000),
    changed: () => log.info("the internal listeners have a new certificate"),
    unusable: (error) => log.error({ err: error }, "the files of GRPC_TLS_* cannot be used: the certificate stays"),
  });
  closers.push(async () => certificates.close());
  return { listeners, reload: certificates.reload };
}

function warnOfSettings({ misspelt, doubtful }: Config, log: Logger): void {
  for (const { name, meant } of misspelt) {
    log.warn({ event: "misspelt_setting", name, meant }, `${name} is no setting: did you mean ${meant}?`);
  }
  for (const { name, why } of doubtful) log.warn({ event: "doubtful_setting", name }, `${name} ${why}`);
}

/**
 * Prepares the schema and the configured clients, once for all processes that share the listeners.
 * @param room gets what is waited for
 * @throws ConfigError, StartRefused
 */
export async function prepare(
  settings: Settings,
  room: Pick<WaitingRoom, "reason">,
  overrides: Overrides = {},
): Promise<void> {
  const log = overrides.log ?? createLogger(settings.config.logLevel);
  // before the database is waited for: the setting that names it may be the misspelt one
  warnOfSettings(settings.config, log);
  await using _ = await openPatiently(settings, { ...overrides, log }, room, (context) =>
    applyConfiguredClients(context, settings.secrets.clients),
  );
}

/**
 * Opens the context, and retries while the database is away or its migrations wait.
 * @param room gets the reason
 * @param begin what the start does with the database first: a fault of that time passes too
 */
async function openPatiently(
  settings: Settings,
  overrides: Overrides & { log: Logger },
  room: Pick<WaitingRoom, "reason">,
  begin: (context: OAuthContext) => Promise<void>,
): Promise<OAuthContext & AsyncDisposable> {
  for (let pause = 250; ; pause = Math.min(pause * 2, 2_000)) {
    try {
      return await openOnce(settings, overrides, begin);
    } catch (error) {
      if (!(error instanceof AuthError) || error.code !== "unavailable") throw error;
      const isOfDatabase = error.cause !== undefined && !(error instanceof MigrationsWait);
      room.reason = isOfDatabase ? "the database is away" : error.description;
      overrides.log.warn({ err: error.cause ?? error }, `${room.reason}; trying again in ${pause} ms`);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function openOnce(
  settings: Settings,
  overrides: Overrides,
  begin: (context: OAuthContext) => Promise<void>,
): Promise<OAuthContext & AsyncDisposable> {
  const context = await createContext(settings, { serves: true, ...overrides });
  try {
    await syncClock(context);
    await requireIssuer(context);
    await begin(context);
    return context;
  } catch (error) {
    await context[Symbol.asyncDispose]();
    throw error;
  }
}
