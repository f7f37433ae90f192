import { z } from "zod";
import { plainProblem } from "../store/schema-problems.ts";
import { CLAIMS_BY_SCOPE, USER_CLAIMS } from "../store/user-claims.ts";
import { isResourceUri } from "../token/uri.ts";
import { LANGUAGES } from "./languages.ts";
import type { Reader } from "./reader.ts";

/** What these mean is in the standards, or in this service's own contract. */
const reserved: readonly string[] = ["openid", "offline_access", ...Object.keys(CLAIMS_BY_SCOPE)];

const textsByLanguage = `must be an object of texts by language of the pages (${LANGUAGES.join(", ")}), as { "en": "see your orders" }`;

const line = z.string("must be a text").min(1, "must not be empty").max(300, "must have at most 300 characters");

const whos = ["anyone", "registered", "first_party"] as const;

const entry = z.strictObject({
  scope: z
    .string("must be a text")
    .regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/, "must be 1 to 100 characters of RFC 6749 section 3.3")
    .refine(
      (scope) => !reserved.includes(scope) && !scope.startsWith("auth."),
      "is a scope that this service defines itself",
    ),
  /** What the consent page says that an application can do with it, by language: "see your orders". */
  description: z
    .partialRecord(z.enum(LANGUAGES), line, textsByLanguage)
    .refine((texts) => texts["en"] !== undefined, "needs a text in English (en)"),
  /** Claims of the user that it releases, besides those of the standard scopes. */
  claims: z
    .array(z.enum(USER_CLAIMS, `must be one of ${USER_CLAIMS.join(", ")}`), "must be a list of claims")
    .max(30, "must be at most 30 claims")
    .default([]),
  /** The resource (RFC 8707) it belongs to: only tokens for that resource have it. */
  resource: z.string().refine(isResourceUri, "must be an absolute URI without fragment (RFC 8707)").optional(),
  /**
   * Who may ask for it. `anyone`: also clients that registered themselves; `registered`: those that the operator registered; `first_party`: those of
   * them with `first_party`; a list: these client ids.
   */
  who: z
    .union(
      [z.enum(whos), z.array(z.string().min(1).max(191)).min(1).max(100)],
      `must be ${whos.join(", ")}, or a list of 1 to 100 client ids`,
    )
    .default("registered"),
  /** Is it in the discovery documents? Those for anyone are unless this is false. */
  listed: z.boolean("must be true or false").optional(),
});

/** A scope of the catalogue (SCOPES_FILE). */
export type CatalogueScope = z.infer<typeof entry>;

/** The scopes that the operator described, by name. */
export type ScopeCatalogue = ReadonlyMap<string, CatalogueScope>;

const catalogue = z.array(entry, "must be a list of scopes").max(500, "must be at most 500 scopes");

/** Reads SCOPES_FILE; without one no scope is described. */
export function readScopeCatalogue(read: Reader): ScopeCatalogue {
  const file = read.json("SCOPES_FILE");
  if (file === null) return new Map();
  const parsed = catalogue.safeParse(file.json, { error: plainProblem });
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues) read.problem("SCOPES_FILE", `${placeOf(path)}: ${message}`);
    return new Map();
  }
  const scopes = new Map<string, CatalogueScope>();
  for (const each of parsed.data) {
    if (scopes.has(each.scope)) read.problem("SCOPES_FILE", `describes the scope ${each.scope} more than once`);
    scopes.set(each.scope, each);
  }
  return scopes;
}

/** Where in the file: `[2].who`. */
function placeOf(path: readonly PropertyKey[]): string {
  const names = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  return names === "" ? "the file" : names;
}
