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
import {
  getTokens,
  internalBasic,
  introspect as introspectHttp,
  postForm,
  signUp,
  TestBrowser,
} from "../test/support/flow.ts";
import type { Result } from "./figures.ts";
import { loadCpu, measure, median, type Rate, runLoad, serverCpu, startPinned, stop } from "./support/processes.ts";

/** Many short rounds in turns: the machine's own pace changes from one second to the next. */
const rounds = 15;
const seconds = 1;
/** Before the first round. */
const warmUpSeconds = 4;
const service = "/auth.v1.IntrospectionService";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const single = (token: string) => base64(toBinary(IntrospectRequestSchema, create(IntrospectRequestSchema, { token })));
const load = { authorization: internalBasic, connections: 4, streams: 8, seconds: 30 };

interface Server {
  readonly pid: number;
  readonly address: string;
}

interface Parts {
  readonly url: string;
  readonly ours: Server;
  readonly echo: Server;
}

/** The service on one core, and a bare grpc-js server that answers the same messages on the same core. */
async function withServiceAndEcho<T>(work: (parts: Parts) => Promise<T>): Promise<T> {
  const env = await testEnvironment({
    ACCESS_TOKEN_TTL: "3600",
    LOG_LEVEL: "error",
  });
  const url = env["ISSUER"] ?? "";
  const ours = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const address = `127.0.0.1:${env["GRPC_PORT"]}`;
  try {
    const [token = ""] = await userTokens(url, 1);
    const transport = createGrpcTransport({ baseUrl: `http://${address}`, idleConnectionTimeoutMs: 100 });
    const client = createClient(IntrospectionService, transport);
    const answer = await client.introspect({ token }, { headers: { authorization: internalBasic } });
    if (!answer.active) throw new Error("the service does not know its own token");
    const [port] = await freePorts(1);
    const bytes = base64(toBinary(IntrospectResponseSchema, answer));
    const echo = await startPinned(serverCpu, "echo-server.ts", [String(port), bytes]);
    try {
      return await work({
        url,
        ours: { pid: ours.pid ?? 0, address },
        echo: { pid: echo.pid ?? 0, address: `127.0.0.1:${port}` },
      });
    } finally {
      await stop(echo);
    }
  } finally {
    await stop(ours);
  }
}

/** Tokens of one user: each of another authorization. */
async function userTokens(url: string, count: number): Promise<string[]> {
  const account = await signUp(url);
  const browser = new TestBrowser();
  const tokens: string[] = [];
  while (tokens.length < count) tokens.push((await getTokens(url, account, { browser })).access_token);
  return tokens;
}

/** Many tokens quickly: a client's own. */
async function clientTokens(url: string, count: number): Promise<string[]> {
  const tokens: string[] = [];
  const worker = async () => {
    while (tokens.length < count) {
      const form = { grant_type: "client_credentials", scope: "auth.introspect" };
      const response = await postForm(`${url}/oauth2/token`, form, { authorization: internalBasic });
      tokens.push(((await response.json()) as { access_token: string }).access_token);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return tokens.slice(0, count);
}

interface Compared {
  readonly baseline: Rate;
  readonly ours: Rate;
  /** Median of the ratios of the rounds: the two halves of one round had the same pace. */
  readonly ratio: number;
}

type Run = (seconds: number) => Promise<Rate>;

/** Both of one round; each is first in every other round, as what runs before a measurement is part of what it finds. */
async function inTurn(
  round: number,
  one: () => Promise<Rate>,
  two: () => Promise<Rate>,
  between: () => Promise<void> = async () => undefined,
): Promise<[Rate, Rate]> {
  const [first, last] = round % 2 === 0 ? [one, two] : [two, one];
  const rates = [await first(), await between().then(last)] as const;
  return round % 2 === 0 ? [rates[0], rates[1]] : [rates[1], rates[0]];
}

/** Two loads in turns; medians. */
async function inTurns(baseline: Run, ours: Run): Promise<Compared> {
  await baseline(warmUpSeconds);
  await ours(warmUpSeconds);
  const rates: { readonly baseline: Rate[]; readonly ours: Rate[] } = { baseline: [], ours: [] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const [bare, own] = await inTurn(
      round,
      () => baseline(seconds),
      () => ours(seconds),
    );
    rates.baseline.push(bare);
    rates.ours.push(own);
    ratios.push(own.perCpuSecond / bare.perCpuSecond);
  }
  const middle = (list: Rate[]): Rate => ({
    perCpuSecond: median(list.map(({ perCpuSecond }) => perCpuSecond)),
    perSecond: median(list.map(({ perSecond }) => perSecond)),
    p99: median(list.map(({ p99 }) => p99)),
    busy: median(list.map(({ busy }) => busy)),
  });
  return { baseline: middle(rates.baseline), ours: middle(rates.ours), ratio: median(ratios) };
}

const describe = ({ busy, perSecond, p99 }: Rate) =>
  `median of ${rounds} rounds; ours ${Math.round(perSecond)} a second by the clock, ${Math.round(busy * 100)} % of its core, p99 ${p99.toFixed(1)} ms`;

/** 1,000 warm tokens over gRPC against the echo server. */
export function introspect(): Promise<Result> {
  return withServiceAndEcho(async ({ url, ours, echo }) => {
    const messages = (await userTokens(url, 1_000)).map(single);
    const run =
      ({ pid, address }: Server): Run =>
      (seconds) =>
        measure(pid, "grpc-load.ts", { ...load, seconds, path: `${service}/Introspect`, messages, address });
    const compared = await inTurns(run(echo), run(ours));
    return {
      bench: "introspect",
      what: "warm introspection over gRPC against a bare grpc-js echo, calls a processor second",
      ours: compared.ours.perCpuSecond,
      baseline: compared.baseline.perCpuSecond,
      ratio: compared.ratio,
      bar: 0.85,
      note: describe(compared.ours),
    };
  });
}

/** Tokens of the cold bench before it measures, and in each of its rounds. */
const warmUp = 15_000;
const perRound = 3_000;
const coldRounds = 8;
/** Rounds that do not count: after the pause between two rounds the engine compiles part of its code again. */
const uncounted = 3;

/** Every token new: what is left is a signature check and an echo. */
export function introspectCold(): Promise<Result> {
  return withServiceAndEcho(async ({ url, ours, echo }) => {
    const messages = (await clientTokens(url, warmUp + (uncounted + coldRounds) * perRound)).map(single);
    const path = `${service}/Introspect`;
    // warm in code, not in tokens
    for (const { address } of [ours, echo]) {
      await runLoad("grpc-load.ts", { ...load, path, messages: messages.slice(0, warmUp), total: warmUp, address });
    }
    const found: { ours: number; echo: number; verify: number; possible: number }[] = [];
    for (let round = 0; round < uncounted + coldRounds; round++) {
      const from = warmUp + round * perRound;
      const fresh = messages.slice(from, from + perRound);
      const once = { ...load, path, messages: fresh, total: fresh.length };
      let verify = 0;
      const [bare, own] = await inTurn(
        round,
        () => measure(echo.pid, "grpc-load.ts", { ...once, address: echo.address }),
        () => measure(ours.pid, "grpc-load.ts", { ...once, address: ours.address }),
        async () => {
          // the neighbouring core is as busy as it is under load: the two may share one core's units
          const [loop] = await Promise.all([
            runLoad("verify-loop.ts", {}, serverCpu),
            runLoad("verify-loop.ts", {}, loadCpu),
          ]);
          verify = loop.answered / loop.seconds;
        },
      );
      const possible = 1 / (1 / bare.perCpuSecond + 1 / verify);
      if (round >= uncounted) found.push({ ours: own.perCpuSecond, echo: bare.perCpuSecond, verify, possible });
    }
    // over all rounds: one of them is too short for the collections and the processor's changes of pace
    const mean = (of: (round: (typeof found)[number]) => number) =>
      found.length / found.reduce((sum, round) => sum + 1 / of(round), 0);
    const [cold, possible] = [mean((round) => round.ours), mean((round) => round.possible)];
    return {
      bench: "introspect-cold",
      what: "introspection of tokens never seen against 1 / (1/echo + 1/ES256 verification), calls a processor second",
      ours: cold,
      baseline: possible,
      ratio: cold / possible,
      bar: 0.8,
      note: `over ${coldRounds} rounds of ${perRound}; echo ${Math.round(mean(({ echo }) => echo))}, verification ${Math.round(mean(({ verify }) => verify))} a processor second`,
    };
  });
}

/** Tokens a second in batches of 100 against one by one. */
export function batch(): Promise<Result> {
  return withServiceAndEcho(async ({ url, ours }) => {
    const tokens = await userTokens(url, 1_000);
    const messages = tokens.map(single);
    const batches = Array.from({ length: 10 }, (_, n) =>
      base64(
        toBinary(
          BatchIntrospectRequestSchema,
          create(BatchIntrospectRequestSchema, { tokens: tokens.slice(n * 100, n * 100 + 100) }),
        ),
      ),
    );
    const run =
      (method: string, sent: string[]): Run =>
      (seconds) =>
        measure(ours.pid, "grpc-load.ts", {
          ...load,
          seconds,
          path: `${service}/${method}`,
          messages: sent,
          address: ours.address,
        });
    const compared = await inTurns(run("Introspect", messages), run("BatchIntrospect", batches));
    return {
      bench: "batch",
      what: "tokens in batches of 100 against single calls, tokens a processor second",
      ours: compared.ours.perCpuSecond * 100,
      baseline: compared.baseline.perCpuSecond,
      ratio: compared.ratio * 100,
      bar: 5,
      note: describe(compared.ours),
    };
  });
}

/** HTTP introspection against a Fastify route that parses the same form and answers a constant. */
export function introspectOverHttp(): Promise<Result> {
  return withServiceAndEcho(async ({ url, ours }) => {
    const tokens = await userTokens(url, 1_000);
    const answer = JSON.stringify(await introspectHttp(url, tokens[0] ?? ""));
    const [port = 0] = await freePorts(1);
    const constant = await startPinned(serverCpu, "constant-server.ts", [String(port), answer]);
    try {
      const bodies = tokens.map((token) => `token=${token}`);
      const options = { path: "/oauth2/introspect", authorization: internalBasic, connections: 16, bodies };
      const run =
        (pid: number, at: number): Run =>
        (seconds) =>
          measure(pid, "http-load.ts", { ...options, seconds, port: at });
      const compared = await inTurns(run(constant.pid ?? 0, port), run(ours.pid, Number(new URL(url).port)));
      return {
        bench: "introspect-http",
        what: "/oauth2/introspect against a bare Fastify route with the same form, calls a processor second",
        ours: compared.ours.perCpuSecond,
        baseline: compared.baseline.perCpuSecond,
        ratio: compared.ratio,
        bar: 0.6,
        note: describe(compared.ours),
      };
    } finally {
      await stop(constant);
    }
  });
}
