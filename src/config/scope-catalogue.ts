import { z } from "zod";
import { INTERNAL_SCOPES } from "../store/client-metadata.ts";
import { CLAIMS_BY_SCOPE, USER_CLAIMS } from "../store/user-claims.ts";
import { isResourceUri } from "../token/uri.ts";
import type { Reader } from "./reader.ts";

/** What these mean is in the standards, or in this service's own contract. */
const reserved: readonly string[] = ["openid", "offline_access", ...Object.keys(CLAIMS_BY_SCOPE), ...INTERNAL_SCOPES];

const language = z.string().regex(/^[a-z]{2,3}(-[A-Za-z0-9]{1,8})*$/, "must be a language tag, as en or pt-BR");

const entry = z.strictObject({
  scope: z
    .string()
    .regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/, "must be 1 to 100 characters of RFC 6749 section 3.3")
    .refine((scope) => !reserved.includes(scope), "is a scope that this service defines itself"),
  /** What the consent page says that an application can do with it, by language: "see your orders". */
  description: z
    .record(language, z.string().min(1).max(300))
    .refine((texts) => texts["en"] !== undefined, "needs a text in English (en)"),
  /** Claims of the user that it releases, besides those of the standard scopes. */
  claims: z.array(z.enum(USER_CLAIMS)).max(30).default([]),
  /** The resource (RFC 8707) it belongs to: only tokens for that resource have it. */
  resource: z.string().refine(isResourceUri, "must be an absolute URI without fragment (RFC 8707)").optional(),
  /**
   * Who may ask for it. `anyone`: also clients that registered themselves; `registered`: those that the operator registered; `first_party`: those of
   * them with `first_party`; a list: these client ids.
   */
  who: z
    .union([z.enum(["anyone", "registered", "first_party"]), z.array(z.string().min(1).max(191)).min(1).max(100)])
    .default("registered"),
  /** Is it in the discovery documents? Those for anyone are unless this is false. */
  listed: z.boolean().optional(),
});

/** A scope of the catalogue (SCOPES_FILE). */
export type CatalogueScope = z.infer<typeof entry>;

/** The scopes that the operator described, by name. */
export type ScopeCatalogue = ReadonlyMap<string, CatalogueScope>;

const catalogue = z.array(entry).max(500);

/** @param text of SCOPES_FILE; null: there is none */
export function readScopeCatalogue(read: Reader, text: string | null): ScopeCatalogue {
  if (text === null) return new Map();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    read.problem("SCOPES_FILE", `is no JSON (${(error as Error).message})`);
    return new Map();
  }
  const parsed = catalogue.safeParse(json);
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues) read.problem("SCOPES_FILE", `${placeOf(path)}: ${message}`);
    return new Map();
  }
  const scopes = new Map(parsed.data.map((each) => [each.scope, each]));
  if (scopes.size < parsed.data.length) read.problem("SCOPES_FILE", "describes a scope more than once");
  return scopes;
}

/** Where in the file: `[2].who`. */
function placeOf(path: readonly PropertyKey[]): string {
  const names = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  return names === "" ? "the file" : names;
}
