import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Where programs for the tests are unpacked. */
export const SERVICES = join(import.meta.dirname, "../..", ".cache", "services");

/** Unpacks packages of Debian to `home`. Leaves nothing where apt, its lists or the network are missing. */
export function unpackPackages(home: string, packages: readonly string[]): void {
  mkdirSync(SERVICES, { recursive: true });
  const scratch = mkdtempSync(join(SERVICES, "unpack-"));
  const run = (program: string, args: string[]) =>
    execFileSync(program, args, { cwd: scratch, stdio: "ignore", timeout: 120_000 });
  try {
    run("apt-get", ["download", ...packages]);
    for (const file of readdirSync(scratch).filter((name) => name.endsWith(".deb"))) run("dpkg", ["-x", file, "tree"]);
    renameSync(join(scratch, "tree"), home);
  } catch {
    // another run may have been faster; where none was, the caller finds no program
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
