import { createHash, randomBytes } from "node:crypto";
import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import { hashOf } from "../src/crypto/hashes.ts";
import type { Passwords } from "../src/crypto/passwords.ts";
import type { Caller } from "../src/oauth/callers/caller-memory.ts";
import { findClient } from "../src/oauth/clients/clients.ts";
import type { OAuthContext } from "../src/oauth/context.ts";
import { exchangeToken } from "../src/oauth/token.ts";
import { introspect } from "../src/oauth/tokens/introspection.ts";
import { issueAccessToken, issueRefreshToken, repeatRefreshToken } from "../src/oauth/tokens/issuer.ts";
import { checkLogin, loginOf, storeLogin } from "../src/sessions/sessions.ts";
import type { Client } from "../src/store/clients.ts";
import { endSessions } from "../src/users/users.ts";
import { startApp, type TestApp } from "../test/support/app.ts";
import { portal } from "../test/support/flow.ts";
import { startMariaDb } from "../test/support/mariadb.ts";
import type { Figure } from "./figures.ts";
import {
  AUTHORIZATIONS_PER_USER,
  addExpired,
  authorizationOf,
  type Common,
  emailOf,
  POPULATION_AGE_MS,
  populate,
  sessionHash,
  settle,
  userId,
} from "./support/population.ts";
import { readsOf, STATEMENT_HISTORY, type StatementReads } from "./support/statements.ts";

const smallSize = 10_000;
export const LARGE_SIZE = 5_000_000;
const rounds = 900;
/** Rounds before them that are not counted: the first calls compile code and open connections. */
const warmUp = 50;
const countedRounds = 20;
/** Fresh tokens introspected in a round: it takes a tenth of a millisecond, so that few would show only what else happened. */
const introspections = 10;
const cleanUpRounds = 200;
const expiredRows = 20;
const mostRowsRead = 10;
const mostTimesSlower = 1.3;
/** Smaller than the large database, which takes about 14 GiB: some of the pages are read from disk, as in service. */
const bufferPool = "8G";

const password = "correct horse battery";
const browser = { ipAddress: "203.0.113.9", userAgent: "bench", language: "", deviceProof: undefined };
const network = "203.0.113.0/24";

/** Its refresh tokens rotate, so that each refresh writes. */
const clients = [
  { client_id: portal.clientId, redirect_uris: [portal.redirectUri], first_party: true, scope: "openid profile email" },
  {
    client_id: "internal-service",
    client_secret: "internal-service-secret-of-the-bench",
    grant_types: ["client_credentials"],
    scope: "auth.introspect",
  },
];

/** A database of some size and a service on it. */
interface Side {
  readonly app: TestApp;
  readonly ctx: OAuthContext;
  readonly url: string;
  readonly users: number;
  readonly common: Common;
  readonly connection: Connection;
  readonly client: Client;
  readonly caller: Caller;
}

/** @returns milliseconds of what is measured, each time; `round` picks the user */
type Operation = (side: Side, round: number) => Promise<number[]>;

async function timed<T>(work: () => T | Promise<T>): Promise<{ ms: number; result: T }> {
  const from = performance.now();
  const result = await work();
  return { ms: performance.now() - from, result };
}

/** Each round has its own users. Those who are signed out are others than those who refresh. */
const userOf = ({ users }: Side, round: number) =>
  2 * Math.floor((round * users) / 2 / (warmUp + rounds + countedRounds));
const otherUserOf = (side: Side, round: number) => userOf(side, round) + 1;

const tokenRequest = (parameters: Record<string, string>) => ({ parameters, authorization: null, network, dpop: null });

const operations: Record<string, Operation> = {
  async refresh(side, round) {
    const token = repeatRefreshToken(side.ctx, authorizationOf(userOf(side, round), side.users, side.common));
    const form = { grant_type: "refresh_token", refresh_token: String(token), client_id: portal.clientId };
    return [(await timed(() => exchangeToken(side.ctx, tokenRequest(form)))).ms];
  },
  async introspection(side, round) {
    const { ctx, users, common, caller, client } = side;
    const authorization = { ...authorizationOf(userOf(side, round), users, common), resource: null, userEpoch: 0 };
    const times: number[] = [];
    for (let n = 0; n < introspections; n++) {
      const token = issueAccessToken(ctx, client, authorization, null, common.scope, null);
      const { ms, result } = await timed(() => introspect(ctx, caller, token));
      if (!result.active) throw new Error("a fresh token is not active");
      times.push(ms);
    }
    return times;
  },
  async "code redemption"(side, round) {
    const user = userOf(side, round);
    const code = randomBytes(32).toString("base64url");
    const verifier = randomBytes(32).toString("base64url");
    const now = side.ctx.clock.now();
    const created = await side.ctx.store.authorizations.createCode({
      codeHash: hashOf(code),
      clientId: portal.clientId,
      userId: userId(user),
      sessionHash: sessionHash(user),
      redirectUri: portal.redirectUri,
      scope: side.common.scope,
      nonce: null,
      claims: null,
      dpopJkt: null,
      codeChallenge: createHash("sha256").update(verifier).digest("base64url"),
      resource: null,
      authTime: now,
      methods: ["pwd"],
      acr: "urn:auth-service:acr:password",
      ipAddress: browser.ipAddress,
      userAgent: browser.userAgent,
      createdAt: now,
      expiresAt: now + 60_000,
      clientEpoch: 0,
    });
    if (created !== "created") throw new Error(`no code: ${created}`);
    const form = {
      grant_type: "authorization_code",
      code,
      code_verifier: verifier,
      redirect_uri: portal.redirectUri,
      client_id: portal.clientId,
    };
    return [(await timed(() => exchangeToken(side.ctx, tokenRequest(form)))).ms];
  },
  async "login without hashing"(side, round) {
    const email = emailOf(userOf(side, round));
    const passwords = { refuseWhenFull() {}, verify: async () => true, isOutdated: () => false };
    const ctx = { ...side.ctx, passwords: passwords as unknown as Passwords };
    const login = async () => {
      const user = await checkLogin(ctx, { email, password, browser });
      return storeLogin(ctx, loginOf(ctx, user, { browser, replaces: null, formId: null }));
    };
    return [(await timed(login)).ms];
  },
  async "sign out everywhere"(side, round) {
    return [(await timed(() => endSessions(side.ctx, userId(otherUserOf(side, round))))).ms];
  },
  async "clean-up"(side, round) {
    await addExpired(side.connection, expiredRows, round, side.users, side.common);
    const { ms, result } = await timed(() => side.ctx.store.cleanUp(side.ctx.clock.now(), 500));
    // the service's own turn may have been faster
    return result < expiredRows ? [] : [ms];
  },
};

/** @param size authorizations of the large database */
export async function growth(size = LARGE_SIZE): Promise<readonly Figure[]> {
  const options = ["--innodb-log-file-size=2G", `--innodb-buffer-pool-size=${bufferPool}`, ...STATEMENT_HISTORY];
  const database = await startMariaDb(options);
  const sides: Side[] = [];
  try {
    for (const authorizations of [smallSize, size]) {
      sides.push(await openSide(await database.createDatabase(), Math.floor(authorizations / AUTHORIZATIONS_PER_USER)));
    }
    const [small, large] = sides as [Side, Side];
    const times = await takeTurns(small, large);
    return [
      { name: "authorizations, small and large database", value: smallSize, unit: `, ${size}`, bar: null },
      { name: "users, small and large database", value: small.users, unit: `, ${large.users}`, bar: null },
      { name: "buffer pool", value: Number.parseInt(bufferPool, 10), unit: "GiB", bar: null },
      ...Object.entries(times).flatMap(([name, taken]) => figuresOf(name, taken)),
      ...(await bytesOf(large)),
      ...(await readFigures(large)),
    ];
  } finally {
    for (const { app, connection } of sides) {
      await connection.end();
      await app.close();
    }
    await database.stop();
  }
}

async function openSide(url: string, users: number): Promise<Side> {
  const settings = { DATABASE_URL: url, ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" };
  await (await startApp(settings, clients)).close();
  const connection = await createConnection({ uri: url });
  // what an older client of the same id was given counts no longer
  await connection.query("UPDATE oauth2_registered_client SET created_at = created_at - ?", [POPULATION_AGE_MS]);
  const app = await startApp(settings, clients);
  const ctx = app.context;
  const now = ctx.clock.now();
  const [client, internal] = await Promise.all([findClient(ctx, portal.clientId), findClient(ctx, "internal-service")]);
  if (client === null || internal === null) throw new Error("the clients are missing");
  const named = { id: "", subject: "", clientId: portal.clientId };
  const common: Common = {
    clientId: portal.clientId,
    scope: client.metadata.scope,
    passwordHash: await ctx.passwords.hash(password),
    refresh: issueRefreshToken(ctx, named, 0, Math.floor(now / 1000) + 60 * 86_400).state,
    now,
  };
  await populate(url, users, common, showProgress(users * AUTHORIZATIONS_PER_USER));
  await settle(url);
  const caller = { client: internal, scopes: new Set(internal.metadata.scope.split(" ")) };
  return { app, ctx, url, users, common, connection, client, caller };
}

/** On a terminal one line that fills up, elsewhere a line for each tenth. */
function showProgress(authorizations: number): (share: number, table: string) => void {
  let shown = -1;
  return (share, table) => {
    const step = Math.floor(share * (process.stderr.isTTY ? 100 : 10));
    if (step === shown) return;
    shown = step;
    const bar = "#".repeat(Math.round(share * 30)).padEnd(30);
    const line = `  ${authorizations} authorizations [${bar}] ${String(Math.floor(share * 100)).padStart(3)} %  ${table}`;
    process.stderr.write(process.stderr.isTTY ? `\r${line.padEnd(90)}${share < 1 ? "" : "\n"}` : `${line}\n`);
  };
}

interface Taken {
  readonly small: number[];
  readonly large: number[];
}

/** Every operation once on each database, one after the other: what else the machine does meets both. */
async function takeTurns(small: Side, large: Side): Promise<Record<string, Taken>> {
  const times = Object.fromEntries(
    Object.keys(operations).map((name): [string, Taken] => [name, { small: [], large: [] }]),
  );
  for (let round = 0; round < rounds + warmUp; round++) {
    for (const [name, operation] of Object.entries(operations)) {
      if (name === "clean-up" && round >= cleanUpRounds + warmUp) continue;
      const turns = [
        { side: small, taken: times[name]?.small },
        { side: large, taken: times[name]?.large },
      ];
      for (const { side, taken } of round % 2 === 0 ? turns : turns.reverse()) {
        const ms = await operation(side, round);
        if (round >= warmUp) taken?.push(...ms);
      }
    }
  }
  return times;
}

function figuresOf(name: string, { small, large }: Taken): Figure[] {
  const at = (times: readonly number[], share: number) =>
    [...times].sort((a, b) => a - b)[Math.floor(times.length * share)] ?? 0;
  const figure = (what: string, value: number, unit: string, bar: number | null): Figure => {
    return { name: `${name}, ${what}`, value: Number(value.toFixed(2)), unit, bar };
  };
  return [
    figure("p50 small", at(small, 0.5), "ms", null),
    figure("p50 large", at(large, 0.5), "ms", null),
    figure("p99 small", at(small, 0.99), "ms", null),
    figure("p99 large", at(large, 0.99), "ms", null),
    figure("p99 large to small", at(large, 0.99) / at(small, 0.99), "", mostTimesSlower),
  ];
}

/** What a row takes on disk, its indexes included: what docs/scale.md counts with. */
async function bytesOf({ connection, url }: Side): Promise<Figure[]> {
  const [tables] = await connection.query<RowDataPacket[]>(
    `SELECT table_name AS name, table_rows AS count, data_length AS data, index_length AS indexes FROM information_schema.tables
     WHERE table_schema = ? AND table_rows > 1000 ORDER BY data_length + index_length DESC`,
    [new URL(url).pathname.slice(1)],
  );
  return tables.flatMap(({ name, count, data, indexes }) => [
    { name: `bytes a row, ${name}`, value: Math.round(Number(data) / Number(count)), unit: "bytes", bar: null },
    {
      name: `bytes a row, indexes of ${name}`,
      value: Math.round(Number(indexes) / Number(count)),
      unit: "bytes",
      bar: null,
    },
  ]);
}

async function readFigures(large: Side): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [name, operation] of Object.entries(operations)) {
    const reads = await readsOf(large.url, async () => {
      for (let round = 0; round < countedRounds; round++) await operation(large, rounds + warmUp + round);
    });
    const [worst] = reads
      .filter(isOfOperation)
      .map(readByOne)
      .sort((a, b) => b.rows - a.rows);
    figures.push({ name: `${name}, rows read by a statement`, value: worst?.rows ?? 0, unit: "", bar: mostRowsRead });
    if (worst !== undefined && worst.rows > mostRowsRead) {
      process.stderr.write(`  ${name}: ${worst.rows} rows read by ${worst.statement}\n`);
    }
  }
  return figures;
}

/** A statement that deletes a batch has to read it: it is measured by the row. */
function readByOne({ statement, most, read, affected }: StatementReads): { statement: string; rows: number } {
  const inBatches = statement.startsWith("DELETE") && affected > mostRowsRead;
  return { statement, rows: inBatches ? Math.ceil(read / affected) : most };
}

/**
 * Not of an operation: the feed's poll, which runs beside it and reads what was revoked within its overlap, whatever else the tables hold;
 * and what this bench inserts.
 */
const isOfOperation = ({ statement }: StatementReads) =>
  !/FROM `revocation` WHERE ID > \?/i.test(statement) && !/FROM `?seq_/i.test(statement);
