import { expect, it } from "@jest/globals";
import { every } from "../../src/jobs/every.ts";

it("a job's turns never overlap, and do not queue while one takes long", async () => {
  let turns = 0;
  const long = Promise.withResolvers<void>();
  const failures: unknown[] = [];
  const jobs = every(
    5,
    async () => {
      turns++;
      if (turns === 1) await long.promise;
      if (turns === 2) throw new Error("away");
    },
    (error) => failures.push(error),
  );
  while (turns === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(turns).toBe(1);
  long.resolve();
  while (turns < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(failures).toEqual([new Error("away")]);
  await jobs.close();
});
