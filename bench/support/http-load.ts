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
}

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const requests = options.bodies.map(
  (body) =>
    `POST ${options.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: ${options.authorization}\r\n` +
    `content-type: application/x-www-form-urlencoded\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
);
let answered = 0;
let failed = 0;
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
    socket.on("connect", send);
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      buffered += chunk.toString("latin1");
      const head = buffered.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(buffered)?.[1]);
      if (buffered.length < head + 4 + length) return;
      if (buffered.startsWith("HTTP/1.1 200")) answered++;
      else failed++;
      buffered = "";
      latencies.push(performance.now() - sentAt);
      if (performance.now() < until) return send();
      socket.end();
      resolve();
    });
  });
}

// never asleep, so that no server pays for waking its client: a slower one would pay more often
let loading = true;
const spin = () => {
  if (loading) setImmediate(spin);
};
spin();

const from = performance.now();
await Promise.all(Array.from({ length: options.connections }, worker));
const seconds = (performance.now() - from) / 1000;
loading = false;
latencies.sort((a, b) => a - b);
const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(`${JSON.stringify({ answered, failed, seconds, p50: at(0.5), p99: at(0.99) })}\n`);
