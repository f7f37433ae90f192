import { readdirSync, readFileSync } from "node:fs";
import { setPriority } from "node:os";

/** Lower than the thread that answers, but not so low that a login takes many seconds on a busy machine. */
const niceness = 10;

/**
 * Lets helper threads of this process give way to the thread that answers: "libuv-worker" hashes passwords, "V8Worker" marks what
 * lives in memory and compiles. Linux knows priorities of threads; elsewhere nothing is changed.
 */
export function lowerPriority(threadName: "libuv-worker" | "V8Worker"): void {
  if (process.platform !== "linux") return;
  for (const thread of readdirSync("/proc/self/task")) {
    try {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, "utf8");
      if (name.startsWith(threadName)) setPriority(Number(thread), niceness);
    } catch {
      // it ended meanwhile
    }
  }
}
