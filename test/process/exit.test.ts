import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { expect, it } from "@jest/globals";

/** Without Node's own reading of TypeScript, which leaves a heap so large that nothing hangs. */
const source = stripTypeScriptTypes(readFileSync(new URL("../../src/process/exit.ts", import.meta.url), "utf8"));

/** Much code that becomes hot while the service is drained, with little memory for the threads that compile it. */
const program = (functions: number) => `
  const { closeAndExit } = await import(${JSON.stringify(`data:text/javascript,${encodeURIComponent(source)}`)});
  const body = "const o = []; for (let i = 0; i < 400; i++) { o.push({ x: a + i, y: b * i }); } return o[0].y + ";
  const functions = Array.from({ length: ${functions} }, (_, n) => new Function("a", "b", body + n));
  const drain = async () => {
    const end = performance.now() + (20 + Math.random() * 40) * ${functions / 300};
    while (performance.now() < end) for (const each of functions) each(1, 2);
  };
  closeAndExit({ close: drain });
`;

it("ends the process though its code is being compiled", async () => {
  // few are compiled a moment after the end of the drain, many long after it
  for (const functions of [300, 300, 300, 300, 3_000, 3_000, 3_000, 3_000]) {
    const flags = ["--optimize-for-size", "--input-type=module"];
    const child = spawn(process.execPath, [...flags, "--eval", program(functions)], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const guard = setTimeout(() => child.kill("SIGKILL"), 30_000);
    expect(await once(child, "exit")).toEqual([0, null]);
    clearTimeout(guard);
  }
});
