import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
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

it("F-36 workers that are full close further connections, and do not pass them around", async () => {
  const program = path.join(mkdtempSync(path.join(tmpdir(), "auth-full-")), "program.mjs");
  const guard = path.resolve(import.meta.dirname, "../../src/net/connection-guard.ts");
  writeFileSync(
    program,
    `import cluster from "node:cluster";
    import { once } from "node:events";
    import { connect, createServer } from "node:net";
    import { limitConnections } from "${guard}";
    if (cluster.isWorker) {
      const server = createServer((socket) => socket.on("error", () => {}).write("taken"));
      limitConnections(server, 1);
      server.listen(0, "127.0.0.1");
    } else {
      const workers = [cluster.fork(), cluster.fork()];
      const [[{ port }]] = await Promise.all(workers.map((worker) => once(worker, "listening")));
      const answers = [1, 2, 3, 4].map(async () => {
        const socket = connect(port, "127.0.0.1").on("error", () => {});
        const closed = once(socket, "close").then(() => "closed");
        return Promise.race([closed, once(socket, "data").then(() => "taken")]);
      });
      console.log((await Promise.all(answers)).sort().join());
      for (const worker of workers) worker.process.kill();
      process.exit();
    }`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [program], { timeout: 60_000 });
  expect(stdout.trim()).toBe("closed,closed,taken,taken");
});
