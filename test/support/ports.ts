import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

/** Below the ports that systems give to outgoing connections: one of those could take a port before its server does. */
const [lowest, highest] = [12_000, 32_000];
/** For so long a port is nobody else's: its server may start late, or be killed and started again (milliseconds). */
const keptMs = 180_000;

/** Ports of 127.0.0.1 that no one listens on, and that no other test of this machine is given meanwhile. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = randomInt(lowest, highest);
    if ((await isFree(port)) && (await keep(port))) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** By a name of Linux's abstract sockets, which one process of the machine can have, and which goes with its process. */
async function keep(port: number): Promise<boolean> {
  if (process.platform !== "linux") return true;
  const kept = await new Promise<Server | null>((resolve) => {
    const server = createServer().unref();
    server.once("error", () => resolve(null));
    server.listen(`\0auth-tests-port-${port}`, () => resolve(server));
  });
  if (kept === null) return false;
  void wait(keptMs, undefined, { ref: false }).then(() => kept.close());
  return true;
}
