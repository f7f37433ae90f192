// `npm run test:tour`: runs the README's tour block by block against a service of its own and compares what it prints with what
// the README shows, where `...` stands for anything.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "auth-tour-"));
const usual = [8081, 9091, 9092];
const free = await freePorts(usual.length);
const moved = (text) => usual.reduce((rest, port, i) => rest.replaceAll(`:${port}`, `:${free[i]}`), text);

const blocks = readBlocks(readFileSync(join(root, "README.md"), "utf8"));
if (blocks.length === 0) throw new Error("README.md has no tour");

// the tour uses the project's tools, as a user in its folder does
symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
const env = {
  ...process.env,
  HTTP_PORT: String(free[0]),
  GRPC_PORT: String(free[1]),
  INTERNAL_HTTP_PORT: String(free[2]),
  ISSUER: `http://localhost:${free[0]}`,
};
const flags = ["--disable-warning=TimeoutNegativeWarning", join(root, "src/main.ts")];
const service = spawn(process.execPath, flags, { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
const ended = once(service, "exit");
let failed = 0;
try {
  await once(service.stdout, "data");
  const shell = startShell();
  for (const { command, expected } of blocks) {
    const output = (await shell.run(moved(command))).trim();
    const ok = expected === null || matches(moved(expected).trim(), output);
    console.log(`${ok ? "ok  " : "FAIL"} ${command.trim().split("\n").at(-1)?.slice(0, 100)}`);
    if (!ok) {
      failed += 1;
      console.log(`  the README shows:\n${moved(expected).trim()}\n  it printed:\n${output}\n`);
    }
  }
  await shell.close();
} finally {
  service.kill("SIGTERM");
  await ended;
  rmSync(folder, { recursive: true, force: true });
}
console.log(`\n${blocks.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

/** The `sh` blocks between the tour's heading and the next one, each with the output block that follows it, if any. */
function readBlocks(text) {
  const tour = /^## A three-minute tour$([\s\S]*?)^## /m.exec(text)?.[1] ?? "";
  const found = [];
  for (const [, language, content] of tour.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)) {
    if (language === "sh") found.push({ command: content, expected: null });
    else found.at(-1).expected = content;
  }
  return found;
}

function matches(expected, output) {
  const pattern = expected.split("...").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${pattern.join("[\\s\\S]+?")}$`).test(output);
}

/** One shell for all blocks, so that variables stay. */
function startShell() {
  const shell = spawn("bash", ["--noprofile", "--norc"], { cwd: folder, env, stdio: ["pipe", "pipe", "pipe"] });
  const exited = once(shell, "exit");
  let output = "";
  shell.stdout.on("data", (chunk) => (output += chunk));
  shell.stderr.on("data", (chunk) => (output += chunk));
  return {
    async run(command) {
      output = "";
      const mark = `end-of-block-${Math.random()}`;
      shell.stdin.write(`${command}\necho; echo ${mark}\n`);
      const giveUpAt = Date.now() + 60_000;
      while (!output.includes(mark)) {
        if (Date.now() > giveUpAt || shell.exitCode !== null) throw new Error(`no end of:\n${command}\n${output}`);
        await new Promise((done) => setTimeout(done, 20));
      }
      return output.slice(0, output.indexOf(mark));
    },
    async close() {
      shell.stdin.end();
      await exited;
    },
  };
}

async function freePorts(count) {
  const servers = [];
  for (let i = 0; i < count; i++) servers.push(createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  for (const server of servers) server.close();
  return ports;
}
