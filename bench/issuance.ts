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
import { type MariaDb, startMariaDb } from "../test/support/mariadb.ts";
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

const spa = {
  client_id: "bench-spa",
  token_endpoint_auth_method: "none",
  redirect_uris: [portal.redirectUri],
  grant_types: ["authorization_code", "refresh_token"],
  scope: "openid profile",
  id_token_signed_response_alg: "ES256",
  first_party: true,
};

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
 * Tokens issued, against a bare program that asks the same statements and signs as many tokens on the same database, by turns: processor
 * time an operation, the program on one core, load and database on the other.
 */
export async function issuance(): Promise<readonly Figure[]> {
  const database = await startMariaDb();
  if (database.pid !== null) pin(database.pid);
  const url = await database.createDatabase();
  const env = await testEnvironment({ DATABASE_URL: url, LOG_LEVEL: "error", ACCESS_TOKEN_TTL: "3600" }, [spa]);
  const [barePort = 0] = await freePorts(1);
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const bare = await startPinned(serverCpu, "bare-issuer.ts", [String(barePort), url]);
  try {
    const base = env["ISSUER"] ?? "";
    const sides = {
      service: { port: Number(new URL(base).port), pid: service.pid ?? 0 },
      bare: { port: barePort, pid: bare.pid ?? 0 },
    };
    return [
      ...(await clientCredentials(database, sides)),
      ...(await refreshes(database, sides, base)),
      ...(await redemptions(database, sides, base)),
      ...(await keySets(database, sides)),
      ...(await logins(database, sides, base)),
    ];
  } finally {
    await Promise.all([stop(service), stop(bare)]);
    await database.stop();
  }
}

type Sides = Record<"service" | "bare", { readonly port: number; readonly pid: number }>;

const pathOf = (script: string) => new URL(`support/${script}`, import.meta.url).pathname;

function pin(pid: number): void {
  execFileSync("taskset", ["-a", "-c", "-p", loadCpu, String(pid)], { stdio: "ignore" });
}

async function clientCredentials(database: MariaDb, { service, bare }: Sides): Promise<Figure[]> {
  const body = new URLSearchParams({ grant_type: "client_credentials", scope: "auth.introspect" }).toString();
  const load = async () => ({ bodies: [body], headers: { authorization: internalBasic } });
  return compare("client credentials", database, 0.6, { ...service, load }, { ...bare, load });
}

async function keySets(database: MariaDb, { service, bare }: Sides): Promise<Figure[]> {
  const load = async () => ({ bodies: [""], path: "/oauth2/jwks", method: "GET" });
  return compare("key set", database, 0.8, { ...service, load }, { ...bare, load });
}

/** Full logins, against what one core can do of Argon2 alone, by turns. */
async function logins(database: MariaDb, { service }: Sides, base: string): Promise<Figure[]> {
  const accounts = await Promise.all(Array.from({ length: loginsAtOnce }, () => signUp(base)));
  const options = { clientId: spa.client_id, scope: spa.scope };
  const load = async () => ({ base, accounts, options, seconds: 4 });
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

async function refreshes(database: MariaDb, { service, bare }: Sides, base: string): Promise<Figure[]> {
  const account = await signUp(base);
  const browser = new TestBrowser();
  const options = { clientId: spa.client_id, scope: spa.scope, browser };
  const tokens: string[] = [];
  for (let n = 0; n < 2 * connections; n++) tokens.push((await getTokens(base, account, options)).refresh_token);
  const form = (token: string) =>
    new URLSearchParams({ grant_type: "refresh_token", client_id: spa.client_id, refresh_token: token }).toString();
  let current = tokens.slice(0, connections).map(form);
  let currentOfBare: string[] = [];
  for (const token of tokens.slice(connections)) {
    const answer = await postForm(`http://127.0.0.1:${bare.port}/first`, { sid: String(claimsOf(token)["sid"]) });
    currentOfBare.push(form(((await answer.json()) as { refresh_token: string }).refresh_token));
  }
  return compare(
    "refresh, rotated",
    database,
    0.65,
    {
      ...service,
      load: async () => ({ bodies: current, next: "refresh_token" }),
      kept: (last) => {
        current = [...last];
      },
    },
    {
      ...bare,
      load: async () => ({ bodies: currentOfBare, next: "refresh_token" }),
      kept: (last) => {
        currentOfBare = [...last];
      },
    },
  );
}

async function redemptions(database: MariaDb, { service, bare }: Sides, base: string): Promise<Figure[]> {
  const account = await signUp(base);
  const browser = new TestBrowser();
  await getTokens(base, account, { clientId: spa.client_id, scope: spa.scope, browser });
  const load = async () => {
    const bodies: string[] = [];
    const make = async () => {
      while (bodies.length < codesOfATurn) {
        const { challenge, verifier } = pkce();
        const url = authorizeUrl(base, { clientId: spa.client_id, scope: spa.scope, challenge });
        const code = new URL((await browser.get(url)).headers.get("location") ?? "").searchParams.get("code") ?? "";
        const redirect = { redirect_uri: portal.redirectUri, client_id: spa.client_id };
        bodies.push(
          new URLSearchParams({
            grant_type: "authorization_code",
            code,
            code_verifier: verifier,
            ...redirect,
          }).toString(),
        );
      }
    };
    await Promise.all(Array.from({ length: 8 }, make));
    return { bodies, once: true, seconds: 60 };
  };
  return compare("redemption of a code", database, 0.6, { ...service, load }, { ...bare, load });
}

/** Both sides by turns; the ratio is the median of those of the turns. */
async function compare(what: string, database: MariaDb, bar: number, service: Side, bare: Side): Promise<Figure[]> {
  await cost(database, service);
  await cost(database, bare);
  const costs: { readonly ours: Cost; readonly theirs: Cost }[] = [];
  for (let turn = 0; turn < turns; turn++) {
    costs.push({ ours: await cost(database, service), theirs: await cost(database, bare) });
  }
  return figuresOf(what, costs, {
    processor: { of: ({ ours }) => ours.program },
    "processor of the bare program": { of: ({ theirs }) => theirs.program },
    "bare against service": { of: ({ ours, theirs }) => theirs.program / ours.program, unit: "", atLeast: bar },
    database: { of: ({ ours }) => ours.database },
    "database of the bare program": { of: ({ theirs }) => theirs.database },
    p50: { of: ({ ours }) => ours.p50 },
    p99: { of: ({ ours }) => ours.p99 },
  });
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

async function cost(database: MariaDb, side: Side): Promise<Cost> {
  const { port, pid, load, kept, without, script = "issuance-load.ts" } = side;
  const used = () => ({
    program: cpuSeconds(pid, without),
    database: database.pid === null ? 0 : cpuSeconds(database.pid),
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
