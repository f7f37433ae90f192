import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Eta } from "eta";
import type { Brand, Localised } from "../../config/brand.ts";
import type { Scheme, Shades } from "../../config/brand-colours.ts";
import type { Config } from "../../config/config.ts";
import type { Language } from "../../config/languages.ts";

/** The templates of this folder. */
export const OWN_TEMPLATES = new Eta({ views: import.meta.dirname, cache: true });

const ownStyle = readFileSync(new URL("style.css", import.meta.url), "utf8");

/** What all pages of a service have in common. */
export interface Look {
  readonly style: string;
  /** SHA-256 of the style, base64: the policy allows no other. */
  readonly styleHash: string;
  /** Those of this folder, or the operator's in their place. */
  readonly templates: Eta;
}

/** What a template gets of the brand; all but the icon is null where there is none. */
export interface ShownBrand {
  readonly name: string | null;
  /** A `data:` URI, as is the icon. */
  readonly logo: string | null;
  readonly icon: string;
  readonly support: string | null;
  readonly policy: string | null;
  readonly terms: string | null;
  readonly legal: string | null;
}

const looks = new WeakMap<Config, Look>();

/** Made once for a service. */
export function lookOf(config: Config): Look {
  const known = looks.get(config);
  if (known !== undefined) return known;
  const style = ownStyle + styleOf(config.brand);
  const styleHash = createHash("sha256").update(style).digest("base64");
  const look = { style, styleHash, templates: templatesOf(config) };
  looks.set(config, look);
  return look;
}

function templatesOf({ templates }: Config): Eta {
  if (templates.size === 0) return OWN_TEMPLATES;
  const eta = new Eta({ views: import.meta.dirname, cache: true });
  const readOwn = eta.readFile.bind(eta);
  eta.readFile = (path) => templates.get(basename(path, ".eta")) ?? readOwn(path);
  return eta;
}

function styleOf(brand: Brand | null): string {
  const schemes = Object.entries(brand?.colours ?? {}) as [Scheme, Shades | undefined][];
  return schemes.map(([scheme, shades]) => (shades === undefined ? "" : styleOfShades(scheme, shades))).join("");
}

function styleOfShades(scheme: Scheme, { accent, accentOver, onAccent, wash, glow }: Shades): string {
  const tokens = { accent, "accent-over": accentOver, "on-accent": onAccent, wash, glow };
  const lines = Object.entries(tokens).map(([name, value]) => `    --${name}: ${value};\n`);
  return `@media (prefers-color-scheme: ${scheme}) {\n  :root {\n${lines.join("")}  }\n}\n`;
}

/** The brand in the language of a page. */
export function brandIn(language: Language, { brand }: Config): ShownBrand {
  const shown = (texts: Localised | undefined) => texts?.[language] ?? texts?.en ?? null;
  const { support, policy, terms } = brand?.links ?? {};
  return {
    name: brand?.name ?? null,
    logo: brand?.logo ?? null,
    icon: brand?.favicon ?? iconOf(brand?.colours.light),
    support: shown(support),
    policy: shown(policy),
    terms: shown(terms),
    legal: shown(brand?.legal),
  };
}

/** This service's key, in the brand's colours. */
function iconOf(shades: Shades | undefined): string {
  const { accent, onAccent } = shades ?? { accent: "#0f5c4c", onAccent: "#fff" };
  const hash = (colour: string) => colour.replace("#", "%23");
  return `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='9' fill='${hash(accent)}'/%3E%3Cpath fill='${hash(onAccent)}' d='M16 8a5 5 0 0 0-2.4 9.4L12.2 24h7.6l-1.4-6.6A5 5 0 0 0 16 8z'/%3E%3C/svg%3E`;
}
