import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it } from "@jest/globals";
import { BESIDE_OTHERS } from "../../src/process/workers.ts";
import { main, Program } from "../commands/program.ts";

it.each([
  { worker: "a worker", told: ["turn"] },
  { worker: "a worker that was told to close", told: ["turn", "close"] },
])("$worker ends when its primary dies while it asks to listen", async ({ told }) => {
  const { env, folder } = await Program.migrated();
  // this test is its primary, and never answers what it asks: may it listen?
  const worker = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main], {
    cwd: folder,
    env: { PATH: process.env["PATH"], ...env, NODE_UNIQUE_ID: "1", [BESIDE_OTHERS]: "1" },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(worker, "exit");
  const asksToListen = new Promise<void>((resolve) =>
    worker.on("internalMessage", ({ act }: { act?: string }) => act === "queryServer" && resolve()),
  );
  worker.on("message", (message) => {
    if (message === "waits") worker.send("prepared");
    if (message === "turn?") for (const each of told) worker.send(each);
  });
  try {
    await asksToListen;
    worker.disconnect();
    const late = new Promise((resolve) => setTimeout(resolve, 120_000, "still there").unref());
    expect(await Promise.race([exited, late])).toEqual([0, null]);
  } finally {
    worker.kill("SIGKILL");
  }
});
