import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

/** A script that pages load from this service. */
export interface Script {
  /** Names its content: it may be kept for ever. */
  readonly path: string;
  readonly body: string;
}

const folder = new URL("scripts/", import.meta.url);

/** Libraries of pages, as their packages have them for browsers. */
const libraries = {
  webauthn: new URL("../dist/bundle/index.umd.min.js", import.meta.resolve("@simplewebauthn/browser")),
  zxcvbn: new URL("zxcvbn-ts.js", import.meta.resolve("@zxcvbn-ts/core")),
  "zxcvbn-common": new URL("zxcvbn-ts.js", import.meta.resolve("@zxcvbn-ts/language-common")),
};

/** The scripts of the pages by their names: plain JavaScript, as browsers run it. */
export const SCRIPTS: ReadonlyMap<string, Script> = new Map([
  ...readdirSync(folder)
    .filter((file) => file.endsWith(".js"))
    .map((file) => scriptOf(file.slice(0, -".js".length), new URL(file, folder))),
  ...Object.entries(libraries).map(([name, url]) => scriptOf(name, url)),
]);

function scriptOf(name: string, url: URL): [name: string, script: Script] {
  const body = readFileSync(url, "utf8");
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 16);
  return [name, { path: `/assets/${name}.${hash}.js`, body }];
}

/** @throws Error there is no such script: a page names one that is not in the folder */
export function scriptPath(name: string): string {
  const script = SCRIPTS.get(name);
  if (script === undefined) throw new Error(`no script ${name}`);
  return script.path;
}
