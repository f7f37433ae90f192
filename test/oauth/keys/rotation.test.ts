import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rotationCases } from "./rotation-cases.ts";

rotationCases(async () => ({
  DATABASE_URL: `sqlite:${join(mkdtempSync(join(tmpdir(), "auth-rotation-")), "auth.sqlite")}`,
}));
