import { type Runtime, readText, UsageError } from "./runtime.ts";

/**
 * A password from a file, from standard input, or typed at the terminal. Never from an argument: every process of the machine can read
 * those.
 */
export async function readPassword(runtime: Runtime, file: string | undefined): Promise<string> {
  const asked = file === undefined && runtime.stdin.isTTY;
  const text = asked ? await ask(runtime) : await readText(runtime, file ?? "-");
  const password = text.split(/\r?\n/, 1)[0] ?? "";
  if (password === "") throw new UsageError("no password came from the file or standard input");
  return password;
}

async function ask(runtime: Runtime): Promise<string> {
  const [{ createInterface }, { Writable }] = await Promise.all([
    import("node:readline/promises"),
    import("node:stream"),
  ]);
  runtime.stderr.write("Password: ");
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: runtime.stdin, output: silent, terminal: true });
  try {
    return await lines.question("");
  } finally {
    lines.close();
    runtime.stderr.write("\n");
  }
}
