/** What a reader sees nothing of: spaces, controls, marks without a letter, and letters that are blank (Hangul fillers, the empty Braille cell). */
const showsNothing = /^[\p{Default_Ignorable_Code_Point}\p{White_Space}\p{Cc}\p{Cf}\p{Cs}\p{M}\u2800]*$/u;

/** Has a name at least one character that a reader sees? The one rule for names of users, passkeys, clients and brands. */
export function isVisible(name: string): boolean {
  return !showsNothing.test(name);
}

/** What is wrong with a name that is not. */
export const NOT_VISIBLE = "must have at least one visible character";

/** Controls of the Unicode Bidirectional Algorithm that reach past the text they stand in. */
const turning = /[\u202a-\u202e\u2066-\u2069]/;
/** Control characters, line ends, spaces without width, and marks of direction. */
const unseen = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff]/u;

/** Does a text change the direction of what follows it? People's own names may have marks of direction, but not these. */
export function turnsText(text: string): boolean {
  return turning.test(text);
}

/** Has a name of a program or a brand characters that nobody sees, with which it could pass for another one? */
export function hidesCharacters(name: string): boolean {
  return unseen.test(name) || turning.test(name);
}
