import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { repeatedMember } from "../token/strict-json.ts";
import { type ChoicesOf, type NamesOf, VARIABLES, type Variable, type VariableName } from "./variables.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** @returns null: the variable is unset, or empty, which is the same */
export function valueIn(env: Environment, name: string): string | null {
  const value = env[name]?.trim();
  return value === undefined || value === "" ? null : value;
}

/** Reads declared variables and collects what is wrong with them. */
export class Reader {
  readonly problems: string[] = [];
  readonly #env: Environment;

  constructor(env: Environment) {
    this.#env = env;
  }

  problem(name: VariableName, wrong: string, example: string = VARIABLES[name].example): void {
    this.problems.push(`${name}: ${wrong}. Example: ${name}=${example}`);
  }

  text(name: NamesOf<"text" | "list" | "file" | "choice" | "integer" | "flag">): string | null {
    return this.#value(name);
  }

  /** The variable, or the content of the file that `NAME_FILE` names. */
  secret(name: NamesOf<"secret">): string | null {
    const value = this.#value(name);
    const path = this.#value(`${name}_FILE`);
    if (value !== null && path !== null) this.problem(name, `set either ${name} or ${name}_FILE, not both`);
    if (path === null) return value;
    const content = this.#content(name, `${name}_FILE`, path)?.trim() ?? null;
    if (content !== "") return content;
    this.problems.push(`${name}_FILE: ${path} is empty. Example: ${name}_FILE=${exampleOf(name, `${name}_FILE`)}`);
    return null;
  }

  /** The content of the file that the variable names. */
  file(name: NamesOf<"file">): string | null {
    const path = this.#value(name);
    return path === null ? null : this.#content(name, name, path);
  }

  /**
   * The JSON in the file that the variable names, and its text without the byte order mark that some editors put before it.
   * @returns null: there is no file, or what is wrong with it became a problem
   */
  json(name: NamesOf<"file">): { readonly json: unknown; readonly text: string } | null {
    const text = this.file(name)?.replace(/^\ufeff/, "") ?? null;
    if (text === null) return null;
    try {
      const json: unknown = JSON.parse(text);
      const repeated = repeatedMember(text);
      if (repeated === null) return { json, text };
      this.problem(name, `names the member ${JSON.stringify(repeated)} twice: leave one of them out`);
    } catch (error) {
      this.problem(name, `is no JSON (${(error as Error).message})`);
    }
    return null;
  }

  /** The path that the variable names, of a file that can be read. */
  readablePath(name: NamesOf<"file">): string | null {
    return this.file(name) === null ? null : this.#value(name);
  }

  /** The variable that names this file to be read; null: none does. */
  variableOf(file: string): string | null {
    for (const [name, { kind }] of Object.entries(VARIABLES)) {
      const source = kind === "secret" ? `${name}_FILE` : name;
      const path = kind === "secret" || kind === "file" ? this.#value(source) : null;
      if (path !== null && resolve(path) === resolve(file)) return source;
    }
    return null;
  }

  integer(name: NamesOf<"integer">): number {
    const { default: fallback, min, max } = VARIABLES[name] as Extract<Variable, { kind: "integer" }>;
    const value = this.#value(name);
    if (value === null) return fallback;
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    this.problem(name, `must be a whole number from ${min} to ${max}, not ${JSON.stringify(value)}`);
    return fallback;
  }

  flag(name: NamesOf<"flag">, production: boolean): boolean {
    const declared = (VARIABLES[name] as Extract<Variable, { kind: "flag" }>).default;
    const fallback = declared === "production" ? production : declared;
    const value = this.#value(name)?.toLowerCase();
    if (value === undefined) return fallback;
    if (["1", "true", "on", "yes"].includes(value)) return true;
    if (["0", "false", "off", "no"].includes(value)) return false;
    this.problem(name, `must be 1 or 0, not ${JSON.stringify(value)}`);
    return fallback;
  }

  choice<Name extends NamesOf<"choice">>(name: Name): ChoicesOf<Name> | null {
    const { choices } = VARIABLES[name] as Extract<Variable, { kind: "choice" }>;
    const value = this.#value(name);
    if (value === null) return null;
    const found = choices.find((choice) => choice === value.toLowerCase());
    if (found !== undefined) return found as ChoicesOf<Name>;
    this.problem(name, `must be ${choices.join(" or ")}, not ${JSON.stringify(value)}`);
    return null;
  }

  list(name: NamesOf<"list">): string[] {
    return (this.#value(name) ?? "")
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "");
  }

  #value(name: string): string | null {
    return valueIn(this.#env, name);
  }

  #content(name: VariableName, source: string, path: string): string | null {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      this.problems.push(`${source}: cannot read ${path} (${code}). Example: ${source}=${exampleOf(name, source)}`);
      return null;
    }
  }
}

function exampleOf(name: VariableName, source: string): string {
  return source === name ? VARIABLES[name].example : "/run/secrets/value";
}
