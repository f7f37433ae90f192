import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { credentials, type Issuer, type Service, startIssuer, startService } from "./issuer.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "auth-verifier-"));
const packageFolder = join(folder, "node_modules/auth-service");
const dependencies = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"];
let issuer: Issuer;
let service: Service;

beforeAll(async () => {
  [issuer, service] = await Promise.all([startIssuer(), startService()]);
  const built = join(folder, "built");
  await run(process.execPath, [join(root, "scripts/build-verifier.mjs"), built]);
  cpSync(built, packageFolder, { recursive: true });
  rmSync(built, { recursive: true });
  for (const name of dependencies) {
    const to = join(folder, "node_modules", name);
    mkdirSync(join(to, ".."), { recursive: true });
    symlinkSync(join(root, "node_modules", name), to);
  }
});
afterAll(async () => {
  await Promise.all([issuer.close(), service.close()]);
  rmSync(folder, { recursive: true, force: true });
});

test("the built package holds plain JavaScript and names the three packages that it needs", () => {
  const files = readdirSync(packageFolder, { recursive: true, encoding: "utf8" }).filter((name) => /\.\w+$/.test(name));
  expect(files.filter((name) => !/\.(js|d\.ts|json)$/.test(name))).toEqual([]);
  const manifest = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")) as Record<string, object>;
  expect(Object.keys(manifest["dependencies"] ?? {})).toEqual(dependencies);
  const imported = files
    .filter((name) => name.endsWith(".js"))
    .flatMap((name) => [...readFileSync(join(packageFolder, name), "utf8").matchAll(/^import .*from "([^."][^"]*)"/gm)])
    .map(([, from = ""]) => from)
    .filter((from) => !from.startsWith("node:"));
  expect(new Set(imported.map((from) => from.split("/", 2).join("/")))).toEqual(new Set(dependencies));
});

test("plain JavaScript in another folder decides with it", async () => {
  writeFileSync(
    join(folder, "main.mjs"),
    `import { createVerifier } from "auth-service/verifier";
    import { requireToken, claimsOf } from "auth-service/verifier/http";
    import * as fastify from "auth-service/verifier/fastify";
    import * as grpc from "auth-service/verifier/grpc";
    import * as connect from "auth-service/verifier/connect";
    const [options, good, bad] = JSON.parse(process.argv[2]);
    const verifier = createVerifier(options);
    await verifier.ready();
    const decisions = [await verifier.verify(good), await verifier.verify(bad)];
    const { stream, keys } = verifier.status();
    await verifier.close();
    const kinds = [requireToken, claimsOf, ...[fastify, grpc, connect].flatMap(Object.values)].map((value) => typeof value);
    console.log(JSON.stringify({ decisions, stream, keys, kinds: [...new Set(kinds)] }));`,
  );
  const stream = { baseUrl: service.baseUrl, credentials };
  const input = [{ issuer: issuer.url, audience: "portal-client", stream }, issuer.token(), issuer.token({ aud: "x" })];
  // ends by itself once closed
  const { stdout } = await run(process.execPath, [join(folder, "main.mjs"), JSON.stringify(input)], {
    timeout: 60_000,
  });
  expect(JSON.parse(stdout)).toMatchObject({
    decisions: [{ allowed: true }, { error: "Invalid Token" }],
    stream: "fresh",
    keys: 3,
    kinds: ["function"],
  });
});

test("its declarations type a TypeScript program, Fastify and grpc-js included", async () => {
  for (const name of ["fastify", "@grpc/grpc-js", "@types/node"]) {
    const to = join(folder, "node_modules", name);
    mkdirSync(join(to, ".."), { recursive: true });
    symlinkSync(join(root, "node_modules", name), to);
  }
  writeFileSync(
    join(folder, "main.ts"),
    `import { createServer } from "node:http";
    import { type sendUnaryData, Server, type ServerUnaryCall } from "@grpc/grpc-js";
    import { createVerifier, type Decision } from "auth-service/verifier";
    import { requireToken } from "auth-service/verifier/connect";
    import { claimsOf, verifierPlugin } from "auth-service/verifier/fastify";
    import { protectUnary } from "auth-service/verifier/grpc";
    import * as http from "auth-service/verifier/http";
    import { fastify } from "fastify";
    const verifier = createVerifier({ issuer: "http://localhost:8081", audience: "a", onStreamLost: "accept-until-expiry" });
    const decision: Decision = await verifier.verify("token", { scopes: ["read"] });
    if (decision.allowed) decision.claims.sub satisfies string;
    else if (decision.status === 503) decision.retryAfter satisfies number;
    else decision.wwwAuthenticate satisfies string;
    const app = fastify();
    await app.register(verifierPlugin(verifier));
    app.get("/", async (request) => claimsOf(request).sub);
    createServer((request, response) => http.requireToken(verifier)(request, response, () => response.end()));
    const one = protectUnary(verifier, (_call: ServerUnaryCall<object, object>, done: sendUnaryData<object>, claims) => done(null, claims));
    new Server().addService({}, { one });
    export const interceptors = [requireToken(verifier)];`,
  );
  const compilerOptions = {
    target: "es2024",
    lib: ["es2024", "esnext.disposable"],
    module: "nodenext",
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ["node"],
  };
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }));
  const tsc = run(join(root, "node_modules/.bin/tsc"), ["-p", folder]).catch(({ stdout }) => ({ stdout }));
  expect((await tsc).stdout).toBe("");
});
