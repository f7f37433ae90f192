import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The path of a file of its own that holds this text. */
export function pemFile(pem: string | Buffer): string {
  const file = join(mkdtempSync(join(tmpdir(), "auth-test-")), "value.pem");
  writeFileSync(file, pem, { mode: 0o600 });
  return file;
}
