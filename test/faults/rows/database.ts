import { setTimeout as sleep } from "node:timers/promises";
import type { Operation } from "../harness/ledger.ts";
import type { Row } from "../harness/row.ts";

const section = "Database";
/** What every client needs again. */
const all: readonly Operation[] = ["sign-up", "login", "redeem", "refresh", "introspect"];

export const DATABASE: readonly Row[] = [
  {
    id: "F-20",
    section,
    title: "MariaDB killed with -9, back after 2 s",
    async run(system, { load, ledger, long, progress, check }) {
      const kills = long ? 20 : 3;
      await load.prepare(6);
      load.start();
      await sleep(2_000);
      let worst = 0;
      for (let kill = 1; kill <= kills; kill++) {
        progress(`kill ${kill} of ${kills}`);
        await system.database.kill();
        await sleep(2_000);
        const keys = await Promise.all(system.urls.map(async (url) => (await fetch(`${url}/oauth2/jwks`)).status));
        check(
          keys.every((status) => status === 200),
          "the key set was not served without the database",
        );
        await system.database.restart();
        const back = performance.now();
        await sleep(6_000);
        const recovered = ledger.recoveredAfter(back, all);
        check(recovered !== null && recovered <= 5_000, `not recovered 5 s after kill ${kill}`);
        worst = Math.max(worst, recovered ?? 6_000);
      }
      await load.stop();
      const slowest = Math.max(...ledger.calls.map(({ at, endedAt }) => (endedAt ?? at) - at));
      return {
        did: `${kills} kills under mixed load`,
        counted: `slowest answer ${Math.round(slowest)} ms`,
        recoveryMs: worst,
      };
    },
  },
];
