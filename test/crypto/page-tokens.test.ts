import { createSecretKey } from "node:crypto";
import { describe, expect, it } from "@jest/globals";
import { deriveKeys } from "../../src/crypto/derived-keys.ts";
import { Mac } from "../../src/crypto/mac.ts";
import { readPageToken, writePageToken } from "../../src/crypto/page-tokens.ts";

const { pageTokens: key, ...otherKeys } = deriveKeys(Buffer.alloc(32, 1));
const macsOf = (keys: object) => Object.values(keys).filter((each) => each instanceof Mac);
const refused = expect.objectContaining({ code: "invalid_request" });

describe("a page token", () => {
  const token = writePageToken(key, "users", [1_700_000_000_000, "id"]);

  it("gives the position back for the list that it was written for", () => {
    expect(readPageToken(key, "users", token)).toEqual([1_700_000_000_000, "id"]);
  });

  it("is the first page when it is empty", () => {
    expect(readPageToken(key, "users", "")).toBeNull();
  });

  it("is refused by another list", () => {
    expect(() => readPageToken(key, "authorizations of a user", token)).toThrow(refused);
  });

  it("is refused when its position, its seal or its form was changed", () => {
    const [body = "", mac = ""] = token.split(".");
    const other = Buffer.from(JSON.stringify([0, "id"])).toString("base64url");
    const changed = [
      `${other}.${mac}`,
      `${body}.${"A".repeat(mac.length)}`,
      `${body}.`,
      body,
      `.${mac}`,
      `${token}.x`,
      ".",
    ];
    for (const each of changed) expect(() => readPageToken(key, "users", each)).toThrow(refused);
  });

  it("is refused under a key of another purpose, and under another KEY_ENCRYPTION_KEY", () => {
    for (const other of [...macsOf(otherKeys), deriveKeys(Buffer.alloc(32, 2)).pageTokens]) {
      expect(() => readPageToken(other, "users", token)).toThrow(refused);
    }
  });
});

it("derives a key of its own for each purpose", () => {
  const macs = macsOf(deriveKeys(Buffer.alloc(32, 1))).map((each) => each.of("text"));
  expect(new Set([...macs, new Mac([createSecretKey(Buffer.alloc(32, 1))]).of("text")]).size).toBe(macs.length + 1);
});
