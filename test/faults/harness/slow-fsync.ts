import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Skipped } from "./skipped.ts";

/** Every fsync of a process takes longer, as on a disk that is slow. */
export class SlowFsync {
  readonly #tracer: ChildProcess;
  readonly #folder: string;

  readonly #kill = () => void this.#tracer.kill("SIGKILL");

  private constructor(tracer: ChildProcess, folder: string) {
    this.#tracer = tracer;
    this.#folder = folder;
  }

  /** @throws Skipped where there is no strace, or it may not trace */
  static async of(pid: number, milliseconds: number): Promise<SlowFsync> {
    const folder = mkdtempSync(join(tmpdir(), "strace-"));
    const calls = "fdatasync,fsync";
    const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:delay_enter=${milliseconds * 1_000}`];
    const args = ["-f", "-p", String(pid), ...inject, "-o", join(folder, "calls")];
    const tracer = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
    const slow = new SlowFsync(tracer, folder);
    process.once("exit", slow.#kill);
    let said = "";
    tracer.stderr?.on("data", (chunk) => (said += chunk));
    tracer.once("error", (error) => (said += error.message));
    while (!/attached/.test(said)) {
      if (tracer.exitCode !== null || tracer.pid === undefined) {
        process.off("exit", slow.#kill);
        rmSync(folder, { recursive: true });
        throw new Skipped(`needs strace, which must be there and allowed to trace (${said.trim().split("\n")[0]})`);
      }
      await sleep(20);
    }
    return slow;
  }

  /** Ends it. @returns how many calls were slow */
  async end(): Promise<number> {
    const ended = once(this.#tracer, "exit");
    this.#tracer.kill("SIGINT");
    await ended;
    process.off("exit", this.#kill);
    const file = join(this.#folder, "calls");
    const calls = existsSync(file) ? readFileSync(file, "utf8").match(/\(DELAYED\)/g) : null;
    rmSync(this.#folder, { recursive: true });
    return calls?.length ?? 0;
  }
}
