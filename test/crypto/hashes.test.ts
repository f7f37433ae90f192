import { expect, it } from "@jest/globals";
import { hashOf, isSameSecret } from "../../src/crypto/hashes.ts";

it.each([
  ["the same text", "correct horse", "correct horse", true],
  ["the same text beyond ASCII", "pass\u00e9", "pass\u00e9", true],
  ["hashes of the same secret", hashOf("secret"), hashOf("secret"), true],
  ["another text of the same length", "correct horse", "correct house", false],
  ["a prefix", "correct", "correct horse", false],
  ["as many characters but more bytes", "pass\u00e9", "passe", false],
  ["nothing and something", "", "x", false],
])("compares secrets: %s", (_, a, b, same) => {
  expect(isSameSecret(a, b)).toBe(same);
});
