import { AsyncLocalStorage } from "node:async_hooks";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, get, type IncomingMessage, type RequestListener } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { describe, expect, it } from "@jest/globals";
import { guardHttp1, oneAtATime, PATIENCE_MS } from "../../src/net/connection-guard.ts";

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

describe("requests that come together on one connection", () => {
  const requests = (count: number) =>
    Array.from({ length: count }, (_, n) => `GET /${n} HTTP/1.1\r\nhost: localhost\r\n\r\n`).join("");

  it("are begun one after another, and answered in their order", async () => {
    const begun: string[] = [];
    const under = new AsyncLocalStorage<string>();
    const contexts: (string | undefined)[] = [];
    let running = 0;
    let most = 0;
    await using server = await listen((request, response) => {
      const { url = "" } = request;
      begun.push(url);
      contexts.push(under.getStore());
      most = Math.max(most, ++running);
      under.run(url, () =>
        setImmediate(() => {
          running--;
          response.end(`answer ${url};`);
        }),
      );
    });
    const socket = connect(server.port, "127.0.0.1");
    let text = "";
    const all = new Promise<void>((resolve) => {
      socket.on("data", (data) => {
        text += data;
        if (text.includes("answer /99;")) resolve();
      });
    });
    socket.write(requests(100));
    await all;
    socket.destroy();
    const paths = Array.from({ length: 100 }, (_, n) => `/${n}`);
    expect(begun).toEqual(paths);
    expect(text.match(/(?<=answer )\/\d+/g)).toEqual(paths);
    expect(most).toBe(1);
    expect(contexts.filter((context) => context !== undefined)).toEqual([]);
  });

  it("wait no longer for those of another connection than for one of them", async () => {
    const begun: string[] = [];
    const first = Promise.withResolvers<void>();
    const other = Promise.withResolvers<void>();
    await using server = await listen(async ({ url = "" }, response) => {
      begun.push(url);
      if (url === "/other") other.resolve();
      else first.resolve();
      await other.promise;
      response.end();
    });
    const greedy = connect(server.port, "127.0.0.1").resume();
    greedy.write(requests(90));
    await first.promise;
    await new Promise<void>((resolve) => {
      get({ port: server.port, host: "127.0.0.1", path: "/other", agent: false }, (answer) =>
        resolve(void answer.resume()),
      );
    });
    // the others were not begun before it
    expect(begun.slice(0, 2)).toEqual(["/0", "/other"]);
    greedy.destroy();
  });

  it("are not begun any more where more than a hundred wait: the connection is cut", async () => {
    let begun = 0;
    await using server = await listen((_request, response) => {
      begun++;
      setImmediate(() => response.end());
    });
    const socket = connect(server.port, "127.0.0.1").resume();
    socket.on("error", () => {});
    const closed = once(socket, "close").catch(() => {});
    socket.write(requests(1_000));
    await closed;
    expect(begun).toBe(1);
  });
});

async function listen(answer: RequestListener) {
  const server = createServer(oneAtATime(answer));
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
