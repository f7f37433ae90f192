import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";

/**
 * Load on the token endpoint and on documents, as clients send it. Run as a process: `issuance-load.ts OPTIONS_FILE`; prints one JSON line. A wrong answer
 * ends the program with an error.
 */
interface Options {
  readonly port: number;
  readonly connections: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly method?: "GET";
  /** What a good answer's status is; 200 unless it is named. */
  readonly status?: number;
  readonly seconds: number;
  /**
   * Forms. With `next` each connection has one of them, and puts what it got under that name into the next request; else they are
   * taken in turn, each once where `once` is set.
   */
  readonly bodies: readonly string[];
  readonly next?: string;
  readonly once?: boolean;
}

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const agent = new Agent({ keepAlive: true, maxSockets: options.connections });
const latencies: number[] = [];
const until = performance.now() + options.seconds * 1000;
let taken = 0;

function post(body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = {
      ...(options.method === "GET" ? {} : { "content-type": "application/x-www-form-urlencoded" }),
      ...(options.method === "GET" ? {} : { "content-length": Buffer.byteLength(body) }),
      ...options.headers,
    };
    const call = request(
      { port: options.port, host: "127.0.0.1", path: options.path, method: options.method ?? "POST", agent, headers },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("end", () => {
          if (response.statusCode !== (options.status ?? 200))
            reject(new Error(`${response.statusCode} ${text.slice(0, 500)}`));
          else resolve(text);
        });
      },
    );
    call.on("error", reject);
    call.end(body);
  });
}

/** @returns the request it would send next */
async function worker(number: number): Promise<string> {
  let body = options.bodies[number] ?? "";
  while (performance.now() < until) {
    if (options.next === undefined) {
      const index = taken++;
      if (options.once === true && index >= options.bodies.length) return body;
      body = options.bodies[index % options.bodies.length] ?? "";
    }
    const sentAt = performance.now();
    const answer = await post(body);
    latencies.push(performance.now() - sentAt);
    if (options.next === undefined) continue;
    const form = new URLSearchParams(body);
    form.set(options.next, String((JSON.parse(answer) as Record<string, unknown>)[options.next]));
    body = form.toString();
  }
  return body;
}

const from = performance.now();
const last = await Promise.all(Array.from({ length: options.connections }, (_, number) => worker(number)));
const seconds = (performance.now() - from) / 1000;
agent.destroy();
latencies.sort((a, b) => a - b);
const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(
  `${JSON.stringify({ answered: latencies.length, failed: 0, seconds, p50: at(0.5), p99: at(0.99), last })}\n`,
);
