import { setTimeout as sleep } from "node:timers/promises";
import { claimsOf } from "../../support/flow.ts";
import { MIXED } from "../harness/load.ts";
import type { Row, RunRow } from "../harness/row.ts";

const section = "Time";
const shiftClock = new URL("../harness/shift-clock.mjs", import.meta.url).href;
/** Each step of a flow goes to the other replica. */
const crossing = { ...MIXED, logins: 2, refreshes: 10, introspections: 20 };

const clocks: RunRow = {
  id: "F-31",
  section,
  title: "clocks that differ or step",
  starts: true,
  async run(system, { load, ledger, long, progress, check }) {
    const [first, second] = system.replicas;
    if (first === undefined || second === undefined) throw new Error("two replicas are needed");
    await first.start();
    const startShifted = async (seconds: number, afterMs: number) => {
      progress(`${seconds} s`);
      const shift = { CLOCK_SHIFT_MS: String(seconds * 1_000), CLOCK_STEP_AFTER_MS: String(afterMs) };
      Object.assign(second.env, { NODE_OPTIONS: `--import=${shiftClock}`, ...shift });
      await second.start();
    };
    for (const seconds of [30, -30]) {
      await startShifted(seconds, 0);
      if (load.sessions.length === 0) await load.prepare(6);
      await load.during(long ? 60 : 6, crossing);
      await second.stop();
    }
    for (const seconds of [120, -3_600]) {
      await startShifted(seconds, 5_000);
      // the load balancer learns of it, and the replica lives on
      for (let tries = 0; tries < 100 && (await second.ready()) === 200; tries++) await sleep(200);
      check((await second.ready()) === 503, `ready with a clock that stepped by ${seconds} s`);
      check((await second.alive()) === 200, `not alive after its clock stepped by ${seconds} s`);
      await load.client.signUp(second.url);
      // its timers go on: it sends the event, alone
      await first.kill();
      await system.drained();
      check((await second.stop()) === 0, `no clean exit after a step of ${seconds} s`);
      await first.start();
    }
    return {
      did: "one replica's wall clock off by 30 s and -30 s, each step of a flow on the other replica; then a step of 120 s and of -1 h while it runs",
      counted: `${ledger.where("introspect", ["ok"]).length} tokens introspected; not ready after a step`,
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
    const [server] = await system.rows<{ zone: string }>("SELECT @@global.time_zone AS zone");
    check(server?.zone === "+05:30", `the time zone of MariaDB is ${server?.zone}`);
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
