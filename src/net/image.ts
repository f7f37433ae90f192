export type ImageType = "image/svg+xml" | "image/png" | "image/webp" | "image/jpeg";

/** What an image is, or why it is refused. */
export type ReadImage = { readonly type: ImageType } | { readonly problem: string };

const comments = String.raw`(?:<!--(?:(?!-->)[\s\S])*-->\s*)*`;
/** What comes before the root element, in which no entity is declared. It reads each character once: anybody may have written it. */
const svgStart = new RegExp(
  String.raw`^\s*(?:<\?xml\s[^>]*\?>\s*)?${comments}(?:<!DOCTYPE\s+svg\b[^>[]*>\s*${comments})?<svg[\s>]`,
  "i",
);

const svgEnd = new RegExp(String.raw`^</svg\s*>\s*${comments}$`);

/** A numeric reference to an ASCII letter, an opening bracket, a colon or a backslash: no drawing program writes one. */
const hiddenCharacter =
  /&#(?:0*(?:40|58|92|6[5-9]|[78]\d|90|9[7-9]|1[01]\d|12[0-2])|x0*(?:28|3a|5c|[46][1-9a-f]|[57][0-9a]));/i;

/** An SVG in an `<img>` runs no script and loads nothing. One that would is refused all the same: somebody may open its address. */
const svgRefused: readonly (readonly [RegExp, string])[] = [
  [/<(?:[\w.-]+:)?(?:script|handler|listener)\b|[\s"'/]on[a-z]+\s*=|javascript:/i, "has a script"],
  [/<(?:[\w.-]+:)?(?:foreignObject|iframe|object|embed)\b/i, "has something else than a drawing in it"],
  [/<!ENTITY|<\?xml-stylesheet|@import/i, "names another file"],
  [/\b(?:href|src)\s*=\s*(?:["']\s*)?(?!["'\s#]|data:image\/(?:png|jpeg|webp);)/i, "names another file"],
  [/\burl\(\s*(?:["']\s*)?(?!["'\s#])/i, "names another file"],
  // a browser reads `u\72l(` and `&#117;rl(` as `url(`
  [/\\/, "has a backslash, which may hide what it names: write the character itself"],
  [hiddenCharacter, "has a letter, a bracket or a colon as a number (&#…;): write the character itself"],
];

/** Tells the type of an image from its bytes alone: neither a name nor a header is believed. */
export function readImage(bytes: Buffer): ReadImage {
  const startsWith = (hex: string, at = 0) => bytes.subarray(at, at + hex.length / 2).toString("hex") === hex;
  if (startsWith("89504e470d0a1a0a") && startsWith("49484452", 12)) return { type: "image/png" };
  if (startsWith("52494646") && startsWith("57454250", 8)) return { type: "image/webp" };
  if (startsWith("ffd8ff")) return { type: "image/jpeg" };
  const text = textOf(bytes);
  if (text === null || !svgStart.test(text)) return { problem: "is neither SVG, PNG, WebP nor JPEG" };
  if (!isWhole(text)) return { problem: "is an SVG that ends before its </svg>: save or copy it again" };
  const refused = svgRefused.find(([pattern]) => pattern.test(text));
  return refused === undefined ? { type: "image/svg+xml" } : { problem: `is an SVG that ${refused[1]}` };
}

/** Does nothing but space and comments follow the end of the root element? */
function isWhole(svg: string): boolean {
  return svgEnd.test(svg.slice(Math.max(0, svg.lastIndexOf("</svg"))));
}

function textOf(bytes: Buffer): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}
