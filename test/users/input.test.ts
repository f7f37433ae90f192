import { describe, expect, it } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { readClientRegistration } from "../../src/store/client-metadata.ts";
import {
  normaliseEmail,
  readClaims,
  readEmail,
  readNickname,
  readPasskeyName,
  readRoles,
} from "../../src/users/input.ts";

function refusedFields(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof AuthError && error.code === "invalid_input") return error.violations.map(({ field }) => field);
    throw error;
  }
  return [];
}

describe("input of users", () => {
  it("stores an address trimmed, NFKC and in lower case", () => {
    expect(normaliseEmail(" Ada@Example.COM ")).toBe("ada@example.com");
    expect(readEmail("ａda@example.com")).toBe("ada@example.com");
  });

  it.each(["", "ada", "a b@example.com", `${"a".repeat(250)}@b.example`, 7, null])("refuses the address %j", (value) =>
    expect(refusedFields(() => readEmail(value))).toEqual(["email"]),
  );

  it("counts a nickname's code points, 1 to 50", () => {
    expect(readNickname(` ${"😀".repeat(50)} `)).toBe("😀".repeat(50));
    for (const value of ["", "  ", "a".repeat(51), "a\u0007b", "\ud800", 7]) {
      expect(refusedFields(() => readNickname(value))).toEqual(["nickname"]);
    }
  });

  it.each([
    ["zero width space", "\u200b"],
    ["Hangul filler", "\u3164"],
    ["empty Braille cell", "\u2800"],
    ["soft hyphen", "\u00ad"],
    ["several of them", "\u200d \u00ad\ufe0f\u115f"],
  ])("refuses a name that shows nothing: %s", (_, value) => {
    expect(refusedFields(() => readNickname(value))).toEqual(["nickname"]);
    expect(refusedFields(() => readPasskeyName(value))).toEqual(["name"]);
    expect(refusedFields(() => readClaims({ given_name: value }))).toEqual(["given_name"]);
    const client = readClientRegistration({ client_id: "c", client_name: value }, false);
    expect(client).toEqual(["client_name: must have at least one visible character"]);
  });

  it.each(["é", "ㅤ김", "👨\u200d👩\u200d👧", "👍🏽", "क\u094dष", ".", "7"])(
    "takes the name %j, which shows something",
    (value) => {
      expect(readNickname(value)).toBe(value.normalize("NFC"));
    },
  );

  it("takes days of the calendar alone as a birthdate, with a year or without", () => {
    for (const day of ["2024-02-29", "0000-02-29", "0000-12-31", "1990", "1600-02-29"]) {
      expect(readClaims({ birthdate: day })).toEqual({ birthdate: day });
    }
    for (const day of ["2026-02-31", "0000-02-30", "2023-02-29", "1900-02-29", "2025-04-31"]) {
      expect(refusedFields(() => readClaims({ birthdate: day }))).toEqual(["birthdate"]);
    }
  });

  it("takes each role once and refuses others", () => {
    expect(readRoles(["ROLE_USER", "ROLE_USER", "ROLE_ADMIN"])).toEqual(["ROLE_USER", "ROLE_ADMIN"]);
    for (const value of [[], ["user"], "ROLE_USER", [`ROLE_${"A".repeat(61)}`]]) {
      expect(refusedFields(() => readRoles(value))).toEqual(["roles"]);
    }
  });

  it("takes standard claims and names every wrong one", () => {
    const claims = { birthdate: "1815-12-10", zoneinfo: "Europe/Paris", locale: "en-GB", phone_number: "+14255551212" };
    expect(readClaims(claims)).toEqual(claims);
    const wrong = { birthdate: "1815-13-10", zoneinfo: "Mars", website: "javascript:alert(1)", gender: "" };
    expect(refusedFields(() => readClaims(wrong)).sort()).toEqual(Object.keys(wrong).sort());
    expect(refusedFields(() => readClaims({ nick: "x" }))).toHaveLength(1);
  });
});
