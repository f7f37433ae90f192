import { execFileSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Chromium {
  readonly executablePath: string;
  /** Set for the browser only, beside the environment of the tests. */
  readonly env: Readonly<Record<string, string>>;
}

/** Chromium for the tests of the pages: CHROMIUM_PATH, else the machine's own, else the one in the package @sparticuz/chromium. */
export function findChromium(): Chromium | null {
  const given = process.env["CHROMIUM_PATH"];
  if (given !== undefined && given !== "") return isExecutable(given) ? { executablePath: given, env: {} } : null;
  const installed = installedPrograms().find(isExecutable);
  if (installed !== undefined) return { executablePath: installed, env: {} };
  // the package holds a binary for this platform only
  return process.platform === "linux" && process.arch === "x64" ? unpackedChromium() : null;
}

function installedPrograms(): string[] {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  return names.flatMap((name) => folders.map((folder) => join(folder, name)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** It brings its libraries (NSS, NSPR, Expat) and a font, so that a machine without a desktop needs no package of its own. */
function unpackedChromium(): Chromium {
  const services = fileURLToPath(new URL("../../.cache/services", import.meta.url));
  const home = join(services, `chromium-${packageVersion()}`);
  if (!existsSync(home)) unpackTo(home, services);
  return {
    executablePath: join(home, "chromium"),
    env: { LD_LIBRARY_PATH: join(home, "al2023", "lib"), FONTCONFIG_FILE: join(home, "fonts.conf") },
  };
}

function packageVersion(): string {
  const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
  return (JSON.parse(readFileSync(join(entry, "../../../package.json"), "utf8")) as { version: string }).version;
}

function unpackTo(home: string, services: string): void {
  // unpacked beside and renamed: a run that was killed, or another one at the same time, leaves no half a browser
  mkdirSync(services, { recursive: true });
  const scratch = mkdtempSync(join(services, "unpack-"));
  try {
    const script = fileURLToPath(new URL("unpack-chromium.mjs", import.meta.url));
    execFileSync(process.execPath, [script], { env: { ...process.env, TMPDIR: scratch }, timeout: 120_000 });
    writeFileSync(join(scratch, "fonts.conf"), fontsConfiguration(home));
    renameSync(scratch, home);
  } catch (error) {
    if (!existsSync(home)) throw error;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const fontsConfiguration = (home: string): string => `<?xml version="1.0"?>
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${home}/fonts</dir>
  <dir>${join(home, "..", "asian-fonts")}</dir>
  <cachedir>${home}/fonts-cache</cachedir>
</fontconfig>
`;
