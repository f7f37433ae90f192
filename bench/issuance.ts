import { execFileSync } from "node:child_process";
import { testEnvironment } from "../test/support/app.ts";
import {
  authorizeUrl,
  claimsOf,
  getTokens,
  internalBasic,
  pkce,
  portal,
  postForm,
  signUp,
  TestBrowser,
} from "../test/support/flow.ts";
import { startMariaDb } from "../test/support/mariadb.ts";
import { freePorts } from "../test/support/ports.ts";
import type { Figure } from "./figures.ts";
import {
  cpuSeconds,
  type Load,
  loadCpu,
  median,
  onCore,
  runLoad,
  serverCpu,
  startPinned,
  stop,
} from "./support/processes.ts";

const connections = 16;
const turns = 6;
const secondsOfATurn = 2;
const codesOfATurn = 700;
const loginsAtOnce = 4;

const deviceCodeGrant = "urn:ietf:params:oauth:grant-type:device_code";
const spa = {
  client_id: "bench-spa",
  token_endpoint_auth_method: "none",
  redirect_uris: [portal.redirectUri],
  grant_types: ["authorization_code", "refresh_token", deviceCodeGrant],
  scope: "openid profile",
  id_token_signed_response_alg: "ES256",
  first_party: true,
};

const ofSpa = { clientId: spa.client_id, scope: spa.scope };

/** What is measured: a process, and how it is loaded. */
interface Side {
  readonly port: number;
  readonly pid: number;
  readonly load: () => Promise<object>;
  /** The load's script; that of single requests unless it is named. */
  readonly script?: string;
  /** Threads whose processor time is left out, by name. */
  readonly without?: string;
  /** Told the requests that the load ended with. */
  readonly kept?: (last: readonly string[]) => void;
}

interface Cost {
  /** Milliseconds of processor an operation, of the program and of the database. */
  readonly program: number;
  readonly database: number;
  /** By the clock. */
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

/**
 * What an authorization server issues, against a bare program that asks the same statements and signs as many tokens on the same database,
 * by turns: processor time an operation, the program on one core, load and database on the other. All of it on MariaDB, and what asks the
 * database on SQLite, which is in the program.
 */
export async function issuance(): Promise<readonly Figure[]> {
  const mariaDb = await startMariaDb();
  if (mariaDb.pid !== null) pin(mariaDb.pid);
  try {
    const onMariaDb = await withSides({ DATABASE_URL: await mariaDb.createDatabase() }, mariaDb.pid, async (bench) => [
      ...(await clientCredentials(bench)),
      ...(await keySets(bench)),
      ...(await asked(bench)),
      ...(await logins(bench)),
    ]);
    const onSqlite = await withSides({}, null, asked);
    return [...onMariaDb, ...onSqlite.map((figure) => ({ ...figure, name: `SQLite, ${figure.name}` }))];
  } finally {
    await mariaDb.stop();
  }
}

/** What a bench of one engine is given. */
interface Bench {
  /** The service's issuer. */
  readonly base: string;
  readonly service: Process;
  readonly bare: Process;
  /** The database's process; null: it is in the program. */
  readonly database: number | null;
}

type Process = Pick<Side, "port" | "pid">;

async function withSides(
  settings: Record<string, string>,
  database: number | null,
  work: (bench: Bench) => Promise<Figure[]>,
): Promise<Figure[]> {
  const env = await testEnvironment({ LOG_LEVEL: "error", ACCESS_TOKEN_TTL: "3600", ...settings }, [spa]);
  const [barePort = 0] = await freePorts(1);
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const bare = await startPinned(serverCpu, "bare-issuer.ts", [String(barePort), env["DATABASE_URL"] ?? ""]);
  try {
    const base = env["ISSUER"] ?? "";
    return await work({
      base,
      service: { port: Number(new URL(base).port), pid: service.pid ?? 0 },
      bare: { port: barePort, pid: bare.pid ?? 0 },
      database,
    });
  } finally {
    await Promise.all([stop(service), stop(bare)]);
  }
}

/** What asks the database. */
async function asked(bench: Bench): Promise<Figure[]> {
  return [
    ...(await refreshes(bench)),
    ...(await redemptions(bench)),
    ...(await signedIn(bench)),
    ...(await pushed(bench)),
    ...(await polls(bench)),
  ];
}

const pathOf = (script: string) => new URL(`support/${script}`, import.meta.url).pathname;

function pin(pid: number): void {
  execFileSync("taskset", ["-a", "-c", "-p", loadCpu, String(pid)], { stdio: "ignore" });
}

async function clientCredentials(bench: Bench): Promise<Figure[]> {
  const body = new URLSearchParams({ grant_type: "client_credentials", scope: "auth.introspect" }).toString();
  const load = async () => ({ bodies: [body], headers: { authorization: internalBasic } });
  return compare("client credentials", bench, 0.6, load);
}

async function keySets(bench: Bench): Promise<Figure[]> {
  const load = async () => ({ bodies: [""], path: "/oauth2/jwks", method: "GET" });
  return compare("key set", bench, 0.8, load);
}

/** A code for a browser that is signed in already: nobody types anything. */
async function signedIn(bench: Bench): Promise<Figure[]> {
  const browser = await signedInBrowser(bench.base);
  const { pathname, search } = new URL(authorizeUrl(bench.base, { ...ofSpa, challenge: pkce().challenge }));
  const cookie = [...browser.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const load = async () => ({
    bodies: [""],
    path: `${pathname}${search}`,
    method: "GET",
    headers: { cookie },
    status: 302,
  });
  return compare("code for a browser that is signed in", bench, null, load);
}

async function pushed(bench: Bench): Promise<Figure[]> {
  const { searchParams } = new URL(authorizeUrl(bench.base, { ...ofSpa, challenge: pkce().challenge }));
  const load = async () => ({ bodies: [searchParams.toString()], path: "/oauth2/par", status: 201 });
  return compare("pushed request", bench, null, load);
}

/** A device asks once an interval whether its person has decided, so each code is good for one question here. */
async function polls(bench: Bench): Promise<Figure[]> {
  const load = async () => {
    const bodies = await many(async () => {
      const answer = await postForm(`${bench.base}/oauth2/device_authorization`, {
        client_id: spa.client_id,
        scope: spa.scope,
      });
      const { device_code } = (await answer.json()) as { device_code: string };
      return new URLSearchParams({ grant_type: deviceCodeGrant, client_id: spa.client_id, device_code }).toString();
    });
    return { bodies, once: true, seconds: 60, status: 400 };
  };
  return compare("device's question", bench, null, load);
}

/** As many of something as a turn uses up. */
async function many(make: () => Promise<string>): Promise<string[]> {
  const made: string[] = [];
  const worker = async () => {
    while (made.length < codesOfATurn) made.push(await make());
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return made;
}

async function signedInBrowser(base: string): Promise<TestBrowser> {
  const browser = new TestBrowser();
  await getTokens(base, await signUp(base), { ...ofSpa, browser });
  return browser;
}

/** Full logins, against what one core can do of Argon2 alone, by turns. */
async function logins({ base, service, database }: Bench): Promise<Figure[]> {
  const accounts = await Promise.all(Array.from({ length: loginsAtOnce }, () => signUp(base)));
  const load = async () => ({ base, accounts, options: ofSpa, seconds: 4 });
  const side: Side = { ...service, script: "login-load.ts", without: "libuv-worker", load };
  const turn = async () => {
    const [program, args] = onCore(serverCpu, [process.execPath, pathOf("bare-argon2.ts")]);
    const bare = JSON.parse(execFileSync(program, args, { encoding: "utf8" })) as { perSecond: number };
    return { bare, ours: await cost(database, side) };
  };
  await turn();
  return figuresOf("login", [await turn(), await turn(), await turn()], {
    "logins a second against bare Argon2": {
      of: ({ ours, bare }) => ours.perSecond / bare.perSecond,
      unit: "",
      atLeast: 0.9,
    },
    "processor without hashing": { of: ({ ours }) => ours.program, bar: 2.5 },
    database: { of: ({ ours }) => ours.database },
    p50: { of: ({ ours }) => ours.p50 },
    p99: { of: ({ ours }) => ours.p99 },
  });
}

async function refreshes(bench: Bench): Promise<Figure[]> {
  const account = await signUp(bench.base);
  const options = { ...ofSpa, browser: new TestBrowser() };
  const tokens: string[] = [];
  for (let n = 0; n < 2 * connections; n++) tokens.push((await getTokens(bench.base, account, options)).refresh_token);
  const form = (token: string) =>
    new URLSearchParams({ grant_type: "refresh_token", client_id: spa.client_id, refresh_token: token }).toString();
  const current: Record<keyof Sides, readonly string[]> = { service: tokens.slice(0, connections).map(form), bare: [] };
  for (const token of tokens.slice(connections)) {
    const answer = await postForm(`http://127.0.0.1:${bench.bare.port}/first`, { sid: String(claimsOf(token)["sid"]) });
    const { refresh_token } = (await answer.json()) as { refresh_token: string };
    current.bare = [...current.bare, form(refresh_token)];
  }
  return compare(
    "refresh, rotated",
    bench,
    0.65,
    async (side) => ({ bodies: current[side], next: "refresh_token" }),
    (side, last) => {
      current[side] = [...last];
    },
  );
}

async function redemptions(bench: Bench): Promise<Figure[]> {
  const browser = await signedInBrowser(bench.base);
  const load = async () => {
    const bodies = await many(async () => {
      const { challenge, verifier } = pkce();
      const answer = await browser.get(authorizeUrl(bench.base, { ...ofSpa, challenge }));
      const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
      const redirect = { redirect_uri: portal.redirectUri, client_id: spa.client_id };
      const form = { grant_type: "authorization_code", code, code_verifier: verifier, ...redirect };
      return new URLSearchParams(form).toString();
    });
    return { bodies, once: true, seconds: 60 };
  };
  return compare("redemption of a code", bench, 0.6, load);
}

type Sides = Pick<Bench, "service" | "bare">;

/**
 * Both sides by turns; the ratio is the median of those of the turns.
 * @param bar of the ratio; null where there is no such promise
 */
async function compare(
  what: string,
  { service, bare, database }: Bench,
  bar: number | null,
  load: (side: keyof Sides) => Promise<object>,
  kept: (side: keyof Sides, last: readonly string[]) => void = () => {},
): Promise<Figure[]> {
  const sideOf = (side: keyof Sides, process: Process): Side => ({
    ...process,
    load: () => load(side),
    kept: (last) => kept(side, last),
  });
  const [ours, theirs] = [sideOf("service", service), sideOf("bare", bare)];
  await cost(database, ours);
  await cost(database, theirs);
  const costs: { readonly ours: Cost; readonly theirs: Cost }[] = [];
  for (let turn = 0; turn < turns; turn++) {
    costs.push({ ours: await cost(database, ours), theirs: await cost(database, theirs) });
  }
  const figures = figuresOf(what, costs, {
    processor: { of: ({ ours }) => ours.program },
    "processor of the bare program": { of: ({ theirs }) => theirs.program },
    "bare against service": {
      of: ({ ours, theirs }) => theirs.program / ours.program,
      unit: "",
      ...(bar === null ? {} : { atLeast: bar }),
    },
    database: { of: ({ ours }) => ours.database },
    "database of the bare program": { of: ({ theirs }) => theirs.database },
    p50: { of: ({ ours }) => ours.p50 },
    p99: { of: ({ ours }) => ours.p99 },
  });
  return database === null ? figures.filter(({ name }) => !name.includes(": database")) : figures;
}

interface Wanted<Turn> {
  readonly of: (turn: Turn) => number;
  /** Milliseconds unless it is named. */
  readonly unit?: string;
  readonly bar?: number;
  readonly atLeast?: number;
}

/** The median over the turns of everything that is wanted of them, by name. */
function figuresOf<Turn>(
  what: string,
  taken: readonly Turn[],
  wanted: Readonly<Record<string, Wanted<Turn>>>,
): Figure[] {
  return Object.entries(wanted).map(([name, { of, unit = "ms", bar = null, atLeast }]) => {
    const value = Math.round(median(taken.map(of)) * 1000) / 1000;
    return { name: `${what}: ${name}`, value, unit, bar, ...(atLeast === undefined ? {} : { atLeast }) };
  });
}

async function cost(database: number | null, side: Side): Promise<Cost> {
  const { port, pid, load, kept, without, script = "issuance-load.ts" } = side;
  const used = () => ({
    program: cpuSeconds(pid, without),
    database: database === null ? 0 : cpuSeconds(database),
  });
  const options = { port, path: "/oauth2/token", headers: {}, connections, seconds: secondsOfATurn, ...(await load()) };
  const before = used();
  const done = (await runLoad(script, options)) as Load & { last?: string[] };
  const after = used();
  kept?.(done.last ?? []);
  const { answered, seconds, p50, p99 } = done;
  const eachOf = (kind: "program" | "database") => ((after[kind] - before[kind]) / answered) * 1000;
  return { program: eachOf("program"), database: eachOf("database"), perSecond: answered / seconds, p50, p99 };
}
