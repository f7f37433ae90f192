import { describe, expect, it } from "@jest/globals";
import { Interleaving } from "./model.ts";

const long = process.env["LONG"] === "1";
/** A seed to look into: SEED=123. */
const only = process.env["SEED"];
const interleavings = only !== undefined ? 1 : Number(process.env["INTERLEAVINGS"] ?? (long ? 100_000 : 1_200));

/** Seeds that once found something wrong. */
const regressions = [
  2, 8, 11, 22, 31, 55, 86, 130, 135, 143, 167, 213, 231, 12587, 35969, 41641, 58991, 60895, 87349, 97216,
];

async function failuresOf(seed: number): Promise<string | null> {
  const interleaving = new Interleaving(seed);
  await interleaving.run();
  if (interleaving.failures.length === 0) return null;
  if (only !== undefined) console.log(interleaving.log.join("\n"));
  return `seed ${seed}: ${interleaving.failures.join("; ")}`;
}

describe("the answers of replicas about tokens, for every order of events", () => {
  it(`is right within the bound over ${interleavings} interleavings`, async () => {
    const first = only === undefined ? 1 : Number(only);
    const failures: string[] = [];
    for (let seed = first; seed < first + interleavings && failures.length < 20; seed++) {
      const failure = await failuresOf(seed);
      if (failure !== null) failures.push(failure);
    }
    expect(failures).toEqual([]);
  }, 3_600_000);

  it("is right where it once was wrong", async () => {
    for (const seed of regressions) expect(await failuresOf(seed)).toBeNull();
  });
});
