import type { Clock } from "../clock.ts";
import type { Sealer } from "../crypto/sealing.ts";
import { AuthError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { Authorizations } from "./authorizations.ts";
import { cleanUp, deleteIssued } from "./clean-up.ts";
import { Clients } from "./clients.ts";
import type { DatabaseLocation } from "./data-source.ts";
import { DeviceCodes } from "./device-codes.ts";
import { EmailVerifications } from "./email-verifications.ts";
import { FactorTables } from "./factors.ts";
import { isAway, toUnavailable } from "./faults.ts";
import type { HostLog } from "./hosts.ts";
import { issuerStore } from "./issuer.ts";
import { keyStore } from "./keys.ts";
import { leaseStore } from "./leases.ts";
import { limitStore } from "./limits.ts";
import { LogoutNotices } from "./logout-notices.ts";
import { MailQueue } from "./mail.ts";
import { migrate, openDatabase, requireMigrated } from "./migrate.ts";
import { Outbox } from "./outbox.ts";
import { pushedRequestStore } from "./pushed-requests.ts";
import { RevocationFeed } from "./revocations.ts";
import { holdServingLock } from "./serving-lock.ts";
import { Sessions } from "./sessions.ts";
import { type Database, databaseTime } from "./transaction.ts";
import { usedOnceStore } from "./used-once.ts";
import { Users } from "./users.ts";

export interface StoreOptions extends DatabaseLocation {
  readonly sealer: Sealer;
  /** The service sends mails itself: they are written beside the events. */
  readonly sendsMail?: boolean;
  readonly clock: Clock;
  readonly log: HostLog & { debug?(fields: object, message: string): void };
  /** This process serves the store: no second one may serve the same SQLite file. */
  readonly serves?: boolean;
  /** Bring the schema up to date first (default); otherwise an old schema is refused. */
  readonly migrate?: boolean;
}

/** Connections for the revocation feed and the readiness probe, which must not wait while the others are busy. */
const watchPool = 2;

/** @throws ForeignSchemaError, PendingMigrationsError, StartRefused, AuthError("unavailable") while the database is away */
export async function openStore(options: StoreOptions): Promise<Store> {
  const database = await openDatabase(options);
  let watch = database;
  let release = () => {};
  try {
    if (database.dialect !== "sqlite") watch = await openDatabase(options, watchPool, database);
    if (options.serves === true) release = holdServingLock(database);
    if (options.migrate ?? true) {
      const names = await migrate(database);
      if (names.length > 0) options.log.debug?.({ migrations: names }, "the database schema was brought up to date");
    } else {
      await requireMigrated(database);
    }
    const opened = storeOn(database, options, watch);
    const store = {
      ...opened,
      close: async () => {
        await opened.close();
        release();
      },
    };
    const offset = (await store.time()) - options.clock.now();
    if (Math.abs(offset) > 1000) options.log.warn({ offset }, "this machine's clock and the database's differ");
    return store;
  } catch (error) {
    await Promise.all([database.close(), watch.close()]);
    release();
    throw isAway(error) && !(error instanceof AuthError) ? toUnavailable(error) : error;
  }
}

export function storeOn(
  database: Database,
  { sealer, sendsMail = false }: Pick<StoreOptions, "sealer" | "sendsMail">,
  watch: Database = database,
): Store {
  const mail = new MailQueue(database, sealer, sendsMail);
  const outbox = new Outbox(database, sealer, mail);
  const feed = new RevocationFeed(database, watch);
  const notices = new LogoutNotices(database);
  const tellers = { feed, notices };
  const redemption = { database, outbox, feed };
  return {
    users: new Users(database, outbox, tellers),
    emailVerifications: new EmailVerifications(database, outbox),
    factors: new FactorTables(database, outbox),
    clients: new Clients(database, feed),
    authorizations: new Authorizations(redemption),
    sessions: new Sessions(database, outbox, tellers),
    revocations: feed,
    issuer: issuerStore(database),
    keys: keyStore(database, feed),
    pushedRequests: pushedRequestStore(database),
    deviceCodes: new DeviceCodes(redemption),
    usedOnce: usedOnceStore(database),
    outbox,
    logoutNotices: notices,
    mail,
    limits: limitStore(database),
    leases: leaseStore(database),
    async time() {
      const [row] = await watch.rows<{ now: number }>(`SELECT ${databaseTime(watch)} AS now`);
      return Number(row?.now);
    },
    cleanUp: (now, batch, broken) => cleanUp(database, now, batch, broken),
    deleteIssued: (batch) => deleteIssued(database, batch),
    load: () => database.load,
    close: async () => {
      await Promise.all([database.close(), watch.close()]);
    },
  };
}
