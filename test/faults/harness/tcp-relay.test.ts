import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { TcpRelay } from "./tcp-relay.ts";

let echo: Server;
let relay: TcpRelay;
beforeEach(async () => {
  echo = createServer((socket) => void socket.on("error", () => undefined).pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  relay = await TcpRelay.start({ host: "127.0.0.1", port: (echo.address() as { port: number }).port });
});
afterEach(async () => {
  await relay.close();
  echo.close();
});

async function client() {
  const socket = connect(relay.port, "127.0.0.1");
  await once(socket, "connect");
  socket.on("error", () => undefined);
  const say = async (text: string) => {
    const from = performance.now();
    socket.write(text);
    const [answer] = (await once(socket, "data")) as [Buffer];
    return { answer: String(answer), ms: performance.now() - from };
  };
  return { socket, say };
}

/** However it closes. */
const closed = (socket: Socket) => new Promise((done) => socket.once("close", done));

test("carries data, later when it delays", async () => {
  const { say, socket } = await client();
  expect((await say("a")).answer).toBe("a");
  relay.delay(100);
  expect((await say("b")).ms).toBeGreaterThanOrEqual(190);
  relay.heal();
  relay.limit(1_000);
  expect((await say("x".repeat(100))).ms).toBeGreaterThanOrEqual(190);
  socket.destroy();
});

test("freezes connections, and delivers what waited once healed", async () => {
  const { say, socket } = await client();
  relay.freeze();
  const waiting = say("c");
  expect(await Promise.race([waiting, sleep(200, "nothing")])).toBe("nothing");
  relay.heal();
  expect((await waiting).answer).toBe("c");
  socket.destroy();
});

test("resets connections; refuses new ones until healed", async () => {
  const { socket } = await client();
  relay.cut();
  await closed(socket);
  const { say, socket: second } = await client();
  expect((await say("d")).answer).toBe("d");
  relay.refuse();
  await closed(second);
  const third = connect(relay.port, "127.0.0.1").on("error", () => undefined);
  await closed(third);
  relay.heal();
  const { say: again, socket: fourth } = await client();
  expect((await again("e")).answer).toBe("e");
  fourth.destroy();
});
