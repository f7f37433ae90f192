import type { z } from "zod";
import { nearest } from "../nearest.ts";

/** What JSON calls by other names than those who write it. */
const kinds: Readonly<Record<string, string>> = {
  ...{ string: "a text", number: "a number", int: "a whole number", boolean: "true or false", null: "null" },
  ...{ array: "a list", object: "an object", record: "an object" },
};

/**
 * Says of what a schema refused what it is and what it must be, for `safeParse(value, { error: plainProblem })`; a schema's own messages go first.
 * Only of values that are chosen from a list is the value told: others may be secrets. The text fits into an `error_description` (RFC 6749 section 5.2).
 */
export const plainProblem: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case "invalid_type":
      return `${isOf(issue.input)}; must be ${kinds[issue.expected] ?? issue.expected}`;
    case "too_small":
      return sizeProblem(issue.input, issue.origin, `at least ${issue.minimum}`);
    case "too_big":
      return sizeProblem(issue.input, issue.origin, `at most ${issue.maximum}`);
    case "invalid_value":
      return `is ${quoted(issue.input)}; must be ${issue.values.length > 1 ? "one of " : ""}${issue.values.join(", ")}`;
    case "invalid_union": {
      const demands = issue.errors.map(([first]) => first?.message.split("; ").at(-1));
      return `${isOf(issue.input)}; ${[...new Set(demands)].join(", or ")}`;
    }
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownMember(key, membersOf(issue.inst))).join("; ");
    default:
      return undefined;
  }
};

/** That there is no such member, and which one was probably meant. */
export function unknownMember(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  return `has no member ${quoted(name)}${meant === null ? "" : `: did you mean ${meant}?`}`;
}

function membersOf(schema: unknown): string[] {
  const { shape = {} } = (schema as z.ZodObject | undefined) ?? {};
  return Object.keys(shape);
}

function isOf(input: unknown): string {
  if (input === undefined) return "is missing";
  const kind = input === null ? "null" : Array.isArray(input) ? "array" : typeof input;
  return `is ${typeof input === "boolean" ? input : kinds[kind]}`;
}

function sizeProblem(input: unknown, origin: string, bound: string): string {
  if (origin === "string") return `has ${String(input).length} characters; must have ${bound}`;
  if (origin === "array") return `has ${(input as unknown[]).length} entries; must have ${bound}`;
  return `is ${String(input)}; must be ${bound}`;
}

function quoted(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "missing");
  const printable = text.slice(0, 60).replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "?");
  return typeof value === "string" ? `'${printable}'` : printable;
}
