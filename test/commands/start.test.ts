import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "@jest/globals";
import { freePorts } from "../support/app.ts";
import { signUp } from "../support/flow.ts";
import { main } from "./program.ts";

it("a first start in an empty folder prints a greeting of four lines, serves, and ends cleanly", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
  const [http, grpc, internal] = await freePorts(3);
  const child = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"],
      HTTP_PORT: String(http),
      GRPC_PORT: String(grpc),
      INTERNAL_HTTP_PORT: String(internal),
      ISSUER: `http://localhost:${http}`,
    },
  });
  const closed = once(child, "close");
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  for (let tries = 0; tries < 1_200 && !output.includes("Next:"); tries++)
    await new Promise((done) => setTimeout(done, 50));
  const lines = output.trimEnd().split("\n");
  expect(lines).toEqual([
    expect.stringContaining(`http://localhost:${http}/`),
    expect.stringMatching(/^Mailbox: http:\/\/127\.0\.0\.1:\d+\/mail /),
    expect.stringMatching(/portal-client.*internal-service/),
    expect.stringContaining("RFC 9700"),
    expect.stringContaining("README.md"),
  ]);
  const ready = await fetch(`http://127.0.0.1:${internal}/readyz`);
  expect(ready.status).toBe(200);
  await signUp(`http://localhost:${http}`);
  for (let tries = 0; tries < 600 && !readdirSync(path.join(folder, "data")).includes("events.ndjson"); tries++) {
    await new Promise((done) => setTimeout(done, 50));
  }
  expect(statSync(path.join(folder, "data")).mode & 0o777).toBe(0o700);
  for (const file of readdirSync(path.join(folder, "data"))) {
    expect([file, statSync(path.join(folder, "data", file)).mode & 0o777]).toEqual([file, 0o600]);
  }
  child.kill("SIGTERM");
  expect(await closed).toEqual([0, null]);
});
