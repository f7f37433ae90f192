import { once } from "node:events";
import { createServer, get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "@jest/globals";
import { guardHttp1, PATIENCE_MS } from "../../src/net/connection-guard.ts";

it("F-36 cuts who takes nothing of an answer, and not who takes a long one slowly", async () => {
  const answer = Buffer.alloc(16 * 1024 * 1024);
  const server = createServer((_request, response) => response.end(answer));
  guardHttp1(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const ask = async () => {
    const request = get({ port, host: "127.0.0.1", agent: false });
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.pause();
    return response;
  };
  try {
    const [slow, silent] = await Promise.all([ask(), ask()]);
    const cut = new Promise((resolve) => silent.once("close", resolve));
    silent.on("error", () => undefined);
    let taken = 0;
    slow.on("data", async (chunk: Buffer) => {
      taken += chunk.length;
      slow.pause();
      // in all for longer than the patience
      await sleep((chunk.length / answer.length) * 1.5 * PATIENCE_MS);
      slow.resume();
    });
    const done = once(slow, "end");
    slow.resume();
    await done;
    expect(taken).toBe(answer.length);
    silent.resume();
    await cut;
    expect(silent.complete).toBe(false);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}, 120_000);
