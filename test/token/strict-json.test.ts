import { describe, expect, it } from "@jest/globals";
import { outermostNames, readForeignJson, readOwnJson } from "../../src/token/strict-json.ts";

const part = (text: string) => Buffer.from(text).toString("base64url");

describe("JSON of tokens", () => {
  it.each([
    ['{"a":1,"a":2}', false],
    ['{"a":{"b":1,"b":2}}', false],
    ['{"a":[{"b":1},{"b":2}]}', true],
    ['{"a":{"b":1},"b":2}', true],
    ['{"\\u0061":1,"a":2}', false],
    ['{"a":"b\\":","b":1}', true],
    ['{ "a" : 1 }', true],
    ["[1]", false],
    ["null", false],
    ["{", false],
  ])("of others: %s is read: %s", (text, isRead) => {
    expect(readForeignJson(part(text)) !== null).toBe(isRead);
  });

  it("of this service has no white space, no needless escape and canonical base64url", () => {
    expect(readOwnJson(part('{"a":1}'))).toEqual({ a: 1 });
    for (const text of ['{ "a":1}', '{"\\u0061":1}', '{"a":1.0}', '{"a":1,"a":1}']) {
      expect([text, readOwnJson(part(text))]).toEqual([text, null]);
    }
    expect(readOwnJson(`${part('{"a":1}')}=`)).toBeNull();
    expect(readOwnJson(Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url"))).toBeNull();
  });

  it("names the members of the outermost object, duplicates included", () => {
    expect(outermostNames('{"a":{"b":1},"c":[{"d":"{\\"e\\":"}],"a":2}')).toEqual(["a", "c", "a"]);
    expect(outermostNames("{}")).toEqual([]);
  });
});
