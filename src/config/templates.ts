import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Eta } from "eta";
import type { Reader } from "./reader.ts";

/** The operator's templates by name, without `.eta`: they take the place of the pages' own of that name. */
export type Templates = ReadonlyMap<string, string>;

const ownFolder = join(import.meta.dirname, "../http/pages");
const extension = /\.eta$/;

/** @param folder TEMPLATES_DIR; null: there is none. Files of other kinds are left out */
export function readTemplates(read: Reader, folder: string | null): Templates {
  if (folder === null) return new Map();
  const known = new Set(namesIn(ownFolder));
  try {
    const templates = new Map(namesIn(folder).map((name) => [name, readFileSync(join(folder, `${name}.eta`), "utf8")]));
    for (const [name, text] of templates) {
      for (const wrong of problemsOf(known, name, text)) read.problem("TEMPLATES_DIR", `${name}.eta ${wrong}`);
    }
    return templates;
  } catch (error) {
    const { code, path = folder } = error as NodeJS.ErrnoException;
    read.problem("TEMPLATES_DIR", `cannot read ${path} (${code})`);
    return new Map();
  }
}

function namesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => extension.test(file))
    .map((file) => file.replace(extension, ""));
}

function problemsOf(known: ReadonlySet<string>, name: string, text: string): string[] {
  if (!known.has(name)) return [`is no template of this service, which has ${[...known].sort().join(", ")}`];
  // what it includes is looked for only when the page is made
  const named = [...text.matchAll(/\b(?:include|layout)\(\s*["'`](?:\.\/)?([^"'`]*)["'`]/g)].map(([, to = ""]) => to);
  const unknown = named.filter((to) => !known.has(to.replace(extension, "")));
  if (unknown.length > 0) return unknown.map((to) => `includes ${to}, which is no template of this service`);
  try {
    new Eta().compile(text);
    return [];
  } catch (error) {
    return [`does not compile (${(error as Error).message.split("\n", 1)[0]})`];
  }
}
