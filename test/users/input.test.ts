import { describe, expect, it } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { normaliseEmail, readClaims, readEmail, readNickname, readRoles } from "../../src/users/input.ts";

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
