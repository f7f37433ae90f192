import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";

const src = path.resolve(import.meta.dirname, "../src");

interface Import {
  /** File, relative to src. */
  readonly file: string;
  /** Its folder in src, or its own name at the top level. */
  readonly area: string;
  /** The area or package that it imports. */
  readonly target: string;
  readonly isPackage: boolean;
  readonly typeOnly: boolean;
}

const areaOf = (file: string) => (file.includes("/") ? (file.split("/")[0] ?? "") : file.replace(/\.ts$/, ""));
const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .map((file) => file.replaceAll(path.sep, "/"))
  .filter((file) => file.endsWith(".ts"));
const sources = new Map(files.map((file) => [file, readFileSync(path.join(src, file), "utf8")]));

const imports: Import[] = [...sources].flatMap(([file, text]) =>
  [
    ...text.matchAll(/^(?:import|export)( type)?\b[^;]*?\bfrom\s+"([^"]+)"/gm),
    ...text.matchAll(/^import()\s+"([^"]+)"/gm),
    ...text.matchAll(/\bimport()\("([^"]+)"\)/g),
  ].flatMap(([, typeOnly, from = ""]): Import[] => {
    if (from.startsWith("node:")) return [];
    const area = areaOf(file);
    const shared = { file, area, typeOnly: typeOnly === " type" };
    if (!from.startsWith(".")) {
      const name = from.split("/", from.startsWith("@") ? 2 : 1).join("/");
      return [{ ...shared, target: name, isPackage: true }];
    }
    const found = path.posix.normalize(path.posix.join(path.posix.dirname(file), from));
    const target = found.startsWith("../gen/") ? "gen" : areaOf(found);
    return target === area ? [] : [{ ...shared, target, isPackage: false }];
  }),
);

/** Shapes without a life of their own, and leaves that know nothing of the rest: for everybody. */
const shapes = ["clock", "config", "context", "events", "store", "telemetry", "limits", "sealing"];
const leaves = ["errors", "events", "store", "hashes", "page-tokens", "security-events"];

/** Who may import what runs in whom (types of `shapes` aside). */
const allowed: Record<string, readonly string[] | "everything"> = {
  main: ["commands"],
  commands: "everything",
  workers: "everything",
  app: "everything",
  closing: ["app"],
  "strict-http": [],
  config: ["oauth"],
  context: ["oauth", "users"],
  http: [...leaves, "oauth", "sessions", "users", "limits", "strict-http"],
  rpc: [...leaves, "oauth", "sessions", "users", "limits", "strict-http", "gen"],
  oauth: [...leaves, "sessions", "users"],
  sessions: [...leaves, "users"],
  users: leaves,
  limits: ["errors"],
  outbox: leaves,
  jobs: ["oauth", "errors"],
  database: [...leaves, "faults"],
  faults: ["errors"],
  kafka: ["events", "store", "gen"],
  clock: [],
  errors: [],
  "security-events": [],
  events: [],
  hashes: [],
  "page-tokens": ["errors"],
  sealing: ["errors"],
  store: ["events"],
  telemetry: [],
  verifier: ["gen"],
};

const owners: Record<string, readonly string[]> = {
  typeorm: ["database"],
  mysql2: ["database"],
  "better-sqlite3": ["database"],
  kafkajs: ["kafka"],
  fastify: ["http", "rpc"],
  "@grpc/grpc-js": ["rpc"],
  "@connectrpc/connect": ["rpc", "verifier"],
  "@bufbuild/protobuf": ["rpc", "kafka", "verifier"],
  commander: ["commands"],
  argon2: ["users"],
  pino: ["telemetry"],
  "prom-client": ["telemetry"],
};

describe("the import rule", () => {
  it("finds the imports at all", () => {
    expect(imports.length).toBeGreaterThan(200);
  });

  it("has a line for every area", () => {
    expect(files.map(areaOf).filter((area) => !(area in allowed))).toEqual([]);
  });

  it("goes one way: edges to the domain, the domain to shapes, the database and Kafka beside it", () => {
    const wrong = imports.filter(({ area, target, typeOnly, isPackage }) => {
      const rule = allowed[area] ?? [];
      if (isPackage || rule === "everything" || (typeOnly && shapes.includes(target) && area !== "verifier"))
        return false;
      return !rule.includes(target);
    });
    expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  it("keeps each big library in its own area", () => {
    const wrong = imports.filter(
      ({ area, target, isPackage }) => isPackage && owners[target] !== undefined && !owners[target].includes(area),
    );
    expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  it("leaves the store to the domain: no edge reaches into a context's", () => {
    const reaching = [...sources].filter(
      ([file, text]) =>
        /^(http|rpc)\//.test(file) && /\b(ctx|context)\.store\b|\{[^}]*\bstore\b[^}]*\} = (ctx|context)\b/.test(text),
    );
    expect(reaching.map(([file]) => file)).toEqual([]);
  });

  it("lets main alone read the environment", () => {
    const reading = [...sources].filter(([, text]) => /\bprocess\.env\b|\{[^}]*\benv\b[^}]*\} = process\b/.test(text));
    expect(reading.map(([file]) => file)).toEqual(["main.ts"]);
  });
});
