import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { groups, problems, type Recording, stored } from "./reference.ts";

/** `npm run reference -- --record` stores what both servers answer now; each difference needs its explanation in the file. */
describe("the same requests to this service and to node-oidc-provider", () => {
  let fresh: ReadonlyMap<string, Recording>;
  beforeAll(async () => {
    // a process of its own: the reference takes objects of one realm only, and Jest has two
    const args = ["--disable-warning=TimeoutNegativeWarning", join(import.meta.dirname, "main.ts"), "--print"];
    const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 10_000_000 });
    fresh = new Map(JSON.parse(stdout) as [string, Recording][]);
  });

  it.each(Object.keys(groups))("%s: both answer as recorded, and every difference is explained", (group) => {
    expect(problems(group, fresh.get(group) ?? {})).toEqual([]);
  });

  it("are more than sixty", () => {
    const sent = [...fresh.values()].flatMap((recording) => Object.keys(recording));
    expect(sent.length).toBeGreaterThan(60);
    expect(Object.values(groups).flat()).toHaveLength(sent.length);
  });

  it("reports an unexplained difference, a changed answer and a missing case", () => {
    const { "a code": good, ...others } = stored("token");
    if (good === undefined) throw new Error("the case is not recorded");
    const changed = { ...good, ours: { ...good.ours, status: 500 } };
    expect(problems("token", { ...others, "a code": changed })).toEqual([
      "token, a code: status differs without explanation",
      expect.stringContaining("token, a code: ours is"),
    ]);
    expect(problems("token", others)).toEqual(["token, a code: stored, but no longer sent"]);
  });
});
