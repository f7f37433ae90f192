import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { testEnvironment } from "../support/app.ts";

export const main = path.resolve(import.meta.dirname, "../../src/main.ts");

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The one document on stdout. */
  json<T = Record<string, unknown>>(): T;
}

/** The real program in a folder and with a database of its own. */
export class Program {
  readonly folder = mkdtempSync(path.join(tmpdir(), "auth-commands-"));
  readonly env: Record<string, string>;
  private constructor(env: Record<string, string>) {
    this.env = env;
  }

  /** Without a schema yet. */
  static async empty(env: Record<string, string> = {}, clients?: object[]): Promise<Program> {
    return new Program(await testEnvironment(env, clients));
  }

  static async migrated(env: Record<string, string> = {}, clients?: object[]): Promise<Program> {
    const program = await Program.empty(env, clients);
    const { status, stderr } = await program.run(["migrate"]);
    if (status !== 0) throw new Error(stderr);
    return program;
  }

  run(args: readonly string[], { input = "", env = {} }: { input?: string; env?: Record<string, string> } = {}) {
    return new Promise<Outcome>((resolve, reject) => {
      const child = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main, ...args], {
        cwd: this.folder,
        env: { PATH: process.env["PATH"], ...this.env, ...env },
      });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk) => (stdout += chunk));
      child.stderr.on("data", (chunk) => (stderr += chunk));
      child.once("error", reject);
      child.once("close", (status) => resolve({ status, stdout, stderr, json: <T>() => JSON.parse(stdout) as T }));
      child.stdin.on("error", () => undefined).end(input);
    });
  }
}
