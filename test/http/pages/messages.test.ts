import { describe, expect, test } from "@jest/globals";
import { LANGUAGES } from "../../../src/config/languages.ts";
import { ACCOUNT_MESSAGES } from "../../../src/http/pages/account-messages/account-messages.ts";
import { FACTOR_MESSAGES } from "../../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../../src/http/pages/messages.ts";
import { MAIL_MESSAGES } from "../../../src/mail/messages/messages.ts";

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

test.each(LANGUAGES)("of one recovery code the page speaks in the singular: %s", (language) => {
  const { codesLeft } = FACTOR_MESSAGES[language];
  expect(codesLeft(1)).not.toBe(codesLeft(2).replace("2", "1"));
});

test("pages and mails in Japanese have one word for signing in and out", () => {
  const texts = [MESSAGES.ja, FACTOR_MESSAGES.ja, ACCOUNT_MESSAGES.ja, MAIL_MESSAGES.ja].flatMap((each) =>
    textsOf(each),
  );
  expect(texts.filter(([, text]) => /サイン(イン|アウト)/.test(text))).toEqual([]);
  expect(texts.filter(([, text]) => /ログイン/.test(text)).length).toBeGreaterThan(0);
});

test.each(LANGUAGES.filter((language) => language !== "en"))(
  "the texts about factors are translated: %s",
  (language) => {
    const english = new Map(textsOf(FACTOR_MESSAGES.en));
    const texts = textsOf(FACTOR_MESSAGES[language]);
    const same = texts.filter(([path, text]) => text === english.get(path)).map(([path]) => path);
    expect(same.filter((path) => !["code", "passkeys"].includes(path))).toEqual([]);
  },
);

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
