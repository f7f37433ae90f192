import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

/** Below the ports that systems give to outgoing connections: one of those could take a port before its server does. */
const [lowest, highest] = [12_000, 32_000];
/** How long a port is reserved for the test that asked for it (milliseconds): its server may start late, or be killed and started again. */
const reservedMs = 180_000;

/** Ports of 127.0.0.1 that no one listens on, and that no other test of this machine is given meanwhile. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = randomInt(lowest, highest);
    if ((await isFree(port)) && (await reserve(port))) found.add(port);
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

/**
 * Reserves a port by the name of a Linux abstract socket: one process of the machine can have a name, and loses it when it ends.
 * @returns false: another test has it
 */
async function reserve(port: number): Promise<boolean> {
  if (process.platform !== "linux") return true;
  const reservation = await new Promise<Server | null>((resolve) => {
    const server = createServer().unref();
    server.once("error", () => resolve(null));
    server.listen(`\0auth-tests-port-${port}`, () => resolve(server));
  });
  if (reservation === null) return false;
  void wait(reservedMs, undefined, { ref: false }).then(() => reservation.close());
  return true;
}
