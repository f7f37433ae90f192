import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "@jest/globals";
import { startApp } from "../support/app.ts";

const page = readFileSync(path.resolve(import.meta.dirname, "../../docs/reference/metrics.md"), "utf8");

it("the page of the metrics names each of them, and no other", async () => {
  const app = await startApp();
  try {
    const text = await (await fetch(`${app.internalUrl}/metrics`)).text();
    const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", kind = ""]) => `${name} ${kind}`);
    const ours = served.filter((each) => !/^(nodejs|process)_/.test(each));
    const documented = [...page.matchAll(/^\| `(\w+)`\s+\| (\w+)/gm)].map(([, name, kind]) => `${name} ${kind}`);
    expect(documented.sort()).toEqual(ours.sort());
    expect(text).toMatch(/^auth_signing_key_age_seconds\{key="access ES256"\} \d/m);
    expect(Number(/^auth_revocation_feed_age_seconds (\S+)$/m.exec(text)?.[1])).toBeLessThan(60);
    expect(text).toMatch(/^auth_revocation_watchers 0$/m);
  } finally {
    await app.close();
  }
});
