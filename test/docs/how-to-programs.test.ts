import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "@jest/globals";

const root = join(import.meta.dirname, "../..");
const programs = join(root, "test/clients/programs");
const sources = readdirSync(programs, { recursive: true, encoding: "utf8" })
  .filter((file) => /\.(js|py|go)$/.test(file))
  .map((file) => readFileSync(join(programs, file), "utf8"));

it("how-to/sign-in-from-a-web-app shows code of the programs that npm run test:clients runs, word for word", () => {
  const page = readFileSync(join(root, "docs/how-to/sign-in-from-a-web-app.md"), "utf8");
  const blocks = [...page.matchAll(/^```(?:js|python|go)\n([\s\S]*?)\n```$/gm)].map(([, code = ""]) => code);
  expect(blocks.length).toBeGreaterThanOrEqual(5);
  for (const block of blocks) expect(sources.some((source) => source.includes(block)) ? "" : block).toBe("");
});
