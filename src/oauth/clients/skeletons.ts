import { rectifyConfusion } from "unicode-confusables";

/** Small letters that look alike, and that the table of UTS 39 keeps apart, as it compares letters of one size. */
const lookalikes: Readonly<Record<string, string>> = {
  ...{ i: "l", "1": "l", "0": "o", ß: "b", в: "b", н: "h", к: "k", ĸ: "k", м: "m", ʍ: "m", т: "t" },
  ...{ ᴀ: "a", ʙ: "b", ᴅ: "d", ᴇ: "e", ɢ: "g", ʜ: "h", ᴊ: "j", ᴋ: "k", ʟ: "l", ᴍ: "m", ɴ: "n", ᴘ: "p", ʀ: "r", ᴛ: "t" },
  ...{ β: "b", ε: "e", η: "n", κ: "k", τ: "t", χ: "x", ꮖ: "l" },
};

/**
 * What is left of a name for an eye that reads quickly: no case, accents, spaces or signs, and one letter for all that look alike (UTS 39 section 4).
 * Small letters above the line, and bars, can be read or overlooked, and digits of other scripts be read by their value or their look, so there are several.
 */
export function skeletonsOf(name: string): string[] {
  const readings = [name, name.replaceAll(/[[\p{Lm}ªº]&&\p{Script=Latin}]|\p{No}|\|/gv, "")];
  const all = readings.flatMap((reading) => [skeletonOf(reading), skeletonOf(withPlainDigits(reading))]);
  return [...new Set(all.map((skeleton) => (skeleton === "" ? name : skeleton)))];
}

function skeletonOf(name: string): string {
  // signs go first: some are letters once they are decomposed
  const letters = name.replaceAll(/[^\p{Alphabetic}\p{L}\p{N}\p{M}|]/gu, "").replaceAll(/ß|ẞ/g, "ss");
  // before the case is folded, as capitals of other scripts look like Latin ones where their small letters do not; and after
  const alike = confused(confused(letters).toLowerCase());
  const folded = Array.from(alike, (letter) => lookalikes[letter] ?? letter).join("");
  return folded.replaceAll("rn", "m").replaceAll("vv", "w");
}

function confused(text: string): string {
  const base = withoutAccents(text.normalize("NFKD"));
  return withoutAccents(rectifyConfusion(base).normalize("NFKD")).replaceAll(/[^\p{L}\p{N}\p{M}]/gu, "");
}

/** Vowels of Indic scripts, and the marks by which two letters of kana differ, are no accents. */
function withoutAccents(text: string): string {
  return text.replaceAll(/[[\p{Mn}\p{Me}]--[\u3099\u309a]]/gv, "");
}

/** Digits of other scripts as those of ASCII. Each script's stand in a row, from zero on. */
function withPlainDigits(name: string): string {
  return name.normalize("NFKD").replaceAll(/\p{Nd}/gu, (digit) => {
    const at = digit.codePointAt(0) ?? 0;
    let zero = at;
    while (zero > at - 10 && /\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
    return String((at - zero) % 10);
  });
}
