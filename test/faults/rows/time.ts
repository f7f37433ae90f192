import { claimsOf } from "../../support/flow.ts";
import { MIXED } from "../harness/load.ts";
import type { Row, RunRow } from "../harness/row.ts";

const section = "Time";
const shiftClock = new URL("../harness/shift-clock.mjs", import.meta.url).href;
/** Each step of a flow goes to the other replica. */
const crossing = { ...MIXED, logins: 2, refreshes: 10, introspections: 20 };

/** Seconds by which the second replica's clock is off, and whether it steps there while it runs. */
const shifts: readonly [number, boolean][] = [
  [30, false],
  [-30, false],
  [120, false],
  [-3_600, true],
];

const clocks: RunRow = {
  id: "F-31",
  section,
  title: "clocks that differ or step",
  starts: true,
  async run(system, { load, ledger, long, progress }) {
    const [first, second] = system.replicas;
    if (first === undefined || second === undefined) throw new Error("two replicas are needed");
    await first.start();
    for (const [seconds, steps] of shifts) {
      progress(`${seconds} s${steps ? ", stepping" : ""}`);
      Object.assign(second.env, {
        NODE_OPTIONS: `--import=${shiftClock}`,
        CLOCK_SHIFT_MS: String(seconds * 1_000),
        CLOCK_STEP_AFTER_MS: steps ? "6000" : "0",
      });
      await second.start();
      if (load.sessions.length === 0) await load.prepare(6);
      await load.during(long ? 60 : 8, crossing);
      // the relay and the timers of the replica go on
      await system.drained();
      await second.stop();
    }
    const offs = shifts.map(([seconds, steps]) => `${seconds} s${steps ? " while it runs" : ""}`).join(", ");
    return {
      did: `one replica's wall clock off by ${offs}; each step of a flow on the other replica`,
      counted: `${ledger.where("introspect", ["ok"]).length} tokens introspected`,
    };
  },
};

const zones: RunRow = {
  id: "F-32",
  section,
  title: "time zones",
  system: {
    databaseOptions: ["--default-time-zone=+05:30"],
    envOf: (replica) => ({ TZ: replica === 0 ? "America/New_York" : "Asia/Kolkata" }),
  },
  async run(system, { load, check }) {
    await load.prepare(4);
    await load.during(4, crossing);
    for (const { tokens } of load.sessions) {
      const { iat, exp } = claimsOf(tokens.access_token);
      const age = Date.now() / 1_000 - Number(iat);
      check(Number(exp) - Number(iat) === 120, `an access token lives ${Number(exp) - Number(iat)} s`);
      check(age > -2 && age < 60, `a token was issued ${Math.round(age)} s ago`);
    }
    const lives = await system.rows<{ life: number }>(
      "SELECT DISTINCT expires_at - created_at AS life FROM oauth2_authorization_code",
    );
    check(
      lives.every(({ life }) => Number(life) === 60_000),
      `codes live ${lives.map(({ life }) => life)} ms`,
    );
    return { did: "replicas in New York and Kolkata, MariaDB at +05:30", counted: `${load.sessions.length} sessions` };
  },
};

export const TIME: readonly Row[] = [clocks, zones];
