import { randomBytes } from "node:crypto";
import { expect, it } from "@jest/globals";
import { deriveKeys } from "../../src/crypto/derived-keys.ts";
import { keysFor } from "../../src/crypto/keys-for.ts";
import { readPageToken, writePageToken } from "../../src/crypto/page-tokens.ts";
import { Sealer } from "../../src/crypto/sealing.ts";

const [older, newer] = [randomBytes(32), randomBytes(32)];

it("the first key seals, all of them open", () => {
  const before = new Sealer(keysFor("sealing", [older])).seal("text", "kid");
  const after = new Sealer(keysFor("sealing", [newer, older])).seal("text", "kid");
  expect(new Sealer(keysFor("sealing", [newer, older])).open(before, "kid").toString()).toBe("text");
  expect(new Sealer(keysFor("sealing", [newer])).open(after, "kid").toString()).toBe("text");
  expect(() => new Sealer(keysFor("sealing", [newer])).open(before, "kid")).toThrow("KEY_ENCRYPTION_KEY");
  expect(() => new Sealer(keysFor("sealing", [older])).open(after, "kid")).toThrow("KEY_ENCRYPTION_KEY");
  expect(() => new Sealer(keysFor("sealing", [newer, older])).open(before, "another")).toThrow("KEY_ENCRYPTION_KEY");
});

it("reseals what is under an older key, and leaves the rest as it is", () => {
  const sealer = new Sealer(keysFor("sealing", [newer, older]));
  const resealed = sealer.reseal(new Sealer(keysFor("sealing", [older])).seal("text", "kid"), "kid");
  expect(new Sealer(keysFor("sealing", [newer])).open(resealed ?? "", "kid").toString()).toBe("text");
  expect(sealer.reseal(resealed ?? "", "kid")).toBeNull();
  expect(() =>
    new Sealer(keysFor("sealing", [newer])).reseal(new Sealer(keysFor("sealing", [older])).seal("text", "kid"), "kid"),
  ).toThrow("KEY_ENCRYPTION_KEY");
});

it("a page token made under the older key goes on while that key is known", () => {
  const token = writePageToken(deriveKeys(older).pageTokens, "list", [7, "id"]);
  expect(readPageToken(deriveKeys(newer, older).pageTokens, "list", token)).toEqual([7, "id"]);
  expect(() => readPageToken(deriveKeys(newer).pageTokens, "list", token)).toThrow("page_token");
});
