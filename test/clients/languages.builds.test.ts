import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { claimsOf, getTokens, portal, postForm, signUp } from "../support/flow.ts";
import { startWire } from "../support/wire.ts";
import { hasGo, hasMaven, hasPython, make, pythonWith } from "./toolchains.ts";

const root = join(import.meta.dirname, "../..");
const minutes = 60_000;

interface Language {
  readonly name: string;
  readonly needs: string;
  readonly present: boolean;
  /** As its README says. @returns the command that runs it */
  build(folder: string): Promise<[command: string, ...args: string[]]>;
}

const languages: readonly Language[] = [
  {
    name: "go",
    needs: "Go",
    present: hasGo(),
    async build(folder) {
      await make(folder, "buf", "generate");
      await make(folder, "go", "build", "-o", "auth-client", ".");
      return [join(folder, "auth-client")];
    },
  },
  {
    name: "java",
    needs: "Java 17 and Maven",
    present: hasMaven(),
    async build(folder) {
      await make(folder, "mvn", "-q", "-B", "package");
      return ["java", "-cp", ["target/classes", "target/lib/*"].join(delimiter), "AuthClient"];
    },
  },
  {
    name: "python",
    needs: "Python 3 with venv and pip",
    present: hasPython(),
    async build(folder) {
      const python = await pythonWith(join(folder, "requirements.txt"));
      mkdirSync(join(folder, "gen"), { recursive: true });
      const protos = ["introspection", "options"].map((name) => `../../../proto/auth/v1/${name}.proto`);
      const out = ["--python_out=gen", "--grpc_python_out=gen"];
      await make(folder, python, "-m", "grpc_tools.protoc", "-I../../../proto", ...out, ...protos);
      return [python, "client.py"];
    },
  },
];

type Line = Record<string, unknown>;

function start(command: string, args: readonly string[], folder: string, env: Record<string, string>) {
  const child = spawn(command, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let log = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    log += chunk;
  });
  const exit = once(child, "close").then(([code]) => code as number | null);
  exit.catch(() => {});
  const lines = () =>
    out
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  return {
    exit,
    lines,
    revocationsOf: (sid: unknown) => lines().filter(({ value }) => value === sid),
    timesLogged: (text: string) => log.split(text).length - 1,
    async until(what: string, holds: () => boolean, withinMs: number): Promise<void> {
      const from = performance.now();
      while (!holds()) {
        if (performance.now() - from > withinMs) throw new Error(`${what}: not within ${withinMs} ms\n${out}\n${log}`);
        await sleep(10);
      }
    },
    kill: () => child.kill("SIGKILL"),
  };
}

describe("clients of the internal API, generated from the contract", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app?.close());

  const authorize = async () => {
    const tokens = await getTokens(app.url, await signUp(app.url));
    const claims = claimsOf(tokens.access_token);
    const revoke = () =>
      postForm(`${app.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: portal.clientId });
    return { token: tokens.access_token, sid: String(claims["sid"]), sub: claims["sub"], revoke };
  };

  for (const { name, needs, present, build } of languages) {
    let built: ReturnType<typeof build> | undefined;
    const builtOnce = (folder: string) => {
      built ??= build(folder);
      return built;
    };
    const who = `the client in ${needs.split(" ")[0]}`;
    const first = `${who} introspects, authorizes, and follows revocations past a cut connection`;
    const second = `${who} ends where its credentials are refused`;
    if (!present) {
      skip(first, needs);
      skip(second, needs);
      continue;
    }

    it(
      first,
      async () => {
        const folder = join(root, "examples/clients", name);
        const [command, ...args] = await builtOnce(folder);
        const [own, early, missed] = [await authorize(), await authorize(), await authorize()];
        await early.revoke();
        const wire = await startWire(app.grpc);
        const client = start(command, args, folder, {
          AUTH_GRPC_ADDRESS: wire.address,
          AUTH_CLIENT_ID: "internal-service",
          AUTH_CLIENT_SECRET: "internal-service-secret",
          TOKEN: own.token,
          UNTIL_SID: own.sid,
        });
        try {
          await client.until("following", () => client.timesLogged("following revocations") === 1, 60_000);
          const [introspected, authorized, ...known] = client.lines();
          expect(introspected).toMatchObject({ active: true, sub: own.sub, sid: own.sid, clientId: portal.clientId });
          expect(authorized).toMatchObject({ allowed: true, httpStatus: 200, error: "" });
          expect(known).toContainEqual(
            expect.objectContaining({ kind: "REVOCATION_KIND_AUTHORIZATION", value: early.sid }),
          );
          expect(wire.hasResumed()).toBe(false);
          wire.cut();
          await missed.revoke();
          await client.until("the cut", () => client.timesLogged("the stream broke, resuming") > 0, 20_000);
          wire.mend();
          await client.until("what was missed", () => client.revocationsOf(missed.sid).length > 0, 60_000);
          expect(wire.hasResumed()).toBe(true);
          await client.until("following again", () => client.timesLogged("following revocations") === 2, 20_000);

          await own.revoke();
          await client.until("the revocation", () => client.revocationsOf(own.sid).length > 0, 10_000);
          expect(await client.exit).toBe(0);
          expect(client.lines().at(-1)).toMatchObject({ active: false, sub: "", scope: "" });
        } finally {
          client.kill();
          wire.close();
        }
      },
      10 * minutes,
    );

    it(
      second,
      async () => {
        const folder = join(root, "examples/clients", name);
        const [command, ...args] = await builtOnce(folder);
        const client = start(command, args, folder, {
          AUTH_GRPC_ADDRESS: app.grpc,
          AUTH_CLIENT_ID: "internal-service",
          AUTH_CLIENT_SECRET: "not its secret",
          TOKEN: "a-token",
        });
        try {
          expect(await client.exit).not.toBe(0);
          expect(client.lines()).toEqual([]);
        } finally {
          client.kill();
        }
      },
      10 * minutes,
    );
  }
});
