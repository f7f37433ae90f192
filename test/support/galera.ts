import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "./app.ts";
import { execute } from "./mariadb.ts";
import { freeze } from "./process.ts";

/** One node of a cluster, a process of its own. */
export interface GaleraNode {
  /** An account that may do everything; names no database. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** SIGKILL. `start` starts it again. */
  kill(): Promise<void>;
  /** Starts the node that was killed. Resolves when it has what the others have and takes writes. */
  start(): Promise<void>;
  /** SIGSTOP: its connections stay open and nothing answers. */
  freeze(): Promise<void>;
  thaw(): void;
  /** Cuts it off from the other nodes, or ends that. Clients reach it all the time. */
  isolate(apart: boolean): Promise<void>;
  /** Waits until it has what the others have and takes writes. */
  synced(): Promise<void>;
}

/** Three MariaDB servers that replicate everything to each other before a commit is answered. */
export interface Galera {
  readonly nodes: readonly GaleraNode[];
  /** Makes an empty database. @returns a DATABASE_URL for each node, which lists this node first and the others after it */
  createDatabase(): Promise<string[]>;
  stop(): Promise<void>;
}

const services = fileURLToPath(new URL("../../.cache/services", import.meta.url));
const home = join(services, "galera");

/** Whether three nodes can run here: on Debian and its relatives. The first time, its packages are fetched into `.cache/services`. */
export function findGalera(): boolean {
  if (existsSync(home)) return true;
  try {
    unpackPackages();
    return true;
  } catch (error) {
    process.stderr.write(`no Galera: ${error instanceof Error ? error.message.split("\n")[0] : error}\n`);
    return existsSync(home);
  }
}

const packages = ["mariadb-server-core", "mariadb-server", "mariadb-client-core", "galera-4", "rsync"];

/** Nothing is installed: the system keeps its own server, or none. */
function unpackPackages(): void {
  mkdirSync(services, { recursive: true });
  const scratch = mkdtempSync(join(services, "unpack-"));
  const run = (program: string, args: readonly string[]) =>
    execFileSync(program, args, {
      cwd: scratch,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 300_000,
    });
  try {
    const plan = run("apt-get", ["install", "--simulate", "--no-install-recommends", ...packages]);
    const libraries = [...plan.matchAll(/^Inst (lib\S+)/gm)].map(([, name = ""]) => name);
    run("apt-get", ["download", ...new Set([...packages, ...libraries])]);
    const root = join(scratch, "root");
    for (const file of readdirSync(scratch).filter((name) => name.endsWith(".deb")))
      run("dpkg-deb", ["-x", file, root]);
    // rsync's daemon, which receives a node's data, would be another user than a server of root
    const script = join(root, "usr/bin/wsrep_sst_rsync");
    const receiver = "use chroot = no\n";
    const ownUser = `${receiver}uid = $(id -u)\ngid = $(id -g)\n`;
    writeFileSync(script, readFileSync(script, "utf8").replace(receiver, ownUser));
    renameSync(root, home);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What the programs find each other and their libraries by. */
function environment(): NodeJS.ProcessEnv {
  const triplet = readdirSync(join(home, "usr/lib")).find((name) => name.endsWith("-linux-gnu")) ?? "";
  return {
    ...process.env,
    PATH: `${join(home, "usr/bin")}:${join(home, "usr/sbin")}:${process.env["PATH"]}`,
    LD_LIBRARY_PATH: `${join(home, "usr/lib", triplet)}:${join(home, "lib", triplet)}`,
  };
}

const common = (folder: string) => [
  "--no-defaults",
  `--basedir=${join(home, "usr")}`,
  `--datadir=${join(folder, "data")}`,
  ...(process.getuid?.() === 0 ? ["--user=root"] : []),
];

export async function startGalera(): Promise<Galera> {
  const folder = mkdtempSync(join(tmpdir().length > 60 ? "/tmp" : tmpdir(), "galera-"));
  const password = randomBytes(12).toString("hex");
  const ports = await freePorts(12);
  const group = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
  const nodes = group.map((_, index) => {
    const [sql = 0, transfer = 0, increments = 0] = ports.slice(3 + index * 3);
    return new Node(join(folder, String(index)), index, group, { sql, transfer, increments }, password);
  });
  const killAll = () => {
    for (const node of nodes) node.child?.kill("SIGKILL");
  };
  process.once("exit", killAll);
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.kill()));
    process.off("exit", killAll);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const [first, ...others] = nodes;
    if (first === undefined) throw new Error("no node");
    first.prepare();
    for (const { folder } of others) cpSync(first.folder, folder, { recursive: true });
    await first.start(["--wsrep-new-cluster"]);
    for (const node of others) await node.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    nodes,
    stop,
    async createDatabase() {
      const name = `test_${randomBytes(6).toString("hex")}`;
      await execute(nodes[0]?.url ?? "", `CREATE DATABASE ${name}`);
      return nodes.map(({ port }) => {
        const others = nodes.filter((node) => node.port !== port).map((node) => `127.0.0.1:${node.port}`);
        return `mysql://test:${password}@${[`127.0.0.1:${port}`, ...others].join(",")}/${name}`;
      });
    },
  };
}

interface Ports {
  readonly sql: number;
  /** Whole copies of the data and missed changes come here. */
  readonly transfer: number;
  readonly increments: number;
}

class Node implements GaleraNode {
  readonly folder: string;
  readonly url: string;
  readonly port: number;
  child: ChildProcess | undefined;
  readonly #options: readonly string[];
  readonly #password: string;

  constructor(folder: string, index: number, group: readonly string[], ports: Ports, password: string) {
    this.folder = folder;
    this.port = ports.sql;
    this.url = `mysql://test:${password}@127.0.0.1:${ports.sql}/`;
    this.#password = password;
    const provider = [
      `gmcast.listen_addr=tcp://${group[index]}`,
      `ist.recv_addr=127.0.0.1:${ports.increments}`,
      "gcache.size=64M",
      // a node that does not answer holds every commit back until the others drop it
      "evs.keepalive_period=PT0.5S",
      "evs.inactive_check_period=PT0.5S",
      "evs.suspect_timeout=PT2S",
      "evs.inactive_timeout=PT5S",
      "evs.install_timeout=PT5S",
    ];
    this.#options = [
      ...common(folder),
      `--tmpdir=${join(folder, "tmp")}`,
      `--port=${ports.sql}`,
      "--bind-address=127.0.0.1",
      `--socket=${join(folder, "s.sock")}`,
      `--pid-file=${join(folder, "server.pid")}`,
      `--log-error=${join(folder, "error.log")}`,
      "--skip-name-resolve",
      "--innodb-buffer-pool-size=64M",
      "--innodb-log-file-size=32M",
      "--innodb-autoinc-lock-mode=2",
      "--innodb-flush-log-at-trx-commit=2",
      "--performance-schema=OFF",
      "--max-connections=300",
      "--binlog-format=ROW",
      "--wsrep-on=ON",
      `--wsrep-provider=${join(home, "usr/lib/galera/libgalera_smm.so")}`,
      `--wsrep-cluster-address=gcomm://${group.join(",")}`,
      `--wsrep-node-address=${group[index]}`,
      `--wsrep-node-name=node-${index}`,
      "--wsrep-sst-method=rsync",
      `--wsrep-sst-receive-address=127.0.0.1:${ports.transfer}`,
      `--wsrep-provider-options=${provider.join(";")}`,
    ];
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error("the node does not run");
    return this.child.pid;
  }

  /** An empty server with the account of the tests. */
  prepare(): void {
    mkdirSync(join(this.folder, "tmp"), { recursive: true });
    const run = (program: string, args: readonly string[], input = "") =>
      execFileSync(program, args, { cwd: this.folder, env: environment(), input, timeout: 120_000, stdio: "pipe" });
    const plain = ["--auth-root-authentication-method=normal", "--skip-test-db"];
    run("mariadb-install-db", [...common(this.folder), ...plain]);
    const account = `'test'@'%'`;
    const statements = [
      "FLUSH PRIVILEGES",
      `CREATE USER ${account} IDENTIFIED BY '${this.#password}'`,
      `GRANT ALL ON *.* TO ${account} WITH GRANT OPTION`,
    ];
    run("mariadbd", [...common(this.folder), "--bootstrap"], statements.map((sql) => `${sql};\n`).join(""));
  }

  /** A server ends when its first copy of the data failed, for want of a port or of time: it is started again, as a service manager would. */
  async start(more: readonly string[] = []): Promise<void> {
    const options = { cwd: this.folder, env: environment(), stdio: "ignore" } as const;
    for (let starts = 1; ; starts++) {
      this.child = spawn("mariadbd", [...this.#options, ...more], options);
      try {
        return await this.synced();
      } catch (error) {
        if (this.#runs() || starts === 3) throw error;
      }
    }
  }

  async synced(): Promise<void> {
    for (const deadline = Date.now() + 180_000; !(await this.#isSynced()); await sleep(100)) {
      if (this.#runs() && Date.now() < deadline) continue;
      const log = readFileSync(join(this.folder, "error.log"), "utf8");
      const errors = log.split("\n").filter((line) => line.includes("ERROR"));
      throw new Error(`the node did not join the others:\n${errors.slice(0, 20).join("\n").slice(0, 4_000)}`);
    }
  }

  async #isSynced(): Promise<boolean> {
    const sql = "SHOW GLOBAL STATUS WHERE variable_name IN ('wsrep_local_state_comment', 'wsrep_ready')";
    try {
      const [rows] = (await execute(this.url, sql)) as [{ Value: string }[]];
      const values = rows.map(({ Value }) => Value);
      return values.includes("Synced") && values.includes("ON");
    } catch {
      return false;
    }
  }

  #runs(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || !this.#runs()) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await ended;
  }

  freeze(): Promise<void> {
    return freeze(this.pid);
  }

  thaw(): void {
    this.child?.kill("SIGCONT");
  }

  async isolate(apart: boolean): Promise<void> {
    await execute(this.url, `SET GLOBAL wsrep_provider_options = 'gmcast.isolate=${apart ? 1 : 0}'`);
  }
}
