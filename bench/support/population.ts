import { createHash } from "node:crypto";
import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import type { Authorization, RefreshTokenState } from "../../src/store/authorizations.ts";

/** Rows of one statement: few enough for a progress bar, enough to be fast. */
const chunk = 50_000;
const dayMs = 86_400_000;
/** No row is older. */
export const POPULATION_AGE_MS = 30 * dayMs;
export const AUTHORIZATIONS_PER_USER = 5;

/** What all rows of a population have in common. */
export interface Common {
  readonly clientId: string;
  readonly scope: string;
  readonly passwordHash: string;
  readonly refresh: RefreshTokenState;
  /** Epoch milliseconds. */
  readonly now: number;
}

const ipAddress = "203.0.113.77";
const userAgent =
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const rotations = ";0:1790000000000;1:1790000900000;2:1790001800000";
const generation = 3;

/** Names that SQL and this program both make of a number, in no order, as random ones are. */
const uuidSql = (prefix: string, number: string) => {
  const hex = `MD5(CONCAT('${prefix}-', ${number}))`;
  return [9, 14, 19, 24].reduce((text, at) => `INSERT(${text}, ${at}, 0, '-')`, hex);
};
const hashSql = (prefix: string, number: string) => `SHA2(CONCAT('${prefix}-', ${number}), 256)`;

function uuid(prefix: string, number: number): string {
  const hex = createHash("md5").update(`${prefix}-${number}`).digest("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export const userId = (user: number) => uuid("user", user);
export const emailOf = (user: number) => `user-${user}@example.test`;
export const sessionHash = (user: number) => createHash("sha256").update(`session-${user}`).digest("hex");

/** The authorization as its row says: enough to sign its refresh token again. */
export function authorizationOf(number: number, users: number, { clientId, refresh }: Common): Authorization {
  const named = { id: uuid("authorization", number), subject: userId(number % users), clientId };
  return { ...named, refresh, generation } as Authorization;
}

interface Bulk {
  readonly table: string;
  readonly rows: number;
  /** Column to SQL expression of the row's number `seq`. */
  readonly columns: Readonly<Record<string, string>>;
}

function bulks(users: number, { clientId, scope, passwordHash, refresh, now }: Common): Bulk[] {
  const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
  const owner = `seq % ${users}`;
  const spread = `(seq * 7919 % ${POPULATION_AGE_MS})`;
  const created = `${now} - ${spread}`;
  const browser = { ip_address: text(ipAddress), user_agent: text(userAgent) };
  const end = `${now + dayMs} + ${spread}`;
  return [
    {
      table: "users",
      rows: users,
      columns: {
        uuid: uuidSql("user", "seq"),
        email: "CONCAT('user-', seq, '@example.test')",
        password_hash: text(passwordHash),
        roles: text('["USER"]'),
        event_seq: String(AUTHORIZATIONS_PER_USER + 1),
        created_at: created,
        updated_at: created,
      },
    },
    {
      table: "user_profiles",
      rows: users,
      columns: { user_id: uuidSql("user", "seq"), nickname: "CONCAT('nickname ', seq)", updated_at: created },
    },
    {
      table: "browser_session",
      rows: users,
      columns: {
        id_hash: hashSql("session", "seq"),
        user_id: uuidSql("user", "seq"),
        auth_time: created,
        ...browser,
        created_at: created,
        last_seen_at: String(now),
        expires_at: end,
      },
    },
    {
      table: "oauth2_authorization_code",
      rows: users,
      columns: {
        code_hash: hashSql("code", "seq"),
        client_id: text(clientId),
        user_id: uuidSql("user", "seq"),
        session_hash: hashSql("session", "seq"),
        redirect_uri: text("http://localhost:3000/callback"),
        scope: text(scope),
        code_challenge: text("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        auth_time: created,
        ...browser,
        created_at: created,
        expires_at: `${now} - (seq * 7919 % ${dayMs / 2})`,
        redeemed_at: created,
        authorization_id: uuidSql("authorization", "seq"),
        wrong_verifiers: "0",
      },
    },
    {
      table: "outbox",
      rows: users,
      columns: {
        event_id: uuidSql("event", "seq"),
        event_type: text("USER_LOGIN"),
        user_id: uuidSql("user", "seq"),
        seq: "1",
        lane: "seq % 16",
        status: text("sent"),
        attempts: "1",
        // a sent event has none left
        payload: "''",
        created_at: `${now} - (seq * 7919 % ${6 * dayMs})`,
        sent_at: `${now} - (seq * 7919 % ${6 * dayMs})`,
      },
    },
    authorizations(users * AUTHORIZATIONS_PER_USER, owner, end, { clientId, scope, refresh, created, browser }),
    {
      table: "session_application",
      rows: users * AUTHORIZATIONS_PER_USER,
      columns: {
        sid: uuidSql("authorization", "seq"),
        session_hash: hashSql("session", owner),
        client_id: text(clientId),
        subject: uuidSql("user", owner),
        created_at: created,
        expires_at: end,
      },
    },
  ];
}

function authorizations(
  rows: number,
  owner: string,
  end: string,
  common: Pick<Common, "clientId" | "scope" | "refresh"> & { created: string; browser: Record<string, string> },
  prefix = "authorization",
): Bulk {
  const { clientId, scope, refresh, created, browser } = common;
  return {
    table: "oauth2_authorization",
    rows,
    columns: {
      id: uuidSql(prefix, "seq"),
      grant_type: "'authorization_code'",
      client_id: `'${clientId}'`,
      subject: uuidSql("user", owner),
      session_hash: hashSql("session", owner),
      scope: `'${scope}'`,
      auth_time: created,
      ...browser,
      created_at: created,
      expires_at: end,
      refresh_jti: `'${refresh.jti}'`,
      refresh_iat: String(refresh.iat),
      refresh_exp: String(refresh.exp),
      refresh_kid: `'${refresh.kid}'`,
      generation: String(generation),
      rotations: `'${rotations}'`,
      user_epoch: "0",
    },
  };
}

function insertSql({ table, columns }: Bulk, from: number, to: number): string {
  const names = Object.keys(columns).join(", ");
  return `INSERT INTO ${table} (${names}) SELECT ${Object.values(columns).join(", ")} FROM seq_${from}_to_${to}`;
}

/**
 * Fills an empty database that the service has migrated: `users` users with five authorizations, a session, a redeemed code and a sent
 * event each. The rows are made by the server, in an order that has nothing to do with their keys, as in years of service.
 * @param progress called with a share from 0 to 1
 */
export async function populate(
  url: string,
  users: number,
  common: Common,
  progress: (share: number, table: string) => void,
): Promise<void> {
  const connection = await createConnection({ uri: url });
  try {
    // safe only here: an interrupted fill is thrown away
    await connection.query("SET SESSION unique_checks = 0, foreign_key_checks = 0");
    await connection.query("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    const all = bulks(users, common);
    const total = all.reduce((sum, { rows }) => sum + rows, 0);
    let done = 0;
    for (const bulk of all) {
      for (let from = 0; from < bulk.rows; from += chunk) {
        const to = Math.min(from + chunk, bulk.rows) - 1;
        await connection.query(insertSql(bulk, from, to));
        done += to - from + 1;
        progress(done / total, bulk.table);
      }
      await connection.query(`ANALYZE TABLE ${bulk.table}`);
    }
    await connection.query("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
  } finally {
    await connection.end();
  }
}

/** Waits until what was filled in is on disk, so that its writing does not slow down what is measured. */
export async function settle(url: string): Promise<void> {
  const connection = await createConnection({ uri: url });
  try {
    await connection.query("SET GLOBAL innodb_max_dirty_pages_pct = 0, GLOBAL innodb_max_dirty_pages_pct_lwm = 0");
    for (let tries = 0; (await dirtyPages(connection)) > 500 && tries < 3_000; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await connection.query(
      "SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT, GLOBAL innodb_max_dirty_pages_pct_lwm = DEFAULT",
    );
  } finally {
    await connection.end();
  }
}

async function dirtyPages(connection: Connection): Promise<number> {
  const [rows] = await connection.query<RowDataPacket[]>("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'");
  return Number(rows[0]?.["Value"]);
}

/** Adds authorizations whose time to be deleted has come. @param turn no two calls with the same one */
export async function addExpired(
  connection: Connection,
  count: number,
  turn: number,
  users: number,
  common: Common,
): Promise<void> {
  const created = String(common.now - 40 * dayMs);
  const browser = { ip_address: `'${ipAddress}'`, user_agent: `'${userAgent}'` };
  const end = String(common.now - dayMs);
  const own = { ...common, created, browser };
  await connection.query(
    insertSql(authorizations(count, `seq % ${users}`, end, own, "expired"), turn * count, (turn + 1) * count - 1),
  );
}
