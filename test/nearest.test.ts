import { expect, it } from "@jest/globals";
import { nearest } from "../src/nearest.ts";

it.each([
  ["clent", "client"],
  ["cleint", "client"],
  ["clients", "client"],
  ["revoke-evrythin", "revoke-everything"],
  ["clnt", null],
  ["bogus", null],
])("the name that was meant by %s is %s", (name, meant) => {
  expect(nearest(name, ["user", "client", "revoke-everything"])).toBe(meant);
});
