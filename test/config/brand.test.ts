import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "@jest/globals";
import type { Brand } from "../../src/config/brand.ts";
import { contrastOf, PAGE_COLOURS, problemsOfShades, type Scheme, shadesOf } from "../../src/config/brand-colours.ts";
import { ConfigError, readConfig } from "../../src/config/config.ts";
import { exampleBrand, exampleBrandFile, writeBrand } from "../support/brand.ts";

const production = {
  NODE_ENV: "production",
  ISSUER: "https://auth.example.com",
  DATABASE_URL: "mysql://auth:secret@db.example:3306/auth",
  KEY_ENCRYPTION_KEY: Buffer.alloc(32, 3).toString("base64"),
};

/** The brand of a file, or what the start says of it, without the example at the end. */
function read(file: string): Brand | null | string[] {
  try {
    return readConfig({ ...production, BRAND_FILE: file }).config.brand;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problem.replace(/^BRAND_FILE: (.*)\. Example: BRAND_FILE=.*$/s, "$1"));
  }
}

const png = Buffer.from("89504e470d0a1a0a0000000d49484452", "hex");
const svg = (inside: string) => `<svg xmlns="http://www.w3.org/2000/svg">${inside}</svg>`;

describe("BRAND_FILE", () => {
  it("is read with its images, and says one text for all languages or one for each", () => {
    const brand = read(exampleBrandFile) as Brand;
    expect(brand.name).toBe("Harbour Books");
    expect(decodeURIComponent(brand.logo ?? "")).toMatch(/^data:image\/svg\+xml,<svg /);
    expect(brand.links.support).toEqual({ en: "https://help.harbour-books.example/" });
    expect(brand.legal?.de).toContain("Königreich");
    expect((read(writeBrand({ logo: "logo.png" }, { "logo.png": png })) as Brand).logo).toBe(
      `data:image/png;base64,${png.toString("base64")}`,
    );
    expect(readConfig(production).config.brand).toBe(null);
  });

  it("is the one that docs/how-to/brand.md shows", () => {
    const page = readFileSync(new URL("../../docs/how-to/brand.md", import.meta.url), "utf8");
    expect(JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? "")).toEqual(exampleBrand);
  });

  it("needs no more than a name", () => {
    expect(read(writeBrand('{ "name": "Büro 東京 👩‍💻" }'))).toEqual({
      name: "Büro 東京 👩‍💻",
      colours: {},
      links: {},
    });
  });

  it.each<[member: string, json: object, says: string]>([
    ["name", { name: "" }, "name: must not be empty or have spaces around it"],
    ["name", { name: " Books" }, "name: must not be empty or have spaces around it"],
    ["name", { name: "x".repeat(61) }, "name: must have at most 60 characters"],
    ["name", { name: "Books\u202egpj" }, "name: must not have control, invisible or bidirectional characters"],
    ["name", { name: "\u200b" }, "name: must not have control, invisible or bidirectional characters"],
    ["name", { name: "\u3164" }, "name: must have at least one visible character"],
    ["name", { name: "\u2800" }, "name: must have at least one visible character"],
    ["logo", { logo: "cut.svg" }, "logo: cut.svg is an SVG that ends before its </svg>: save or copy it again"],
    ["logo", { logo: "half.svg" }, "logo: half.svg is an SVG that ends before its </svg>: save or copy it again"],
    [
      "logo",
      { logo: "escaped.svg" },
      "logo: escaped.svg is an SVG that has a backslash, which may hide what it names: write the character itself",
    ],
    [
      "logo",
      { logo: "number.svg" },
      "logo: number.svg is an SVG that has a letter, a bracket or a colon as a number (&#…;): write the character itself",
    ],
    ["name", { name: "Bo\noks" }, "name: must not have control, invisible or bidirectional characters"],
    ["name", { name: undefined }, "name: is missing; must be a text"],
    ["logo", { logo: "../logo.svg" }, "logo: must be the name of a file beside the brand file"],
    ["logo", { logo: "/etc/passwd" }, "logo: must be the name of a file beside the brand file"],
    ["logo", { logo: "none.svg" }, "logo: none.svg cannot be read (ENOENT)"],
    ["logo", { logo: "folder" }, "logo: folder cannot be read (EISDIR)"],
    ["logo", { logo: "large.png" }, "logo: large.png has 32769 bytes, and may have 32768"],
    ["logo", { logo: "page.svg" }, "logo: page.svg is neither SVG, PNG, WebP nor JPEG"],
    ["logo", { logo: "script.svg" }, "logo: script.svg is an SVG that has a script"],
    ["favicon", { favicon: "handler.svg" }, "favicon: handler.svg is an SVG that has a script"],
    ["favicon", { favicon: "font.svg" }, "favicon: font.svg is an SVG that names another file"],
    ["favicon", { favicon: "image.svg" }, "favicon: image.svg is an SVG that names another file"],
    ["favicon", { favicon: "html.svg" }, "favicon: html.svg is an SVG that has something else than a drawing in it"],
    ["favicon", { favicon: "entity.svg" }, "favicon: entity.svg is neither SVG, PNG, WebP nor JPEG"],
    ["links", { links: { support: "http://a.example/" } }, "links.support: must be an https URL"],
    ["links", { links: { support: "javascript:alert(1)" } }, "links.support: must be an https URL"],
    ["links", { links: { terms: "https://ada:secret@a.example/" } }, "links.terms: must be an https URL"],
    ["links", { links: { policy: { en: "https://a.example/", de: "a" } } }, "links.policy.de: must be an https URL"],
    ["links", { links: { policy: { de: "https://a.example/" } } }, "links.policy: needs one in English (en)"],
    ["links", { links: { imprint: "https://a.example/" } }, "links: has no member 'imprint'"],
    ["legal", { legal: { en: "a", xx: "b" } }, "legal: has no member 'xx'"],
    ["legal", { legal: "x".repeat(301) }, "legal: must have at most 300 characters"],
    ["colours", { colours: { light: { accent: "red" } } }, "colours.light.accent: must be a colour as #0f5c4c"],
    ["colours", { colours: { dim: {} } }, "colours: has no member 'dim'"],
    ["colours", { colours: { lihgt: {} } }, "colours: has no member 'lihgt': did you mean light?"],
    ["other", { color: "#000000" }, "the file: has no member 'color'"],
  ])("names the wrong member and the reason: %s %j", (_member, json, says) => {
    const file = writeBrand(json as Record<string, unknown>, {
      "large.png": Buffer.concat([png, Buffer.alloc(32 * 1024 - png.length + 1)]),
      "page.svg": "<!doctype html><svg></svg>",
      "script.svg": svg("<script>alert(1)</script>"),
      "handler.svg": svg('<g onload="alert(1)"/>'),
      "font.svg": svg("<style>a { fill: url(https://a.example/x.svg#a) }</style>"),
      "image.svg": svg('<image href="https://a.example/x.png"/>'),
      "html.svg": svg("<foreignObject></foreignObject>"),
      "cut.svg": '<svg xmlns="http://www.w3.org/2000/svg"><rect',
      "half.svg": svg("<g></g>").slice(0, -1),
      "escaped.svg": svg("<style>rect { fill: u\\72l(//a.example/x) }</style>"),
      "number.svg": svg("<style>rect { fill: &#x75;rl(//a.example/x) }</style>"),
      "entity.svg": `<!DOCTYPE svg [<!ENTITY a "b">]>${svg("")}`,
    });
    mkdirSync(join(dirname(file), "folder"));
    expect(read(file)).toEqual([says]);
  });

  it("may have the byte order mark of an editor, and comments after its drawing", () => {
    const file = writeBrand('\ufeff{ "name": "Books", "logo": "a.svg" }', {
      "a.svg": `${svg("&#233;")}\n<!-- a -->\n`,
    });
    expect(read(file)).toMatchObject({ name: "Books", logo: expect.stringMatching(/^data:image\/svg/) });
  });

  it("names a member that is there twice, at any depth", () => {
    expect(read(writeBrand('{ "name": "A", "name": "B" }'))).toEqual([
      'names the member "name" twice: leave one of them out',
    ]);
    const deep = '{ "name": "A", "legal": { "en": "a", "de": "b", "en": "c" } }';
    expect(read(writeBrand(deep))).toEqual(['names the member "en" twice: leave one of them out']);
  });

  it("says what is no JSON, and every wrong member at once", () => {
    expect(read(writeBrand("{"))).toEqual([expect.stringMatching(/^is no JSON \(/)]);
    const wrong = read(writeBrand({ name: "", logo: "none.svg", legal: "" }));
    expect((wrong as string[]).map((each) => each.split(":")[0])).toEqual(["name", "logo", "legal"]);
  });

  it("names the contrast of a colour that cannot be read, and the one that is needed", () => {
    const colours = { light: { accent: "#FFCC00" }, dark: { accent: "#e3a6d4", text: "#ffffff" } };
    expect(read(writeBrand({ colours }))).toEqual([
      expect.stringMatching(
        /^colours\.light\.accent: #ffcc00 has a contrast of 1\.3\d:1 on the light page's background \(#[0-9a-f]{6}\); at least 4\.5:1 is needed$/,
      ),
      expect.stringMatching(
        /^colours\.dark\.text: #ffffff has a contrast of 1\.9\d:1 on the accent \(#e3a6d4\); at least/,
      ),
    ]);
  });
});

describe("the colours of a brand", () => {
  it("are compared with the backgrounds that the style has", () => {
    const style = readFileSync(new URL("../../src/http/pages/style.css", import.meta.url), "utf8");
    const [light = "", dark = ""] = style.split("@media (prefers-color-scheme: dark)");
    for (const [part, { card, paper }] of [[light, PAGE_COLOURS.light] as const, [dark, PAGE_COLOURS.dark] as const]) {
      expect([/--card: (#\w+)/.exec(part)?.[1], /--paper: (#\w+)/.exec(part)?.[1]]).toEqual([card, paper]);
    }
  });

  it("have the contrasts of WCAG", () => {
    expect(contrastOf("#ffffff", "#000000")).toBeCloseTo(21, 5);
    expect(contrastOf("#777777", "#ffffff")).toBeCloseTo(4.48, 2);
  });

  it.each<Scheme>(["light", "dark"])("stand out from everything they lie on or under, hovered too, in %s", (scheme) => {
    const soft = { light: "#56605c", dark: "#aeb7b2" }[scheme];
    let taken = 0;
    for (let value = 0; value < 0x1000000; value += 0x0d0b07) {
      const shades = shadesOf(scheme, `#${value.toString(16).padStart(6, "0")}`);
      if (problemsOfShades(scheme, shades).length > 0) continue;
      taken++;
      const { accent, accentOver, onAccent, wash } = shades;
      const { card, paper } = PAGE_COLOURS[scheme];
      const pairs = [
        [accent, card],
        [accent, paper],
        [accent, wash],
        [onAccent, accent],
        [onAccent, accentOver],
        [soft, wash],
      ];
      for (const [front = "", back = ""] of pairs) {
        expect([accent, front, back, contrastOf(front, back) >= 4.5]).toEqual([accent, front, back, true]);
      }
    }
    expect(taken).toBeGreaterThan(5);
  });
});
