import { execFileSync } from "node:child_process";
import { mkdtempSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** The release before this one. */
export const PREVIOUS_RELEASE = "306633a";

const root = path.resolve(import.meta.dirname, "../..");

/** A folder with the sources of the previous release and the packages of this one; null where the repository's history is not here. */
export function checkOutPreviousRelease(): string | null {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-release-"));
  try {
    const archive = execFileSync("git", ["archive", PREVIOUS_RELEASE], {
      cwd: root,
      maxBuffer: 2 ** 28,
      stdio: ["ignore", "pipe", "ignore"],
    });
    execFileSync("tar", ["-x", "-C", folder], { input: archive });
  } catch {
    return null;
  }
  symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  return folder;
}
