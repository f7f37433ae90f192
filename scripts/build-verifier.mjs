// `npm run build:verifier [-- folder]`: the verifier library as plain JavaScript with declarations, a package by itself that
// others install. It holds what it needs of gen/ and names only the packages that it imports.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = join(import.meta.dirname, "..");
const out = resolve(process.argv[2] ?? join(root, "dist/verifier"));
rmSync(out, { recursive: true, force: true });
const tsc = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.verifier.json", "--outDir", out], {
  cwd: root,
  stdio: "inherit",
});
if (tsc.status !== 0) process.exit(1);
// declarations keep the names of the sources that they import
for (const name of readdirSync(out, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".d.ts"))) {
  const file = join(out, name);
  writeFileSync(file, readFileSync(file, "utf8").replaceAll(/(from "\.[^"]+)\.ts"/g, '$1.js"'));
}
const { version, license, engines, dependencies, exports } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8"),
);
const manifest = {
  name: "auth-service",
  version,
  description: "Verifier of the auth service's access tokens",
  license,
  type: "module",
  engines,
  exports: JSON.parse(JSON.stringify(exports).replaceAll("./dist/verifier/", "./")),
  dependencies: Object.fromEntries(
    ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"].map((name) => [name, dependencies[name]]),
  ),
};
writeFileSync(join(out, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
