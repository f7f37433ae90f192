import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Clock } from "./clock.ts";
import type { Config, Settings } from "./config/config.ts";
import { deriveKeys } from "./crypto/derived-keys.ts";
import { Passwords } from "./crypto/passwords.ts";
import { Sealer } from "./crypto/sealing.ts";
import { openStore } from "./database/open-store.ts";
import { AuthError } from "./errors.ts";
import { startHttpServer } from "./http/server.ts";
import { startClockSync } from "./jobs/clock-sync.ts";
import { startEndedSecrets } from "./jobs/ended-secrets.ts";
import { startHousekeeping } from "./jobs/housekeeping.ts";
import { startLogoutNotices } from "./jobs/logout-notices.ts";
import { fileSink } from "./kafka/file-sink.ts";
import { kafkaPublisher } from "./kafka/publisher.ts";
import { startRelay } from "./kafka/relay.ts";
import { Limits } from "./limits.ts";
import { CallerLimits } from "./oauth/callers/caller-limits.ts";
import { CallerMemory } from "./oauth/callers/caller-memory.ts";
import { ClientCache } from "./oauth/clients/client-cache.ts";
import { ClientKeys } from "./oauth/clients/client-keys.ts";
import { applyConfiguredClients } from "./oauth/clients/clients.ts";
import type { OAuthContext } from "./oauth/context.ts";
import { KeyRing } from "./oauth/keys/key-ring.ts";
import { removeOutlivedKeys, rotateWhenDue } from "./oauth/keys/rotation.ts";
import { deliverLogoutNotices } from "./oauth/logout/backchannel-logout.ts";
import { FeedTail } from "./oauth/revocations/feed-tail.ts";
import { VerifiedTokens } from "./oauth/tokens/verified-tokens.ts";
import { startGrpcServer } from "./rpc/grpc-server.ts";
import { startInternalListener } from "./rpc/internal-listener.ts";
import { createLogger, createMetrics, type Logger } from "./telemetry/telemetry.ts";

export interface Overrides {
  readonly clock?: Clock;
  readonly log?: Logger;
  /** False: an old schema is refused instead of brought up to date. */
  readonly migrate?: boolean;
  /** False: the configured clients were applied already (`prepare`). */
  readonly applyClients?: boolean;
}

export interface App {
  readonly context: OAuthContext;
  /** Stops accepting, finishes what was accepted, then lets go of everything. */
  close(): Promise<void>;
}

/** Above this difference to the database's clock a replica takes no traffic (milliseconds). */
const maxClockOffset = 60_000;
const grpcGraceMs = 5_000;
/** How often gRPC health follows readiness. */
const readinessMs = 1_000;
/** In production a balancer has this long to see that a replica is not ready before its listeners close. */
const drainMs = 2_000;

/** The domain on its store, without listeners: what the command line works with. */
export async function createContext(
  { config, secrets }: Settings,
  overrides: Overrides = {},
): Promise<OAuthContext & AsyncDisposable> {
  const log = overrides.log ?? createLogger(config.logLevel);
  const clock = overrides.clock ?? new Clock();
  const metrics = createMetrics();
  const sealer = new Sealer(secrets.keyEncryptionKey);
  const store = await openStore({
    url: secrets.databaseUrl,
    ...(config.databaseSslCa === null ? {} : { sslCa: config.databaseSslCa }),
    sealer,
    clock,
    log,
    migrate: overrides.migrate ?? true,
  });
  try {
    await store.revocations.declareLifetime(config.accessTokenTtl * 1000, clock.now());
    const keys = await KeyRing.open({
      store: store.keys,
      clock,
      sealer,
      log,
    });
    const maxStalenessMs = config.revocationMaxStaleness;
    const feed = await FeedTail.open({ store: store.revocations, clock, log, maxStalenessMs });
    feed.revoked.onKeyDistrusted((kid) => keys.distrust(kid));
    return {
      config,
      store,
      clock,
      keys,
      feed,
      verifiedTokens: new VerifiedTokens(),
      clients: new ClientCache(store.clients, feed),
      clientKeys: new ClientKeys(),
      callers: new CallerMemory(),
      callerLimits: new CallerLimits(config.callerRateLimit),
      derivedKeys: deriveKeys(secrets.keyEncryptionKey),
      passwords: new Passwords((length) => metrics.passwordQueue.set(length)),
      limits: new Limits(store.limits, clock),
      log,
      metrics,
      async [Symbol.asyncDispose]() {
        keys.close();
        await feed.close();
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
 * @throws ConfigError, ForeignSchemaError, ProductionRefusal: what no waiting heals
 */
export async function createApp(settings: Settings, overrides: Overrides = {}): Promise<App> {
  const { config, secrets } = settings;
  const log = overrides.log ?? createLogger(config.logLevel);
  const context = await openPatiently(settings, { ...overrides, log });
  const { store, clock, metrics } = context;
  const closers: (() => PromiseLike<void>)[] = [() => context[Symbol.asyncDispose]()];
  let draining = false;
  const close = async () => {
    draining = true;
    if (config.production) await new Promise((resolve) => setTimeout(resolve, drainMs));
    context.feed.known.drain();
    for (const closer of closers.reverse().splice(0)) await closer();
  };
  try {
    const clockSync = await startClockSync(context);
    closers.push(clockSync.close);
    if (overrides.applyClients ?? true) await applyConfiguredClients(context, secrets.clients);
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
      owner: randomUUID(),
      issuer: config.issuer,
      metrics: {
        sent: (count) => metrics.eventsSent.inc(count),
        failed: (count) => metrics.eventsFailed.inc(count),
        parked: (count) => metrics.eventsParked.inc(count),
      },
    });
    closers.push(() => relay.close());
    const housekeeping = startHousekeeping(context, async () => {
      await rotateWhenDue(context);
      await removeOutlivedKeys(context);
    });
    closers.push(housekeeping.close);
    const endedSecrets = startEndedSecrets(context);
    closers.push(endedSecrets.close);
    const logoutNotices = startLogoutNotices(context, () => deliverLogoutNotices(context));
    closers.push(logoutNotices.close);

    const ready = async () => {
      if (draining) return { ready: false, reason: "shutting down" };
      if (Math.abs(clock.offset) > maxClockOffset) return { ready: false, reason: "this machine's clock is wrong" };
      try {
        await store.time();
        return { ready: true };
      } catch {
        return { ready: false, reason: "the database is away" };
      }
    };
    const http = await startHttpServer(context);
    closers.push(http.close);
    const grpc = await startGrpcServer(context, {
      ...config.grpc,
      tls: config.internalTls,
      reflection: config.production ? "authorized" : "open",
    });
    closers.push(() => grpc.close(grpcGraceMs));
    const watch = setInterval(async () => grpc.setServing((await ready()).ready), readinessMs);
    watch.unref();
    closers.push(async () => clearInterval(watch));
    const internal = await startInternalListener(context, { ...config.internalHttp, tls: config.internalTls, ready });
    closers.push(internal.close);
    return { context, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * What is done once for all processes that will share the listeners: the schema and the configured clients.
 * @throws ConfigError, ForeignSchemaError, ProductionRefusal
 */
export async function prepare(settings: Settings, overrides: Overrides = {}): Promise<void> {
  const log = overrides.log ?? createLogger(settings.config.logLevel);
  await using context = await openPatiently(settings, { ...overrides, log });
  await (await startClockSync(context)).close();
  await applyConfiguredClients(context, settings.secrets.clients);
}

/** Opens the context, again and again while the database is away; meanwhile the health port says so. */
async function openPatiently(
  settings: Settings,
  overrides: Overrides & { log: Logger },
): Promise<OAuthContext & AsyncDisposable> {
  let waitingRoom: { close(): Promise<void> } | null = null;
  try {
    for (let pause = 250; ; pause = Math.min(pause * 2, 2_000)) {
      try {
        return await createContext(settings, overrides);
      } catch (error) {
        if (!(error instanceof AuthError) || error.code !== "unavailable") throw error;
        waitingRoom ??= await startWaitingRoom(settings.config);
        overrides.log.warn({ err: error.cause ?? error }, `the database is away; trying again in ${pause} ms`);
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  } finally {
    await waitingRoom?.close();
  }
}

/** Answers the health port until the service can: alive, not ready. */
async function startWaitingRoom({ internalHttp: { host, port } }: Config): Promise<{ close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const alive = request.url === "/healthz";
    response.writeHead(alive ? 200 : 503, {
      "content-type": "application/json",
      "retry-after": "2",
      connection: "close",
    });
    response.end(JSON.stringify(alive ? { status: "ok" } : { ready: false, reason: "the database is away" }));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  return { close: () => new Promise((resolve) => server.close(() => resolve())) };
}
