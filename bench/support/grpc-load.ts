import { readFileSync } from "node:fs";
import http2 from "node:http2";

/**
 * Load on a gRPC method over raw HTTP/2, cheaper than any gRPC client, so that one core of load fills one core of server.
 * Run as a process: `grpc-load.ts OPTIONS_FILE`; prints one JSON line.
 */
interface Options {
  readonly address: string;
  readonly path: string;
  readonly authorization: string;
  readonly connections: number;
  readonly streams: number;
  readonly seconds: number;
  /** Seconds at the start whose latencies do not count: this process compiles its own code then. */
  readonly warmUp?: number;
  /** Request messages, base64, sent in turn. */
  readonly messages: readonly string[];
  /** Stop after so many calls instead of after `seconds`. */
  readonly total?: number;
  /** Calls a second, however long answers take; as many as possible when absent. */
  readonly perSecond?: number;
}

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const frames = options.messages.map((message) => {
  const body = Buffer.from(message, "base64");
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
});

let answered = 0;
let failed = 0;
let bytes = 0;
let next = 0;
const latencies: number[] = [];
const countFrom = performance.now() + (options.warmUp ?? 0) * 1000;
const until = performance.now() + options.seconds * 1000;

function call(session: http2.ClientHttp2Session): Promise<void> {
  return new Promise((resolve) => {
    const from = performance.now();
    const stream = session.request(
      {
        ":method": "POST",
        ":path": options.path,
        "content-type": "application/grpc",
        te: "trailers",
        authorization: options.authorization,
      },
      { endStream: false },
    );
    stream.on("trailers", (trailers) => {
      if (trailers["grpc-status"] === "0") answered++;
      else failed++;
    });
    stream.on("response", (headers) => {
      if (headers["grpc-status"] !== undefined && headers["grpc-status"] !== "0") failed++;
    });
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on("error", () => failed++);
    stream.on("close", () => {
      if (from >= countFrom) latencies.push(performance.now() - from);
      resolve();
    });
    stream.end(frames[next++ % frames.length]);
  });
}

/** An open model: a call starts when it is due, not when the one before was answered. */
async function openModel(session: http2.ClientHttp2Session, perSecond: number): Promise<void> {
  const pending: Promise<void>[] = [];
  for (let due = performance.now(); due < until; due += 1000 / perSecond) {
    const early = due - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    pending.push(call(session));
  }
  await Promise.all(pending);
}

async function worker(session: http2.ClientHttp2Session): Promise<void> {
  if (options.perSecond !== undefined) {
    return openModel(session, options.perSecond / options.connections / options.streams);
  }
  while (options.total === undefined ? performance.now() < until : next < options.total) await call(session);
}

// never asleep, so that no server pays for waking its client: a slower one would pay more often
let loading = options.perSecond === undefined;
const spin = () => {
  if (loading) setImmediate(spin);
};
spin();

const sessions = Array.from({ length: options.connections }, () => http2.connect(`http://${options.address}`));
const from = performance.now();
await Promise.all(sessions.flatMap((session) => Array.from({ length: options.streams }, () => worker(session))));
const seconds = (performance.now() - from) / 1000;
loading = false;
for (const session of sessions) session.close();
latencies.sort((a, b) => a - b);
const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(`${JSON.stringify({ answered, failed, seconds, bytes, p50: at(0.5), p99: at(0.99) })}\n`);
