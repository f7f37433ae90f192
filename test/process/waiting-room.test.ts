import { lookup } from "node:dns/promises";
import { once } from "node:events";
import net from "node:net";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { openWaitingRoom } from "../../src/process/waiting-room.ts";
import { startInternalListener } from "../../src/rpc/internal-listener.ts";
import { standInParts, startEdges } from "../rpc/stand-ins.ts";

let edges: Awaited<ReturnType<typeof startEdges>>;
beforeAll(async () => {
  edges = await startEdges();
});
afterAll(() => edges.close());

const ready = async () => ({ ready: true });

it("a connection that was opened while the service started is answered by the service, and none is refused meanwhile", async () => {
  const room = await openWaitingRoom({ internalHttp: { host: "127.0.0.1", port: 0 }, internalTls: null });
  if (room.waiting === null) throw new Error("nothing is listened at");
  const { port } = room.waiting.server.address() as net.AddressInfo;
  const readyz = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, { headers: { connection: "close" } });
    return [response.status, await response.json()];
  };
  expect(await readyz()).toEqual([503, { ready: false, reason: "starting" }]);
  const early = net.connect(port, "127.0.0.1");
  let answer = "";
  early.on("data", (chunk) => (answer += String(chunk)));
  await once(early, "connect");
  const options = { host: "127.0.0.1", port, tls: null, ready, waiting: room.waiting };
  const listener = await startInternalListener(edges.ctx, options, standInParts());
  expect(listener.port).toBe(port);
  early.write("GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  await once(early, "close");
  expect(answer).toMatch(/^HTTP\/1\.1 200 .*"ready":true/s);
  expect(await readyz()).toEqual([200, { ready: true }]);
  await listener.close(1000);
  await room.close();
  await expect(readyz()).rejects.toThrow();
});

it("localhost is each of its addresses", async () => {
  const listener = await startInternalListener(
    edges.ctx,
    { host: "localhost", port: 0, tls: null, ready },
    standInParts(),
  );
  const found = await lookup("localhost", { all: true });
  for (const { address, family } of found) {
    const host = family === 6 ? `[${address}]` : address;
    expect((await fetch(`http://${host}:${listener.port}/readyz`)).status).toBe(200);
  }
  await listener.close(1000);
  for (const { address } of found) {
    const [error] = await once(net.connect(listener.port, address), "error");
    expect(error.code).toBe("ECONNREFUSED");
  }
});
