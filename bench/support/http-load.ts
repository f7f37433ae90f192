import { readFileSync } from "node:fs";
import { connect } from "node:net";

/** Load on an HTTP/1.1 endpoint over plain sockets. Run as a process: `http-load.ts OPTIONS_FILE`; prints one JSON line. */
interface Options {
  readonly port: number;
  readonly path: string;
  readonly authorization: string;
  readonly connections: number;
  readonly seconds: number;
  /** Form bodies, sent in turn. */
  readonly bodies: readonly string[];
  /** Beside `content-type`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Requests a second, however long answers take; as many as possible when absent. */
  readonly perSecond?: number;
}

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const requests = options.bodies.map(
  (body) =>
    `POST ${options.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: ${options.authorization}\r\n` +
    Object.entries(options.headers ?? {})
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("") +
    `content-type: application/x-www-form-urlencoded\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
);
let answered = 0;
let failed = 0;
let refused = 0;
let withoutHint = 0;
const refusals: number[] = [];
let next = 0;
const latencies: number[] = [];
const until = performance.now() + options.seconds * 1000;

function worker(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(options.port, "127.0.0.1");
    socket.setNoDelay(true);
    let sentAt = 0;
    let buffered = "";
    const send = () => {
      sentAt = performance.now();
      socket.write(requests[next++ % requests.length] ?? "");
    };
    const end = () => {
      socket.end();
      resolve();
    };
    socket.on("connect", () => later(send, end));
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      buffered += chunk.toString("latin1");
      const head = buffered.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(buffered)?.[1]);
      if (buffered.length < head + 4 + length) return;
      const took = performance.now() - sentAt;
      if (buffered.startsWith("HTTP/1.1 429")) {
        refused++;
        refusals.push(took);
        if (!/retry-after: \d/i.test(buffered)) withoutHint++;
      } else if (/^HTTP\/1.1 (200|401)/.test(buffered)) answered++;
      else failed++;
      buffered = "";
      latencies.push(took);
      later(send, end);
    });
  });
}

// never asleep, so that no server pays for waking its client: a slower one would pay more often
let loading = options.perSecond === undefined;
const spin = () => {
  if (loading) setImmediate(spin);
};
spin();

const idle: { readonly send: () => void; readonly end: () => void }[] = [];

/** The next request of a connection: at once, or when the next one arrives that finds it idle. */
function later(send: () => void, end: () => void): void {
  if (performance.now() >= until) end();
  else if (options.perSecond === undefined) send();
  else idle.push({ send, end });
}

/** Requests arrive at random, however long the answers to others take, as long as a connection is idle. */
function arrive(perSecond: number): void {
  let at = performance.now();
  const timer = setInterval(() => {
    if (performance.now() >= until) {
      clearInterval(timer);
      for (const { end } of idle.splice(0)) end();
      return;
    }
    for (; at <= performance.now(); at += (Math.random() * 2 * 1000) / perSecond) idle.shift()?.send();
  }, 1);
}
if (options.perSecond !== undefined) arrive(options.perSecond);

const from = performance.now();
await Promise.all(Array.from({ length: options.connections }, worker));
const seconds = (performance.now() - from) / 1000;
loading = false;
latencies.sort((a, b) => a - b);
refusals.sort((a, b) => a - b);
const refusedP99 = refusals[Math.floor(refusals.length * 0.99)] ?? 0;
const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(
  `${JSON.stringify({ answered, failed, seconds, p50: at(0.5), p99: at(0.99), refused, withoutHint, refusedP99 })}\n`,
);
