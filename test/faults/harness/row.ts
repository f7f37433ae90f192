import { setTimeout as sleep } from "node:timers/promises";
import { type Audit, audit, summary, violations } from "./auditor.ts";
import { Ledger, type Operation } from "./ledger.ts";
import { Load } from "./load.ts";
import { Skipped } from "./skipped.ts";
import { type Servers, System, type SystemOptions } from "./system.ts";

export const SECTIONS = [
  "Process death",
  "Kafka and outbox",
  "Database",
  "Time",
  "Concurrency and load",
  "Deployment",
  "Clusters",
] as const;

interface Named {
  /** Of the fault, such as `F-20`; a word for several faults together. */
  readonly id: string;
  readonly section: (typeof SECTIONS)[number];
  /** The fault. */
  readonly title: string;
}

/** A fault that the harness injects. */
export interface RunRow extends Named {
  /** Runs with --long only. */
  readonly long?: boolean;
  /** Runs from the start of the run beside the other rows, on servers of its own. */
  readonly beside?: boolean;
  readonly system?: SystemOptions;
  /** The row starts the replicas itself. */
  readonly starts?: boolean;
  run(system: System, trial: Trial): Promise<Shown>;
}

/** A fault that tests of `npm test` show; their titles name it. */
export interface TestedRow extends Named {
  readonly shownBy: readonly string[];
}

/** A fault that one machine cannot show, or that is not shown yet. */
export interface UnshownRow extends Named {
  readonly notShown: string;
}

export type Row = RunRow | TestedRow | UnshownRow;

/** What a row did and counted. */
export interface Shown {
  readonly did: string;
  readonly counted: string;
  /** From the end of the fault to the first good answer of every kind, the worst of all trials (milliseconds). */
  readonly recoveryMs?: number;
}

export interface Outcome extends Shown {
  /** Of its ledger, tables and topics; absent where the row counts by itself. */
  readonly audit?: Audit;
  /** Empty: the row held. */
  readonly failures: readonly string[];
  /** Why this machine cannot inject the fault; the row says nothing then. */
  readonly skipped?: string;
}

/** One run of a row: its clients, and what went wrong. */
export class Trial {
  readonly long: boolean;
  readonly ledger = new Ledger();
  readonly load: Load;
  readonly failures: string[];
  readonly servers: Servers;
  readonly progress: (text: string) => void;

  /** @param options.failures what does not hold is added to these */
  constructor(
    system: System,
    servers: Servers,
    options: { long: boolean; progress: (text: string) => void; failures?: string[] },
  ) {
    this.failures = options.failures ?? [];
    this.servers = servers;
    this.long = options.long;
    this.progress = options.progress;
    const running = () => system.replicas.filter(({ process }) => process !== null).map(({ url }) => url);
    this.load = new Load(this.ledger, () => (running().length > 0 ? running() : system.urls));
  }

  /**
   * Waits until every kind of call, sent after a moment, got a good answer.
   * @returns milliseconds since that moment
   */
  async recovery(moment: number, operations: readonly Operation[], withinMs = 5_000): Promise<number> {
    for (;;) {
      const took = this.ledger.recoveredAfter(moment, operations);
      const waited = performance.now() - moment;
      if (took !== null || waited > 3 * withinMs) {
        this.check(took !== null && took <= withinMs, `not recovered within ${withinMs} ms`);
        return took ?? waited;
      }
      await sleep(50);
    }
  }

  /** Notes what does not hold, and goes on. */
  readonly check = (holds: boolean, otherwise: string): void => {
    if (!holds) this.failures.push(otherwise);
  };
}

/** Runs a row on processes of its own, and audits what is left. */
export async function runRow(
  row: RunRow,
  servers: Servers,
  options: { long: boolean; progress: (text: string) => void },
): Promise<Outcome> {
  const failures: string[] = [];
  let system: System | null = null;
  try {
    system = await System.prepare(servers, row.system);
    const trial = new Trial(system, servers, { ...options, failures });
    if (!row.starts) await system.start();
    const shown = await row.run(system, trial);
    if (trial.ledger.calls.length === 0) return { ...shown, failures };
    options.progress("auditing");
    const found: Audit = await audit(system, trial.load);
    const counted = [shown.counted, summary(found)].filter((text) => text !== "").join("; ");
    return { ...shown, counted, audit: found, failures: [...failures, ...violations(found)] };
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof Skipped) return { did: "", counted: "", failures: [], skipped: message };
    return { did: row.title, counted: "", failures: [...failures, `the row itself failed: ${message}`] };
  } finally {
    await system?.stop();
  }
}
