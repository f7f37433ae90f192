import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Skipped } from "./skipped.ts";

const chunk = Buffer.alloc(2 ** 20);

/** A file system of its own, in memory, that a row may fill. */
export class SmallDisk {
  readonly folder: string;
  readonly #logs = mkdtempSync(join(tmpdir(), "disk-log-"));

  /** When the harness is ended, too. */
  readonly #leave = () => {
    execFileSync("umount", ["-l", this.folder], { stdio: "pipe" });
    for (const folder of [this.folder, this.#logs]) rmSync(folder, { recursive: true });
  };

  private constructor(folder: string) {
    this.folder = folder;
    process.once("exit", this.#leave);
  }

  /** @throws Skipped where this process may not mount */
  static mount(mebibytes: number): SmallDisk {
    // short: the path of MariaDB's socket has at most 107 characters
    const folder = mkdtempSync("/tmp/disk-");
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder], { stdio: "pipe" });
    } catch (error) {
      rmSync(folder, { recursive: true });
      const { stderr, message } = error as { stderr?: Buffer; message: string };
      const reason = String(stderr ?? message)
        .trim()
        .split("\n")[0];
      throw new Skipped(`needs a small file system, and this process may not mount one (${reason})`);
    }
    return new SmallDisk(folder);
  }

  /** For mariadbd: its log is elsewhere, so that it can say why if it ends. */
  get databaseOptions(): string[] {
    return [`--log-error=${join(this.#logs, "error.log")}`];
  }

  /** What the server's log says of an end that nobody asked for; empty: nothing. */
  get crash(): string {
    const log = join(this.#logs, "error.log");
    const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
    return lines.filter((line) => /assertion|got signal|\[FATAL\]/i.test(line)).join(" ");
  }

  /** Bytes that a file may still take. */
  get free(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes all there is with one file. */
  fill(): void {
    const file = openSync(this.#file, "a");
    try {
      for (let size = chunk.length; size >= 4_096; ) {
        try {
          if (writeSync(file, chunk, 0, size) < size) size /= 2;
        } catch (error) {
          if ((error as { code?: string }).code !== "ENOSPC") throw error;
          size /= 2;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  /** Removes the file. */
  empty(): void {
    rmSync(this.#file, { force: true });
  }

  unmount(): void {
    process.off("exit", this.#leave);
    this.#leave();
  }

  get #file(): string {
    return join(this.folder, "filler");
  }
}
