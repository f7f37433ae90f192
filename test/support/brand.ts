import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = join(import.meta.dirname, "brand");

/** BRAND_FILE of a shop that does not exist; docs/how-to/brand.md shows it. */
export const exampleBrandFile = join(folder, "brand.json");

/** What a brand file says, as its author may have it wrong. */
export type BrandJson = Record<string, unknown>;

export const exampleBrand = JSON.parse(readFileSync(exampleBrandFile, "utf8")) as BrandJson;

/**
 * A copy of the example in a folder of its own, changed. @returns the path of its brand file
 * @param files more files beside it, by name
 */
export function writeBrand(change: BrandJson | string, files: Readonly<Record<string, string | Buffer>> = {}): string {
  const copy = mkdtempSync(join(tmpdir(), "brand-"));
  cpSync(folder, copy, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(copy, name), content);
  const path = join(copy, "brand.json");
  writeFileSync(path, typeof change === "string" ? change : JSON.stringify({ ...exampleBrand, ...change }));
  return path;
}
