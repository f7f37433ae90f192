import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a folder where it is missing, and those it lies in, for this user alone. Node's own recursive mkdir never ends where the system says
 * ENOENT for good, as below /proc.
 * @param folder an absolute path
 * @throws the system's error
 */
export function makePrivateFolder(folder: string): void {
  try {
    makeOne(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(folder) === folder) throw error;
    makePrivateFolder(dirname(folder));
    makeOne(folder);
  }
}

function makeOne(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o700 });
    // whatever the umask
    chmodSync(folder, 0o700);
  } catch (error) {
    // the system says so of a file too: then a write below it fails with ENOTDIR
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
