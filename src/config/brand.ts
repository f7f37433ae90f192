import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { readImage } from "../net/image.ts";
import { plainProblem } from "../store/schema-problems.ts";
import { hidesCharacters, isVisible, NOT_VISIBLE } from "../store/visible-text.ts";
import { problemsOfShades, type Scheme, type Shades, shadesOf } from "./brand-colours.ts";
import { LANGUAGES, type Language } from "./languages.ts";
import type { Reader } from "./reader.ts";

/** A text or an address by language. English stands in for a language that is missing. */
export type Localised = { readonly en: string } & { readonly [L in Language]?: string | undefined };

/** How the pages look and what they name, of BRAND_FILE. Images are `data:` URIs. */
export interface Brand {
  readonly name: string;
  readonly logo?: string | undefined;
  readonly favicon?: string | undefined;
  readonly colours: { readonly [S in Scheme]?: Shades | undefined };
  readonly links: {
    readonly support?: Localised | undefined;
    readonly policy?: Localised | undefined;
    readonly terms?: Localised | undefined;
  };
  readonly legal?: Localised | undefined;
}

/** Bytes. Each page carries its logo. */
const maxImage = 32 * 1024;

const line = (max: number) =>
  z
    .string()
    .refine((text) => text.trim() === text && text !== "", "must not be empty or have spaces around it")
    .refine((text) => Array.from(text).length <= max, `must have at most ${max} characters`)
    .refine((text) => !hidesCharacters(text), "must not have control, invisible or bidirectional characters")
    .refine((text) => text === "" || hidesCharacters(text) || isVisible(text), NOT_VISIBLE);

const link = z.string().max(2000).refine(isHttps, "must be an https URL");

function isHttps(value: string): boolean {
  if (!URL.canParse(value) || /[\s\\]/.test(value)) return false;
  const { protocol, username, password } = new URL(value);
  return protocol === "https:" && username === "" && password === "";
}

/** One for all languages, or one for each; of the union's two problems only the one that fits what was given is told. */
function localised(one: z.ZodType<string>) {
  const each = Object.fromEntries(LANGUAGES.map((language) => [language, one.optional()]));
  const byLanguage = z.strictObject(each).refine((texts) => texts["en"] !== undefined, "needs one in English (en)");
  return z.unknown().transform((given, ctx): Localised => {
    const isOne = typeof given === "string";
    const parsed = (isOne ? one : byLanguage).safeParse(given, { error: plainProblem });
    if (parsed.success) return (isOne ? { en: parsed.data } : parsed.data) as Localised;
    for (const { path, message } of parsed.error.issues) ctx.addIssue({ code: "custom", path, message });
    return z.NEVER;
  });
}

/** @param folder of the brand file */
function image(folder: string) {
  const fileName = z.string().regex(/^\w[\w.-]{0,99}$/, "must be the name of a file beside the brand file");
  return fileName.transform((name, ctx): string => {
    const read = readImageFile(join(folder, name));
    if ("uri" in read) return read.uri;
    ctx.addIssue({ code: "custom", message: `${name} ${read.problem}` });
    return z.NEVER;
  });
}

function readImageFile(path: string): { uri: string } | { problem: string } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    return { problem: `cannot be read (${(error as NodeJS.ErrnoException).code})` };
  }
  if (bytes.length > maxImage) return { problem: `has ${bytes.length} bytes, and may have ${maxImage}` };
  const read = readImage(bytes);
  if ("problem" in read) return read;
  // the text of an SVG compresses better than its base64
  const isText = read.type === "image/svg+xml";
  const data = isText ? `,${encodeURIComponent(bytes.toString("utf8"))}` : `;base64,${bytes.toString("base64")}`;
  return { uri: `data:${read.type}${data}` };
}

const colour = z
  .string()
  .regex(/^#[0-9a-fA-F]{6}$/, "must be a colour as #0f5c4c")
  .transform((text) => text.toLowerCase());

function shades(scheme: Scheme) {
  return z.strictObject({ accent: colour, text: colour.optional() }).transform(({ accent, text }, ctx): Shades => {
    const made = shadesOf(scheme, accent, text);
    for (const { member, message } of problemsOfShades(scheme, made)) {
      ctx.addIssue({ code: "custom", path: [member], message });
    }
    return made;
  });
}

function brandIn(folder: string) {
  const [links, icon] = [localised(link).optional(), image(folder).optional()];
  return z.strictObject({
    /** In the header and the titles. */
    name: line(60),
    logo: icon,
    favicon: icon,
    colours: z.strictObject({ light: shades("light").optional(), dark: shades("dark").optional() }).default({}),
    links: z.strictObject({ support: links, policy: links, terms: links }).default({}),
    /** A line below every page: who is behind it. */
    legal: localised(line(300)).optional(),
  });
}

/** Reads BRAND_FILE and the images beside it; null: there is none. */
export function readBrand(read: Reader): Brand | null {
  const file = read.json("BRAND_FILE");
  // asked for only where it could be read: a file that cannot be is one problem, not two
  const path = file === null ? null : read.readablePath("BRAND_FILE");
  if (file === null || path === null) return null;
  const parsed = brandIn(dirname(path)).safeParse(file.json, { error: plainProblem });
  if (parsed.success) return parsed.data;
  for (const { path: place, message } of parsed.error.issues) {
    read.problem("BRAND_FILE", `${place.length === 0 ? "the file" : place.join(".")}: ${message}`);
  }
  return null;
}
