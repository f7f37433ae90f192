// A process of hostile peers: the harness has its own clients to time meanwhile. See attack.ts.
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { SCRIPTS } from "../../../src/http/pages/scripts.ts";
import { flag, frame, framesOf, frameType, h2Frame, headersOf, hpack, inFrames, opening } from "../../rpc/raw-peers.ts";
import type { Attack, Attacked, FloodAttack, SlowAttack } from "./attack.ts";

const health = "/grpc.health.v1.Health/Check";
const getJwks = "/auth.v1.TokenService/GetJwks";
/** Between two bytes of a slow peer. */
const dripMs = 2_000;
/** Who does not read does not see the end either: these look up when they must have been cut, and find a part. */
const lookUpMs = 17_000;
const giveUpMs = 40_000;

const windowUpdate = 8;
const largestWindow = 2 ** 31 - 1;
const initialWindowSize = 4;
const maxConcurrentStreams = 3;

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const settings = (id: number, value: number) =>
  h2Frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, id]), u32(value)]));
const open = (id: number, path = getJwks) => h2Frame(frameType.headers, flag.endHeaders, id, hpack(headersOf(path)));
const windowOf = (id: number, octets: number) => h2Frame(windowUpdate, 0, id, u32(octets));
const many = (count: number, one: Buffer) => Buffer.concat(Array<Buffer>(count).fill(one));
/** A frame whose payload does not come with it. */
const headOf = (type: number, length: number) => h2Frame(type, 0, 1, Buffer.alloc(length)).subarray(0, 9);

/** What a slow peer says at once, and what byte it goes on with. */
interface Slow {
  readonly start: Buffer | string;
  readonly drip?: string | Buffer;
  readonly reads?: false;
}

const post = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
/** Of what anybody may ask for. */
const largest = [...SCRIPTS.values()].reduce((a, b) => (a.body.length > b.body.length ? a : b));
/** More than the kernel takes while nobody reads. */
const unreadBytes = 8_000_000;

const slowPeers: Record<SlowAttack["slow"], Slow> = {
  "http headers": { start: `${post}X-Slow: `, drip: "x" },
  "http body": { start: `${post}Content-Length: 9000\r\n\r\n`, drip: "a" },
  "http read": {
    start: `GET ${largest.path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(Math.ceil(unreadBytes / largest.body.length)),
    reads: false,
  },
  // the first byte of each header says that its name is in a table, at 2: `:method: GET`
  "grpc headers": { start: Buffer.concat([opening, headOf(frameType.headers, 1_000)]), drip: Buffer.from([0x82]) },
  "grpc body": {
    start: Buffer.concat([
      opening,
      open(1),
      h2Frame(frameType.data, 0, 1, frame(Buffer.alloc(0), 0, 1_000)),
      headOf(frameType.data, 1_000),
    ]),
    drip: Buffer.alloc(1),
  },
  // no octet of an answer's body is allowed
  "grpc read": {
    start: Buffer.concat([
      opening,
      settings(initialWindowSize, 0),
      open(1, health),
      h2Frame(frameType.data, flag.endStream, 1, frame(Buffer.alloc(0))),
    ]),
  },
};

/** What a connection of a flood sends, piece by piece. */
interface Flood {
  readonly piece: (index: number) => Buffer;
  /** Frames or streams of a piece. */
  readonly each: number;
}

const frames = (one: Buffer, first: Buffer = Buffer.alloc(0)): Flood => {
  const piece = many(100, one);
  return { each: 100, piece: (index) => (index === 0 ? Buffer.concat([first, piece]) : piece) };
};
/** Streams that are opened one after the other. */
const streams = (one: (id: number) => Buffer): Flood => {
  const each = 10;
  const idOf = (index: number) => 2 * index + 1;
  return {
    each,
    piece: (index) => Buffer.concat(Array.from({ length: each }, (_, n) => one(idOf(index * each + n)))),
  };
};

/** 60 KiB. */
const heldBlock = hpack([
  ...headersOf(getJwks),
  ...Array.from({ length: 15 }, (_, n) => [`x-${n}`, "y".repeat(4_080)] as const),
]);
const moreHeaders = h2Frame(frameType.continuation, 0, 1, hpack([["x-more", "y".repeat(100)]]));

const floods: Record<FloodAttack["flood"], Flood> = {
  reset: streams((id) => Buffer.concat([open(id), h2Frame(frameType.rst, 0, id, u32(8))])),
  continuation: frames(moreHeaders, h2Frame(frameType.headers, 0, 1, hpack(headersOf(getJwks)))),
  "held headers": streams((id) => inFrames(id, heldBlock)),
  ping: frames(h2Frame(frameType.ping, 0, 0, Buffer.alloc(8))),
  settings: frames(settings(maxConcurrentStreams, 100)),
  "empty DATA": frames(h2Frame(frameType.data, 0, 1), open(1)),
  "window overflow": frames(windowOf(0, largestWindow)),
  // the server is made to reset what it has opened: MadeYouReset
  "window overflow of a stream": streams((id) => Buffer.concat([open(id), many(2, windowOf(id, largestWindow))])),
  "window of nothing": streams((id) => Buffer.concat([open(id), windowOf(id, 0)])),
  "DATA after the end": streams((id) =>
    Buffer.concat([
      open(id),
      h2Frame(frameType.data, flag.endStream, id, frame(Buffer.alloc(0))),
      h2Frame(frameType.data, 0, id, Buffer.alloc(8)),
    ]),
  ),
};

type Count = { -readonly [name in keyof Attacked]: number };

/** Null: not accepted. */
function openSocket(port: number, count: Count): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true }, () => {
      count.opened++;
      resolve(socket);
    });
    socket.on("error", () => {});
    socket.once("close", () => resolve(null));
  });
}

/** Waits until each peer is cut: its connection closed, or its only stream reset. */
async function runSlow({ slow, port, connections }: SlowAttack, count: Count): Promise<void> {
  const { start, drip, reads } = slowPeers[slow];
  const all = new Set<Socket>();
  const timer = setInterval(() => {
    if (drip !== undefined) for (const socket of all) if (socket.writable) socket.write(drip);
  }, dripMs);
  const peer = async () => {
    const startedAt = performance.now();
    const socket = await openSocket(port, count);
    if (socket === null) {
      count.refused++;
      return;
    }
    all.add(socket);
    const chunks: Buffer[] = [];
    let bytes = 0;
    const end = Promise.withResolvers<"cut" | "left">();
    const giveUp = setTimeout(() => end.resolve("left"), giveUpMs);
    socket.once("close", () => end.resolve(bytes < unreadBytes ? "cut" : "left"));
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      if (!slow.startsWith("grpc")) return;
      chunks.push(chunk);
      const seen = framesOf(Buffer.concat(chunks));
      if (seen.some(({ type }) => type === frameType.rst)) {
        count.resets++;
        end.resolve("cut");
      }
    });
    if (reads === false) {
      socket.pause();
      setTimeout(() => socket.resume(), lookUpMs);
    }
    socket.write(start);
    count.sent++;
    if ((await end.promise) === "left") count.left++;
    else if (reads !== false) count.lastCutMs = Math.max(count.lastCutMs, performance.now() - startedAt);
    clearTimeout(giveUp);
    all.delete(socket);
    socket.destroy();
  };
  const peers: Promise<void>[] = [];
  for (let n = 0; n < connections; n++) {
    peers.push(peer());
    // the queue of connections that wait to be accepted is short
    if (n % 50 === 49) await sleep(20);
  }
  await Promise.all(peers);
  clearInterval(timer);
}

async function runFlood(attack: FloodAttack, count: Count): Promise<void> {
  const { piece, each } = floods[attack.flood];
  const mostConnections = 2 * Math.ceil(attack.frames / each);
  const one = async () => {
    const socket = await openSocket(attack.port, count);
    if (socket === null) {
      count.refused++;
      return;
    }
    const chunks: Buffer[] = [];
    const cut = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.write(opening);
    for (let sent = 0, index = 0; sent < attack.framesEach && socket.writable; index++, sent += each) {
      const room = socket.write(piece(index));
      count.sent += each;
      if (!room) await Promise.race([cut, new Promise((resolve) => socket.once("drain", resolve))]);
    }
    const answers = () =>
      framesOf(Buffer.concat(chunks)).filter(({ type }) => type === frameType.goaway || type === frameType.rst);
    const answered = new Promise<void>((resolve) => {
      const look = () => {
        if (answers().length > 0) resolve();
      };
      if (!attack.untilAnswered) return;
      socket.on("data", look);
      look();
    });
    const hold = new AbortController();
    await Promise.race([cut, answered, sleep(attack.holdMs, null, { signal: hold.signal }).catch(() => {})]);
    hold.abort();
    for (const { type } of answers()) {
      if (type === frameType.goaway) count.goaways++;
      if (type === frameType.rst) count.resets++;
    }
    if (!socket.destroyed) count.left++;
    socket.destroy();
  };
  const keepOn = async () => {
    while (count.sent < attack.frames && count.opened + count.refused < mostConnections) await one();
  };
  await Promise.all(Array.from({ length: attack.atOnce }, keepOn));
}

process.on("message", async (attack: Attack) => {
  const count: Count = { opened: 0, refused: 0, sent: 0, goaways: 0, resets: 0, left: 0, lastCutMs: 0 };
  await ("slow" in attack ? runSlow(attack, count) : runFlood(attack, count));
  process.send?.(count);
});
process.on("disconnect", () => process.exit(0));
