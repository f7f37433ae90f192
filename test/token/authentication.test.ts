import { expect, test } from "@jest/globals";
import { ACR_VALUES, acrOf, isAtLeast } from "../../src/token/authentication.ts";

test.each([
  [[], "password"],
  [["pwd"], "password"],
  [["otp"], "password"],
  [["pwd", "otp", "mfa"], "two-factor"],
  [["swk", "user", "mfa"], "passkey"],
  [["pwd", "hwk", "mfa"], "passkey"],
])("a sign-in by %j is of the class %s", (methods, name) => {
  expect(acrOf(methods)).toBe(`urn:auth-service:acr:${name}`);
});

test("each class is at least as strong as itself and as those before it", () => {
  for (const [i, acr] of ACR_VALUES.entries()) {
    for (const [j, other] of ACR_VALUES.entries())
      expect([acr, other, isAtLeast(acr, other)]).toEqual([acr, other, i >= j]);
  }
});
