import { describe, expect, test } from "@jest/globals";
import { LANGUAGES } from "../../../src/config/languages.ts";
import { MESSAGES } from "../../../src/http/pages/messages.ts";

/** Texts that are the same word in both languages, or that a sentence of the language does not need. */
const sameAsEnglish: Readonly<Record<string, readonly string[]>> = {
  de: ["deviceCode"],
  fr: ["deviceCode"],
  es: ["titleOfError"],
};

/** Every text by its path; a text made of a value is made of one that is easily found. */
function textsOf(value: unknown, path = ""): [path: string, text: string][] {
  if (typeof value === "string") return [[path, value]];
  if (typeof value === "function") return textsOf(value("〈1〉", "〈2〉"), path);
  return Object.entries(value as object).flatMap(([name, each]) =>
    textsOf(each, path === "" ? name : `${path}.${name}`),
  );
}

const english = new Map(textsOf(MESSAGES.en));

describe.each(LANGUAGES.filter((language) => language !== "en"))("the texts of the pages in %s", (language) => {
  const texts = new Map(textsOf(MESSAGES[language]));

  test("have every text of the English pages and no other", () => {
    expect([...texts.keys()].sort()).toEqual([...english.keys()].sort());
  });

  test("are translated", () => {
    const same = [...texts].filter(([path, text]) => text !== "" && text === english.get(path)).map(([path]) => path);
    expect(same.filter((path) => !sameAsEnglish[language]?.includes(path))).toEqual([]);
  });

  test("are not empty, but beside a name", () => {
    const empty = [...texts].filter(([, text]) => text.trim() === "").map(([path]) => path);
    expect(empty.filter((path) => !/(Before|After)$/.test(path))).toEqual([]);
  });

  test("name the values that the English texts name", () => {
    const valuesIn = (text = "") => [...text.matchAll(/〈\d〉/g)].map(([value]) => value).sort();
    const wrong = [...texts].filter(([path, text]) => String(valuesIn(text)) !== String(valuesIn(english.get(path))));
    expect(wrong).toEqual([]);
  });
});
