import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import { IntrospectRequestSchema } from "../gen/auth/v1/introspection_pb.ts";
import { UserService } from "../gen/auth/v1/user_pb.ts";
import { testEnvironment } from "../test/support/app.ts";
import { claimsOf, getTokens, internalBasic, introspect, refresh, signUp, type Tokens } from "../test/support/flow.ts";
import { internalTransport } from "../test/support/grpc.ts";
import { type MariaDb, startMariaDb } from "../test/support/mariadb.ts";
import type { Figure } from "./figures.ts";
import { runLoad, serverCpu, startPinned, stop } from "./support/processes.ts";

const authorizations = 20_000;
const signOutsAtOnce = 48;
const loadSeconds = 12;
/** Loads taken by turns, without and with the storm. */
const turns = 3;

interface Service {
  readonly url: string;
  readonly grpc: string;
  readonly databaseUrl: string;
}

type Users = ReturnType<typeof createClient<typeof UserService>>;

/** What ends everything of a user, at the users' sizes that hurt: one user of 20,000 authorizations, and 48 sign-outs at once. */
export async function storms(): Promise<readonly Figure[]> {
  const database = await startMariaDb();
  try {
    return await onService(database, async (service) => [
      ...(await endUsersOfManyAuthorizations(service)),
      ...(await introspectBesideSignOuts(service)),
    ]);
  } finally {
    await database.stop();
  }
}

async function onService<T>(database: MariaDb, work: (service: Service) => Promise<T>): Promise<T> {
  const databaseUrl = await database.createDatabase();
  const env = await testEnvironment({ DATABASE_URL: databaseUrl, ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" });
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  try {
    return await work({ url: env["ISSUER"] ?? "", grpc: `127.0.0.1:${env["GRPC_PORT"]}`, databaseUrl });
  } finally {
    await stop(service);
  }
}

async function endUsersOfManyAuthorizations(service: Service): Promise<Figure[]> {
  const users = createClient(UserService, internalTransport(service.grpc));
  const ways: Record<string, (uuid: string, password: string) => Promise<unknown>> = {
    "sign out everywhere": (uuid) => users.endSessions({ uuid }),
    "password change": (uuid, password) =>
      users.changePassword({ uuid, currentPassword: password, newPassword: "another horse battery" }),
    disable: (uuid) => users.disableUser({ uuid }),
    delete: (uuid) => users.deleteUser({ uuid }),
  };
  const figures: Figure[] = [];
  for (const [name, end] of Object.entries(ways)) {
    const { uuid, password, tokens } = await userOfMany(service);
    const from = performance.now();
    await end(uuid, password);
    const ms = Math.round(performance.now() - from);
    if ((await introspect(service.url, tokens.access_token))["active"] !== false)
      throw new Error(`${name}: still active`);
    if ((await refresh(service.url, tokens.refresh_token)).status !== 401) throw new Error(`${name}: still refreshes`);
    figures.push({ name: `${name}, ${authorizations} authorizations`, value: ms, unit: "ms", bar: 1_000 });
  }
  return figures;
}

async function userOfMany({ url, databaseUrl }: Service): Promise<{ uuid: string; password: string; tokens: Tokens }> {
  const account = await signUp(url);
  const tokens = await getTokens(url, account);
  await multiply(databaseUrl, String(claimsOf(tokens.access_token)["sid"]));
  return { ...account, tokens };
}

/** Copies an authorization, and its place in the session, under ids of their own. */
async function multiply(databaseUrl: string, sid: string): Promise<void> {
  const connection = await createConnection({ uri: databaseUrl });
  try {
    for (const [table, key] of [
      ["oauth2_authorization", "id"],
      ["session_application", "sid"],
    ] as const) {
      const [columns] = await connection.query<RowDataPacket[]>(
        `SELECT column_name AS name FROM information_schema.columns
         WHERE table_schema = DATABASE() AND table_name = ? AND column_name <> ?`,
        [table, key],
      );
      const names = columns.map(({ name }) => String(name)).join(", ");
      // the same ids in both
      await connection.query(
        `INSERT INTO ${table} (${key}, ${names})
         SELECT CONCAT(LPAD(HEX(seq), 8, '0'), SUBSTRING(?, 9)), ${names} FROM ${table}, seq_1_to_${authorizations - 1} WHERE ${key} = ?`,
        [sid, sid],
      );
    }
  } finally {
    await connection.end();
  }
}

async function introspectBesideSignOuts(service: Service): Promise<Figure[]> {
  const { uuid } = await userOfMany(service);
  const other = await getTokens(service.url, await signUp(service.url));
  const message = toBinary(IntrospectRequestSchema, create(IntrospectRequestSchema, { token: other.access_token }));
  const load = () =>
    runLoad("grpc-load.ts", {
      address: service.grpc,
      path: "/auth.v1.IntrospectionService/Introspect",
      authorization: internalBasic,
      connections: 2,
      streams: 1,
      perSecond: 200,
      seconds: loadSeconds,
      warmUp: 2,
      messages: [Buffer.from(message).toString("base64")],
    });
  const users = createClient(UserService, internalTransport(service.grpc));
  await load();
  const idle: number[] = [];
  const busy: number[] = [];
  let failed = 0;
  let signOuts = 0;
  for (let turn = 0; turn < turns; turn++) {
    idle.push((await load()).p99);
    const storm = new Storm(users, uuid);
    const beside = await load();
    signOuts += await storm.end();
    busy.push(beside.p99);
    failed += beside.failed;
  }
  const middle = (values: number[]) => Number((values.sort((a, b) => a - b)[Math.floor(turns / 2)] ?? 0).toFixed(2));
  const [without, during] = [middle(idle), middle(busy)];
  return [
    { name: "introspection p99, no sign-outs", value: without, unit: "ms", bar: null },
    { name: `introspection p99, ${signOutsAtOnce} sign-outs at once`, value: during, unit: "ms", bar: null },
    { name: "ratio of the two", value: Number((during / without).toFixed(2)), unit: "", bar: 2 },
    { name: "sign-outs meanwhile", value: signOuts, unit: "", bar: null },
    { name: "introspections that failed", value: failed, unit: "", bar: 0 },
  ];
}

/** One user's sign-outs everywhere, always 48 of them under way. */
class Storm {
  readonly #workers: Promise<number>[];
  #ends = false;

  constructor(users: Users, uuid: string) {
    this.#workers = Array.from({ length: signOutsAtOnce }, () => this.#work(users, uuid));
  }

  async #work(users: Users, uuid: string): Promise<number> {
    let done = 0;
    while (!this.#ends) {
      // those that are told to come back do so at once, as an attacker would
      const ended = await users.endSessions({ uuid }).then(
        () => true,
        () => false,
      );
      if (ended) done++;
    }
    return done;
  }

  /** @returns how many there were */
  async end(): Promise<number> {
    this.#ends = true;
    const counts = await Promise.all(this.#workers);
    return counts.reduce((sum, each) => sum + each, 0);
  }
}
