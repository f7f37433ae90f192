import { EventEmitter } from "node:events";
import type { Http2Server } from "node:http2";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it, jest } from "@jest/globals";
import { admitFloodersSlowly } from "../../src/rpc/slow-entry.ts";
import { flag, frameType, h2Frame, headersOf, hpack, inFrames, opening } from "./raw-peers.ts";
import { startEdges } from "./stand-ins.ts";

let edges: Awaited<ReturnType<typeof startEdges>>;

beforeEach(async () => {
  edges = await startEdges();
});
afterEach(async () => {
  for (const socket of opened.splice(0)) socket.destroy();
  await edges.close();
});

/** Each address of the loopback network is a network of its own to the service. */
const flooder = "127.0.0.2";
const neighbour = "127.0.0.3";

const opened: Socket[] = [];

function openFrom(localAddress: string): Socket {
  const socket = connect({ host: "127.0.0.1", port: edges.grpc.port, localAddress, noDelay: true });
  socket.on("error", () => {});
  opened.push(socket);
  return socket;
}

/** @returns when the service has said its settings, which it does as soon as it looks at a connection */
function greeted(socket: Socket): Promise<"greeted"> {
  return new Promise((resolve) => socket.once("data", () => resolve("greeted")));
}

async function sendAway(localAddress: string, bytes: Buffer | string): Promise<void> {
  const socket = openFrom(localAddress);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("data", () => {});
  socket.write(bytes);
  await closed;
}

const block = hpack(headersOf("/auth.v1.UserService/DeleteUser"));
const rapidReset = Buffer.concat([
  opening,
  ...Array.from({ length: 1_000 }, (_, n) =>
    Buffer.concat([
      h2Frame(frameType.headers, flag.endHeaders, 2 * n + 1, block),
      h2Frame(frameType.rst, 0, 2 * n + 1, Buffer.from([0, 0, 0, 8])),
    ]),
  ),
]);
/** Refused by the listener itself: no method of that name, no gRPC. */
const unanswerable = {
  "an unknown method": headersOf("/auth.v1.UserService/Unknown"),
  "another content type": headersOf("/auth.v1.UserService/DeleteUser").map(([name, value]): [string, string] => [
    name,
    name === "content-type" ? "text/plain" : value,
  ]),
};
const brokenFrame = Buffer.concat([opening, h2Frame(frameType.ping, 0, 0, Buffer.alloc(7))]);
const farTooLongFor = (headers: [string, string][]) =>
  Buffer.concat([
    opening,
    ...[1, 3, 5, 7].map((id) => inFrames(id, hpack([...headers, ["x-long", "y".repeat(60_000)]]))),
  ]);
const farTooLong = farTooLongFor(headersOf("/auth.v1.UserService/DeleteUser"));

it.each([
  ["rapid resets", rapidReset],
  ["broken frames", brokenFrame],
  ["metadata that is far too long", farTooLong],
])(
  "F-37 after several connections with %s the next ones of that network wait, and no others",
  async (_what, bytes) => {
    for (let n = 0; n < 8; n++) await sendAway(flooder, bytes);
    const waiting = openFrom(flooder);
    const first = greeted(waiting);
    const other = openFrom(neighbour);
    expect(await Promise.race([first.then(() => flooder), greeted(other).then(() => neighbour)])).toBe(neighbour);
    // it waits, and is served then
    waiting.write(opening);
    expect(await first).toBe("greeted");
    waiting.destroy();
    other.destroy();
  },
  60_000,
);

it("F-37 connections that are lost, or are no HTTP/2, or whose client is aborted, are no reason to wait", async () => {
  const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (let n = 0; n < 8; n++) {
    await sendAway(flooder, request);
    const lost = openFrom(flooder);
    lost.write(opening);
    await greeted(lost);
    lost.resetAndDestroy();
    // as Connect's client does, with CANCEL
    await sendAway(
      flooder,
      Buffer.concat([opening, h2Frame(frameType.goaway, 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 8]))]),
    );
  }
  const mine = openFrom(flooder);
  const first = greeted(mine).then(() => flooder);
  const other = openFrom(neighbour);
  expect(await Promise.race([first, greeted(other).then(() => neighbour)])).toBe(flooder);
}, 60_000);

/** A throw in a listener ends the process, and here the test. */
const stillServes = async () => expect(await greeted(openFrom(neighbour))).toBe("greeted");

it.each(Object.entries(unanswerable))(
  "F-37 a call of %s that was cancelled while its connection waited harms nobody",
  async (_what, headers) => {
    for (let n = 0; n < 5; n++) await sendAway(flooder, brokenFrame);
    const waiting = openFrom(flooder);
    const first = greeted(waiting);
    const cancelled = [
      h2Frame(frameType.headers, flag.endHeaders, 1, hpack(headers)),
      h2Frame(frameType.rst, 0, 1, Buffer.from([0, 0, 0, 8])),
    ];
    waiting.write(Buffer.concat([opening, ...cancelled]));
    await first;
    await stillServes();
  },
  60_000,
);

it.each(Object.entries(unanswerable))(
  "F-38 metadata that is far too long for %s harms nobody",
  async (_what, headers) => {
    await sendAway(flooder, farTooLongFor(headers));
    await stillServes();
  },
);

it.each([
  { everyMs: 4_000, warned: [] },
  { everyMs: 1_000, warned: ["203.0.113.7"] },
])(
  "F-37 a network whose connections break every $everyMs ms for an hour: warned of are $warned",
  ({ everyMs, warned }) => {
    const now = jest.spyOn(performance, "now").mockReturnValue(0);
    try {
      const server = new EventEmitter();
      const slow: string[] = [];
      admitFloodersSlowly(server as Http2Server, (network) => void slow.push(network));
      for (let at = 0; at < 3_600_000; at += everyMs) {
        now.mockReturnValue(at);
        const session = { socket: { remoteAddress: "203.0.113.7" } };
        server.emit("session", session);
        server.emit("sessionError", new Error("broken"), session);
      }
      expect(slow).toEqual(warned);
    } finally {
      now.mockRestore();
    }
  },
);

it("F-37 a connection that waits does not hold up the end", async () => {
  for (let n = 0; n < 8; n++) await sendAway(flooder, brokenFrame);
  const waiting = openFrom(flooder);
  await new Promise((resolve) => waiting.once("connect", resolve));
  const closed = new Promise((resolve) => waiting.once("close", resolve));
  await edges.close();
  await closed;
  edges = await startEdges();
}, 60_000);
