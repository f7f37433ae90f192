import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { it } from "@jest/globals";
import { SERVICES, unpackPackages } from "./debian-packages.ts";

/** nginx on the PATH, else Debian's package unpacked beside the other services of the tests; null: it cannot be had. */
const program = findNginx();

/** A test that runs nginx, skipped by name where there is none. */
export function itWithNginx(name: string, body: () => Promise<void>, timeout?: number): void {
  const title = `${name} (needs nginx)`;
  if (program !== null) it(title, body, timeout);
  else {
    process.stderr.write(`skipped: ${title}\n`);
    it.skip(title, () => {});
  }
}

function findNginx(): string | null {
  if (runs("nginx")) return "nginx";
  const home = join(SERVICES, "nginx");
  if (!existsSync(home)) unpackPackages(home, ["nginx"]);
  const unpacked = join(home, "usr", "sbin", "nginx");
  return runs(unpacked) ? unpacked : null;
}

function runs(path: string): boolean {
  try {
    execFileSync(path, ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Runs nginx with these `server` blocks until it is stopped. @param port where it answers */
export async function startNginx(servers: string, port: number): Promise<{ stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), "nginx-"));
  mkdirSync(join(folder, "logs"));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  );
  const file = join(folder, "nginx.conf");
  writeFileSync(
    file,
    `pid ${join(folder, "pid")};\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${temporary.join("\n")}\n${servers}\n}\n`,
  );
  const child = spawn(program ?? "nginx", ["-p", folder, "-c", file, "-g", "daemon off;"], { stdio: "pipe" });
  let output = "";
  child.stderr.on("data", (chunk) => (output += chunk));
  const ended = once(child, "exit");
  for (let tries = 0; !(await answers(port)); tries++) {
    if (child.exitCode !== null || tries > 1_200) throw new Error(`nginx did not come up: ${output}`);
    await sleep(50);
  }
  return {
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    () => true,
    () => false,
  );
}
