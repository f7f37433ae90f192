import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SERVICES, unpackPackages } from "./debian-packages.ts";

const home = join(SERVICES, "apache");
/** Apache with mod_auth_openidc, and the libraries they need that a small Debian does not have. */
const packages = [
  "apache2-bin",
  "libapache2-mod-auth-openidc",
  "libapr1",
  "libaprutil1",
  "libaprutil1-ldap",
  "libaprutil1-dbd-sqlite3",
  "libcjose0",
  "libhiredis0.14",
  "liblua5.3-0",
];
const program = join(home, "usr/sbin/apache2");
const modules = [
  "mpm_event",
  "authn_core",
  "authz_core",
  "authz_user",
  "rewrite",
  "proxy",
  "proxy_http",
  "auth_openidc",
];

/** Whether Apache and mod_auth_openidc can be had: Debian's packages, unpacked beside the other services of the tests. */
export function hasApache(): boolean {
  if (!existsSync(home)) unpackPackages(home, packages);
  try {
    execFileSync(program, ["-v"], { stdio: "ignore", env: environment({}) });
    return existsSync(moduleFile("auth_openidc"));
  } catch {
    return false;
  }
}

function moduleFile(name: string): string {
  return join(home, "usr/lib/apache2/modules", `mod_${name}.so`);
}

function environment(env: Record<string, string>): NodeJS.ProcessEnv {
  const lib = join(home, "usr/lib");
  const triplet = readdirSync(lib).find((name) => name.endsWith("-linux-gnu")) ?? "";
  return { PATH: process.env["PATH"], LD_LIBRARY_PATH: join(lib, triplet), ...env };
}

/** Runs Apache with these settings of its server until it is stopped. @param port where it answers */
export async function startApache(settings: string, port: number, env: Record<string, string>) {
  const folder = mkdtempSync(join(tmpdir(), "apache-"));
  mkdirSync(join(folder, "run"));
  const file = join(folder, "apache2.conf");
  const log = join(folder, "error.log");
  const basis = [
    `ServerRoot ${folder}`,
    `DefaultRuntimeDir ${join(folder, "run")}`,
    `PidFile ${join(folder, "run/pid")}`,
    "ServerName 127.0.0.1",
    `Listen 127.0.0.1:${port}`,
    `ErrorLog ${log}`,
    // of processes that root starts
    "User nobody",
    "Group nogroup",
    ...modules.map((name) => `LoadModule ${name}_module ${moduleFile(name)}`),
  ];
  writeFileSync(file, `${basis.join("\n")}\n${settings}\n`);
  const child = spawn(program, ["-f", file, "-D", "FOREGROUND"], { env: environment(env), stdio: "pipe" });
  let complaints = "";
  child.stderr.on("data", (chunk) => (complaints += chunk));
  const output = () => complaints + (existsSync(log) ? readFileSync(log, "utf8") : "");
  const ended = once(child, "exit");
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const answers = () =>
    fetch(`http://127.0.0.1:${port}/`, { redirect: "manual" }).then(
      () => true,
      () => false,
    );
  for (let tries = 0; !(await answers()); tries++) {
    if (child.exitCode !== null || tries > 1_200) throw new Error(`Apache did not come up: ${output()}`);
    await sleep(50);
  }
  return { output, stop };
}
