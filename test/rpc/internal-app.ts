import { randomBytes } from "node:crypto";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { DatabaseSync } from "node:sqlite";
import { create, getOption, toBinary } from "@bufbuild/protobuf";
import { ConnectError, type Transport } from "@connectrpc/connect";
import { status as grpcStatus } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect } from "@jest/globals";
import { required_scope } from "../../gen/auth/v1/options_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { getTokens, postForm, signUp } from "../support/flow.ts";
import { bytesField, frame, RawGrpc } from "./raw-peers.ts";
import { type allMethods, transportsTo } from "./stand-ins.ts";

export const secret = "a secret of at least thirty-two characters";
export const internal = "auth.introspect auth.tokens auth.keys auth.users.read auth.users.write auth.users.admin";
export const client = (client_id: string, scope: string, more: object = {}) => ({
  client_id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  token_endpoint_auth_method: "client_secret_basic",
  scope,
  ...more,
});
export const basic = (id: string) => `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`;
export const worker = { authorization: basic("worker") };

export let app: TestApp;
export let transports: Record<string, Transport>;
export let raw: RawGrpc;
/** Good and bad bearer credentials, by what they are. */
export const bearer: Record<string, string> = {};

export const wholeScope = (method: (typeof allMethods)[number]) => getOption(method, required_scope);

/** The service with the internal API, for the tests of the file that calls this. */
export function useInternalApp(): void {
  beforeAll(start);
  afterAll(async () => {
    raw.close();
    await app.close();
  });
}

async function start(): Promise<void> {
  const scopes = internal.split(" ");
  // `bearer` outlives the tests, however long they take
  app = await startApp({ LOG_LEVEL: "info", ACCESS_TOKEN_TTL: "3600" }, [
    client("worker", internal),
    client("for-a-resource", internal, { resources: ["https://orders.example"] }),
    ...scopes.map((scope) => client(`all-but-${scope}`, scopes.filter((other) => other !== scope).join(" "))),
  ]);
  transports = transportsTo(Number(app.grpc.split(":")[1]), Number(new URL(app.internalUrl).port));
  raw = new RawGrpc(app.grpc);
  const user = await getTokens(app.url, await signUp(app.url));
  const own = async (id: string, more: object = {}) => {
    const form = { grant_type: "client_credentials", scope: internal, ...more };
    const response = await postForm(`${app.url}/oauth2/token`, form, { authorization: basic(id) });
    return ((await response.json()) as { access_token: string }).access_token;
  };
  const good = await own("worker");
  const [head = "", body = "", signature = ""] = good.split(".");
  const flipped = (text: string) => `${text.slice(0, 10)}${text[10] === "A" ? "B" : "A"}${text.slice(11)}`;
  const unsigned = Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url");
  Object.assign(bearer, {
    good,
    user: user.access_token,
    refresh: user.refresh_token,
    id: user.id_token,
    "for another audience": await own("for-a-resource", { resource: "https://orders.example" }),
    truncated: good.slice(0, -10),
    "without a signature": `${head}.${body}.`,
    "of alg none": `${unsigned}.${body}.`,
    "with another head": `${flipped(head)}.${body}.${signature}`,
    "with another body": `${head}.${flipped(body)}.${signature}`,
    "with another signature": `${head}.${body}.${flipped(signature)}`,
    "with other people's signature": `${head}.${body}.${user.access_token.split(".")[2]}`,
  });
}

export const refusalOf = (calling: Promise<unknown>): Promise<ConnectError> =>
  calling.then(
    () => {
      throw new Error("the call was answered");
    },
    (error) => ConnectError.from(error),
  );

export const post = (path: string, body: string | Uint8Array, headers: Record<string, string> = {}) =>
  fetch(`${app.internalUrl}/auth.v1.${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...worker, ...headers },
    body: body as string,
  });
export const proto = { "content-type": "application/proto" };
export const grpcCall = async (path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
  raw.call(`/auth.v1.${path}`, body, { ...worker, ...headers });
export const statusOf = async (path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
  grpcStatus[(await grpcCall(path, body, headers)).status];

export async function stillServes(): Promise<void> {
  expect(await statusOf("TokenService/GetJwks", frame(Buffer.alloc(0)))).toBe("OK");
  expect((await post("TokenService/GetJwks", "{}")).status).toBe(200);
}

/** Rows of every table, but for the leases, which the jobs of the service take at any time. */
export function rows(): Record<string, number> {
  const file = (app.env["DATABASE_URL"] ?? "").replace("sqlite:", "");
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'lease'")
      .all() as { name: string }[];
    return Object.fromEntries(
      tables.map(({ name }) => [name, Number(database.prepare(`SELECT count(*) AS n FROM "${name}"`).get()?.["n"])]),
    );
  } finally {
    database.close();
  }
}

/** Less is no sign of a reader that stands still. */
export const busyMachineMs = 5_000;

/** The longest stop of the event loop while `work` ran, milliseconds. */
export async function longestStall(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.reset();
  await work();
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.disable();
  return delay.max / 1e6;
}

export function sampleOf(schema: (typeof allMethods)[number]["input"]): Buffer {
  const fields = schema.fields.map((field) => bytesField(field.number, `value of ${field.name}`));
  return Buffer.concat([Buffer.from(toBinary(schema, create(schema))), ...fields]);
}

export function mutated(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const [what = 0, at = 0, value = 0] = randomBytes(3);
  if (copy.length === 0) return randomBytes(3);
  if (what % 3 === 0) return copy.subarray(0, at % copy.length);
  copy[at % copy.length] = value;
  return what % 3 === 1 ? copy : Buffer.concat([copy, randomBytes(5)]);
}
