import { type ClientHttp2Stream, connect } from "node:http2";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import {
  flag,
  frame,
  frameType,
  h2Frame,
  headersOf,
  hpack,
  opening,
  openPeer,
  type Peer,
  RawGrpc,
} from "./raw-peers.ts";
import { startEdges } from "./stand-ins.ts";

let edges: Awaited<ReturnType<typeof startEdges>>;

beforeAll(async () => {
  const large = { jwks: "k".repeat(largeBytes) };
  edges = await startEdges({ getJwks: async () => large });
});
afterAll(() => edges.close());

const largeBytes = 30 * 1024 * 1024;
const deleteUser = "/auth.v1.UserService/DeleteUser";
const getJwks = "/auth.v1.TokenService/GetJwks";
const authorized = { authorization: "Bearer all" };
const answers = async (protocol: string) => {
  const startedAt = performance.now();
  await createClient(UserService, edges.transports[protocol]!).deleteUser({}, { headers: authorized });
  return performance.now() - startedAt;
};

describe("slow and silent peers", () => {
  const allowedMs = 15_000;

  test("F-36 are cut within 15 seconds on both listeners, while others are served and idle connections stay", async () => {
    const { grpc, http } = edges;
    const startedAt = performance.now();
    const stall = monitorEventLoopDelay();
    stall.enable();
    const cut: Record<string, number> = {};
    const names: string[] = [];
    const drips: NodeJS.Timeout[] = [];
    const watch = (name: string, end: Promise<unknown>) => {
      const note = () => {
        cut[name] = performance.now() - startedAt;
      };
      names.push(name);
      void end.then(note);
    };
    const peer = async (name: string, port: number, say: (peer: Peer) => void) => {
      const opened = await openPeer(port);
      watch(name, opened.closed);
      say(opened);
    };
    const drip = ({ socket }: Peer, byte: string) => {
      drips.push(setInterval(() => socket.writable && socket.write(byte), 500));
    };
    const post = (path: string, length: number) =>
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer all\r\ncontent-length: ${length}\r\n\r\n`;

    await peer("gRPC: silence", grpc.port, () => {});
    await peer("gRPC: half a preface", grpc.port, ({ socket }) => socket.write("PRI * HT"));
    await peer("gRPC: settings, then silence", grpc.port, ({ socket }) => socket.write(opening));
    await peer("gRPC: headers without an end", grpc.port, ({ socket }) => {
      socket.write(Buffer.concat([opening, h2Frame(frameType.headers, 0, 1, hpack(headersOf(deleteUser)))]));
    });
    await peer("HTTP: silence", http.port, () => {});
    await peer("HTTP: slow headers", http.port, (slow) => {
      slow.socket.write("POST / HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
      drip(slow, "x");
    });
    await peer("HTTP: slow body", http.port, (slow) => {
      slow.socket.write(post(deleteUser, 1_000));
      drip(slow, " ");
    });

    // these answer pings as they should
    const idle = new RawGrpc(`127.0.0.1:${grpc.port}`);
    const session = connect(`http://127.0.0.1:${grpc.port}`);
    session.on("error", () => {});
    const open = (name: string, path: string): ClientHttp2Stream => {
      const stream = session.request(
        { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...authorized },
        { endStream: false },
      );
      stream.on("error", () => {});
      watch(name, new Promise<void>((resolve) => stream.once("close", () => resolve())));
      return stream;
    };
    open("gRPC: no message", deleteUser).resume();
    const dripping = open("gRPC: slow message", deleteUser).resume();
    dripping.write(frame(Buffer.alloc(0), 0, 1_000));
    drips.push(setInterval(() => dripping.writable && dripping.write(Buffer.alloc(1)), 500));
    // whoever does not read does not see the end either: these two look up when they have long been cut, and find a part
    const unread = open("gRPC: slow read", getJwks);
    unread.end(frame(Buffer.alloc(0)));
    const deaf = await openPeer(http.port, { reads: false });
    deaf.socket.write(`${post(getJwks, 2)}{}`);
    watch("HTTP: slow read", deaf.closed);
    const received = { grpc: 0, http: 0 };
    setTimeout(() => {
      unread.on("data", (chunk) => {
        received.grpc += chunk.length;
      });
      deaf.socket.on("data", (chunk) => {
        received.http += chunk.length;
      });
      deaf.socket.resume();
    }, 20_000);

    const latencies: number[] = [];
    // those that look up late hear of their end late on a busy machine
    while (performance.now() - startedAt < 60_000 && Object.keys(cut).length < names.length) {
      latencies.push(await answers("gRPC"), await answers("Connect JSON"));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    for (const timer of drips) clearInterval(timer);
    expect(Object.keys(cut).sort()).toEqual(names.sort());
    expect(Math.max(received.grpc, received.http)).toBeLessThan(largeBytes);
    // while this process stood still nobody could be cut
    const stoodStillMs = stall.max / 1e6;
    const late = Object.entries(cut).filter(([name, ms]) => !/slow read/.test(name) && ms > allowedMs + stoodStillMs);
    expect(late).toEqual([]);
    // on a machine that does something else as well
    expect(latencies.sort((a, b) => a - b)[Math.floor(latencies.length * 0.95)]).toBeLessThan(5_000);
    expect((await idle.call(deleteUser, frame(Buffer.alloc(0)), authorized)).status).toBe(0);
    idle.close();
    session.destroy();
    stall.disable();
  });
});

describe("hostile HTTP/2", () => {
  test("F-37 a rapid reset is sent away with GOAWAY, and others are served", async () => {
    const attacker = await openPeer(edges.grpc.port);
    attacker.socket.write(opening);
    const block = hpack([...headersOf(deleteUser), ["authorization", "Bearer all"]]);
    for (let id = 1; id < 6_000 && attacker.socket.writable; id += 2) {
      attacker.socket.write(
        Buffer.concat([
          h2Frame(frameType.headers, flag.endHeaders, id, block),
          h2Frame(frameType.rst, 0, id, Buffer.from([0, 0, 0, 8])),
        ]),
      );
      if (id % 500 === 1) await new Promise((resolve) => setImmediate(resolve));
    }
    await attacker.closed;
    expect(typesOf(attacker.received())).toContain(frameType.goaway);
    expect(await answers("gRPC")).toBeLessThan(10_000);
  });

  test("F-37 a client that cancels all its calls at once, and some that waited for their turn, keeps its connection", async () => {
    const client = await openPeer(edges.grpc.port);
    const block = hpack([...headersOf(deleteUser), ["authorization", "Bearer all"]]);
    const ids = (first: number, count: number) => Array.from({ length: count }, (_, n) => 2 * (first + n) + 1);
    const begin = (id: number) => h2Frame(frameType.headers, flag.endHeaders, id, block);
    const cancel = (id: number) => h2Frame(frameType.rst, 0, id, Buffer.from([0, 0, 0, 8]));
    const served = async (count: number) => {
      client.socket.write(h2Frame(frameType.ping, 0, 0, Buffer.alloc(8)));
      const closed = client.closed.then(() => "closed");
      const answers = () => typesOf(client.received()).filter((type) => type === frameType.ping).length;
      while (answers() < count) {
        if ((await Promise.race([closed, sleep(10)])) === "closed") throw new Error("the connection was cut");
      }
    };
    client.socket.write(opening);
    await served(1);
    const confirmed = h2Frame(frameType.settings, 1, 0);
    client.socket.write(Buffer.concat([confirmed, ...ids(0, 200).map(begin)]));
    await served(2);
    const waited = ids(200, 100);
    client.socket.write(Buffer.concat([...ids(0, 200).map(cancel), ...waited.map(begin), ...waited.map(cancel)]));
    await served(3);
    client.socket.destroy();
  });

  test("F-38 endless CONTINUATION frames end the connection", async () => {
    const attacker = await openPeer(edges.grpc.port);
    attacker.socket.write(opening);
    attacker.socket.write(h2Frame(frameType.headers, 0, 1, hpack(headersOf(deleteUser))));
    const more = h2Frame(frameType.continuation, 0, 1, hpack([["x-more", "y".repeat(1_000)]]));
    for (let count = 0; count < 10_000 && attacker.socket.writable; count++) {
      attacker.socket.write(more);
      if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await attacker.closed;
    expect(await answers("gRPC")).toBeLessThan(10_000);
  });

  test("F-39 floods of PING and SETTINGS leave the service answering", async () => {
    for (const flood of [
      h2Frame(frameType.ping, 0, 0, Buffer.alloc(8)),
      h2Frame(frameType.settings, 0, 0, Buffer.from([0, 3, 0, 0, 0, 100])),
      h2Frame(frameType.data, 0, 1),
    ]) {
      const attacker = await openPeer(edges.grpc.port);
      attacker.socket.write(opening);
      const many = Buffer.concat(Array(1_000).fill(flood));
      for (let count = 0; count < 20 && attacker.socket.writable; count++) {
        attacker.socket.write(many);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await answers("gRPC")).toBeLessThan(10_000);
      attacker.socket.destroy();
    }
  });
});

function typesOf(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) types.push(bytes.readUInt8(at + 3));
  return types;
}
