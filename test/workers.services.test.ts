import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "@jest/globals";
import { main } from "./commands/program.ts";
import { testEnvironment } from "./support/app.ts";
import { getTokens, introspect, refresh, signUp } from "./support/flow.ts";
import { startMariaDb } from "./support/mariadb.ts";

it("WORKERS share the listeners, replace a dead one, and drain together on SIGTERM", async () => {
  const database = await startMariaDb();
  const env = await testEnvironment({ DATABASE_URL: await database.createDatabase(), WORKERS: "2" });
  const child = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main], {
    env: { PATH: process.env["PATH"], ...env },
  });
  const closed = once(child, "close");
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const workers = () =>
    readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ").map(Number);
  try {
    const url = env["ISSUER"] ?? "";
    for (let tries = 0; tries < 300 && !output.includes("Next:"); tries++) await sleep(50);
    expect(output.trimEnd().split("\n")).toHaveLength(4);
    expect(workers()).toHaveLength(2);
    const account = await signUp(url);
    const tokens = await getTokens(url, account);
    const answers = await Promise.all(Array.from({ length: 8 }, () => introspect(url, tokens.access_token)));
    expect(answers.every(({ active }) => active === true)).toBe(true);

    const [victim = 0, survivor] = workers();
    process.kill(victim, "SIGKILL");
    for (let tries = 0; tries < 200; tries++) {
      await sleep(50);
      const alive = workers();
      if (alive.length === 2 && !alive.includes(victim)) break;
    }
    expect(workers()).toContain(survivor);
    expect(workers()).toHaveLength(2);
    expect((await refresh(url, tokens.refresh_token)).status).toBe(200);
    for (let tries = 0; tries < 20; tries++) expect((await fetch(`${url}/oauth2/jwks`)).status).toBe(200);

    await sleep(1_500);
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
    expect(output).toMatch(/a worker died/);
  } finally {
    child.kill("SIGKILL");
    await database.stop();
  }
}, 120_000);
