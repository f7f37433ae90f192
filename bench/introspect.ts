import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  BatchIntrospectRequestSchema,
  IntrospectionService,
  IntrospectRequestSchema,
  IntrospectResponseSchema,
} from "../gen/auth/v1/introspection_pb.ts";
import { freePorts, testEnvironment } from "../test/support/app.ts";
import { getTokens, internalBasic, signUp, TestBrowser } from "../test/support/flow.ts";
import type { Result } from "./run.ts";
import { loadCpu, measure, median, type Rate, serverCpu, startPinned, stop } from "./support/processes.ts";

void loadCpu;
const rounds = 5;
const seconds = 3;
const path = "/auth.v1.IntrospectionService/Introspect";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");

/** User tokens of one sign-in: each is another authorization. */
export async function makeTokens(url: string, count: number): Promise<string[]> {
  const account = await signUp(url);
  const browser = new TestBrowser();
  const tokens: string[] = [];
  while (tokens.length < count) tokens.push((await getTokens(url, account, { browser })).access_token);
  return tokens;
}

/** The service on one core, and a bare grpc-js server that answers the same messages on the same core, in turns. */
export async function withServiceAndEcho<T>(
  work: (parts: {
    url: string;
    service: { pid: number; address: string };
    echo: { pid: number; address: string };
    tokens: string[];
  }) => Promise<T>,
  count = 1_000,
): Promise<T> {
  const env = await testEnvironment({ ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" });
  const url = env["ISSUER"] ?? "";
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const grpc = `127.0.0.1:${env["GRPC_PORT"]}`;
  try {
    const tokens = await makeTokens(url, count);
    const transport = createGrpcTransport({ baseUrl: `http://${grpc}`, idleConnectionTimeoutMs: 100 });
    const client = createClient(IntrospectionService, transport);
    const answer = await client.introspect({ token: tokens[0] ?? "" }, { headers: { authorization: internalBasic } });
    if (!answer.active) throw new Error("the service does not know its own token");
    const [port] = await freePorts(1);
    const echo = await startPinned(serverCpu, "echo-server.ts", [
      String(port),
      base64(toBinary(IntrospectResponseSchema, answer)),
    ]);
    try {
      return await work({
        url,
        service: { pid: service.pid ?? 0, address: grpc },
        echo: { pid: echo.pid ?? 0, address: `127.0.0.1:${port}` },
        tokens,
      });
    } finally {
      await stop(echo);
    }
  } finally {
    await stop(service);
  }
}

/** Introspection of 1,000 warm tokens over gRPC against the echo server. */
export async function introspect(): Promise<Result> {
  return withServiceAndEcho(async ({ service, echo, tokens }) => {
    const messages = tokens.map((token) =>
      base64(toBinary(IntrospectRequestSchema, create(IntrospectRequestSchema, { token }))),
    );
    const load = { path, authorization: internalBasic, connections: 4, streams: 8, seconds, messages };
    const ours: Rate[] = [];
    const bare: Rate[] = [];
    for (let round = 0; round <= rounds; round++) {
      const one = await measure(echo.pid, "grpc-load.ts", { ...load, address: echo.address });
      const two = await measure(service.pid, "grpc-load.ts", { ...load, address: service.address });
      // the first round warms both up
      if (round > 0) {
        bare.push(one);
        ours.push(two);
      }
    }
    const rate = (rates: Rate[]) => median(rates.map(({ perCpuSecond }) => perCpuSecond));
    return {
      bench: "introspect",
      what: "warm introspection over gRPC / bare grpc-js echo, calls a second of one core",
      ours: rate(ours),
      baseline: rate(bare),
      ratio: rate(ours) / rate(bare),
      bar: 0.85,
      note: `median of ${rounds} rounds; server busy ${Math.round(median(ours.map(({ busy }) => busy)) * 100)} %, p99 ${median(ours.map(({ p99 }) => p99)).toFixed(1)} ms`,
    };
  });
}

export { BatchIntrospectRequestSchema };
