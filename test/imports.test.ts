import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";

const root = path.resolve(import.meta.dirname, "..");

/** Every TypeScript file of a folder by its path from the project's root, with its text. */
function sourcesOf(folder: string): Map<string, string> {
  const files = readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .map((file) => `${folder}/${file.replaceAll(path.sep, "/")}`)
    .filter((file) => file.endsWith(".ts"));
  return new Map(files.map((file) => [file, readFileSync(path.join(root, file), "utf8")]));
}

interface Import {
  readonly file: string;
  /** The imported file from the project's root, or the package's name. */
  readonly target: string;
  readonly isPackage: boolean;
  readonly typeOnly: boolean;
}

/** Every import and re-export of a file: static, dynamic, for types alone. Node's own modules are left out. */
function importsOf([file, text]: readonly [string, string]): Import[] {
  return [
    ...text.matchAll(/^(?:import|export)( type)?\b[^;]*?\bfrom\s+"([^"]+)"/gm),
    ...text.matchAll(/^import()\s+"([^"]+)"/gm),
    ...text.matchAll(/\bimport()\(\s*"([^"]+)"/g),
    // a require that is made would import what this test does not see
    ...text.matchAll(/\b()(createRequire)\b/g),
  ].flatMap(([, typeOnly, from = ""]): Import[] => {
    if (from.startsWith("node:")) return [];
    if (from.startsWith(".")) {
      const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), from));
      return [{ file, target, isPackage: false, typeOnly: typeOnly === " type" }];
    }
    const target = from.split("/", from.startsWith("@") ? 2 : 1).join("/");
    return [{ file, target, isPackage: true, typeOnly: typeOnly === " type" }];
  });
}

/** The room of a file: its folder in src, its own name at the top of src, or the name of another top-level folder. */
function roomOf(file: string): string {
  const [top = "", second = "", ...rest] = file.split("/");
  if (top !== "src") return top;
  return rest.length > 0 ? second : second.replace(/\.ts$/, "");
}

/** Rooms that every other one but `token` and `verifier` may import: they know nothing of the rest. */
const everywhere = [
  "clock",
  "deadline",
  "errors",
  "events",
  "garbage",
  "limits",
  "nearest",
  "request-limit",
  "config",
  "context",
  "store",
  "telemetry",
  "crypto",
  "net",
];
const domain = ["token", "users", "sessions", "factors", "oauth"];

/** Which room may import which, type imports included. */
const allowed: Record<string, readonly string[]> = {
  // what starts the service puts everything together
  main: ["commands", "process"],
  app: [...everywhere, ...domain, "database", "kafka", "mail", "jobs", "http", "rpc", "process"],
  process: [...everywhere, "app"],
  // edges
  http: [...everywhere, ...domain],
  rpc: [...everywhere, ...domain, "mail", "gen", "call"],
  commands: [...everywhere, ...domain, "app", "process", "database", "jobs"],
  // the domain
  oauth: [...everywhere, "token", "users", "sessions", "call"],
  sessions: [...everywhere, "users"],
  factors: [...everywhere, "users"],
  users: everywhere,
  jobs: everywhere,
  mail: everywhere,
  // what the domain stands on
  context: ["clock", "config", "crypto", "limits", "request-limit", "store", "telemetry"],
  store: ["events", "token", "net", "nearest"],
  limits: ["call", "clock", "errors", "store"],
  "request-limit": ["call", "clock", "errors", "limits", "store"],
  telemetry: ["errors"],
  config: ["net", "store", "token", "nearest", "private-folder"],
  crypto: ["errors", "store", "call"],
  net: ["errors"],
  errors: [],
  events: [],
  clock: [],
  call: [],
  deadline: [],
  nearest: [],
  garbage: [],
  "private-folder": [],
  // implementations of the store and of the events' publisher
  database: ["store", "errors", "events", "clock", "telemetry", "crypto", "call", "deadline", "net", "private-folder"],
  kafka: ["store", "errors", "events", "clock", "deadline", "telemetry", "gen", "private-folder"],
  // what an access token is, for the issuer and for the library alike
  token: [],
  verifier: ["token", "gen"],
};

/** Libraries that one room keeps to itself. */
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
  argon2: ["crypto"],
  nodemailer: ["mail"],
  otpauth: ["factors"],
  "@simplewebauthn/server": ["factors"],
  pino: ["telemetry"],
  "prom-client": ["telemetry"],
};

/** What breaks the rule of rooms, as `file imports target`. */
function strangers(sources: ReadonlyMap<string, string>): string[] {
  return [...sources].flatMap(importsOf).flatMap(({ file, target, isPackage }) => {
    const room = roomOf(file);
    const refused = isPackage
      ? owners[target] !== undefined && !owners[target].includes(room)
      : roomOf(target) !== room && !(allowed[room] ?? []).includes(roomOf(target));
    return refused ? [`${file} imports ${target}`] : [];
  });
}

/** Files that import each other in a circle, types included: one line for each circle that is found. */
function circles(sources: ReadonlyMap<string, string>): string[] {
  const targets = new Map([...sources].map((source) => [source[0], importsOf(source).map(({ target }) => target)]));
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]) => {
    const at = way.indexOf(file);
    if (at >= 0) found.push([...way.slice(at), file].join(" -> "));
    if (at >= 0 || done.has(file)) return;
    for (const target of targets.get(file) ?? []) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  return found;
}

interface Picture {
  readonly groups: ReadonlyMap<string, readonly string[]>;
  readonly arrows: readonly (readonly [string, string])[];
}

/** The groups and arrows of the Mermaid picture in docs/architecture.md. */
function readPicture(text: string): Picture {
  const groups = new Map<string, string[]>();
  const arrows: [string, string][] = [];
  let group: string[] | null = null;
  for (const line of (/```mermaid\n([\s\S]*?)```/.exec(text)?.[1] ?? "")
    .replaceAll(/\[.*?\]/g, "")
    .split("\n")
    .map((each) => each.trim())) {
    const [from = "", to] = line.split(" --> ");
    if (line.startsWith("subgraph ")) {
      group = [];
      groups.set(line.slice("subgraph ".length), group);
    } else if (line === "end") group = null;
    else if (to !== undefined) arrows.push(...to.split(" & ").map((each): [string, string] => [from, each]));
    else if (group !== null && !line.startsWith("direction ")) group.push(line);
  }
  return { groups, arrows };
}

/** How the picture differs from the table of rooms. */
function picturedWrongly({ groups, arrows }: Picture): string[] {
  const membersOf = (name: string) => groups.get(name) ?? [name];
  const pairs = Object.entries(allowed).flatMap(([from, targets]) => targets.map((to) => [from, to] as const));
  const drawn = ([from, to]: readonly [string, string]) =>
    arrows.some(([a, b]) => membersOf(a).includes(from) && membersOf(b).includes(to));
  const empty = arrows.filter(
    ([a, b]) => !pairs.some(([from, to]) => membersOf(a).includes(from) && membersOf(b).includes(to)),
  );
  const missing = pairs.filter((pair) => !drawn(pair));
  return [
    ...missing.map(([from, to]) => `not drawn: ${from} --> ${to}`),
    ...empty.map(([from, to]) => `not allowed: ${from} --> ${to}`),
  ];
}

describe("the import rule", () => {
  const src = sourcesOf("src");

  it("finds imports, and has a line for every room", () => {
    expect([...src].flatMap(importsOf).length).toBeGreaterThan(500);
    expect([...src.keys()].map(roomOf).filter((room) => !(room in allowed))).toEqual([]);
  });

  it("goes one way: from the edges to the domain, from the domain to the ground", () => {
    expect(strangers(src)).toEqual([]);
  });

  it("has no circles, type imports included", () => {
    expect(circles(src)).toEqual([]);
    expect(circles(sourcesOf("bench"))).toEqual([]);
  });

  it("finds a planted circle, of types too", () => {
    const planted = new Map([
      ...src,
      ["src/users/one.ts", 'import { two } from "./two.ts";'],
      ["src/users/two.ts", 'import type { One } from "./one.ts";'],
    ]);
    expect(circles(planted)).toEqual(["src/users/one.ts -> src/users/two.ts -> src/users/one.ts"]);
  });

  it.each([
    ["src/http/planted.ts", "../database/open-store.ts", "src/database/open-store.ts"],
    ["src/verifier/planted.ts", "../oauth/token.ts", "src/oauth/token.ts"],
    ["src/users/planted.ts", "typeorm", "typeorm"],
    ["src/oauth/planted.ts", "../../gen/auth/v1/token_pb.ts", "gen/auth/v1/token_pb.ts"],
  ])("finds that %s imports %s", (file, from, target) => {
    const planted = new Map([[file, `import type { Planted } from "${from}";`]]);
    expect(strangers(planted)).toEqual([`${file} imports ${target}`]);
  });

  it("is the same as the picture in docs/architecture.md", () => {
    const picture = readPicture(readFileSync(path.join(root, "docs/architecture.md"), "utf8"));
    expect(picturedWrongly(picture)).toEqual([]);
    const more = { ...picture, arrows: [...picture.arrows, ["verifier", "oauth"] as const] };
    expect(picturedWrongly(more)).toEqual(["not allowed: verifier --> oauth"]);
    const less = { ...picture, arrows: picture.arrows.filter(([from]) => from !== "kafka") };
    expect(picturedWrongly(less)).toEqual(["not drawn: kafka --> gen"]);
  });

  it("leaves the store to the domain: http and rpc never use a context's store", () => {
    const reaching = [...src].filter(
      ([file, text]) =>
        /^src\/(http|rpc)\//.test(file) &&
        /\b(ctx|context)\.store\b|\{[^}]*\bstore\b[^}]*\} = (ctx|context)\b/.test(text),
    );
    expect(reaching.map(([file]) => file)).toEqual([]);
  });

  it("lets main alone read the environment", () => {
    const reading = [...src].filter(([, text]) => /\bprocess\.env\b|\{[^}]*\benv\b[^}]*\} = process\b/.test(text));
    expect(reading.map(([file]) => file)).toEqual(["src/main.ts"]);
  });
});
