import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { configOf, leaf, outputOf, type Runtime } from "./runtime.ts";

export function addMigrateCommand(program: Command, runtime: Runtime): void {
  leaf(program, "migrate", "bring the database's schema up to date", ["migrate --plan", "migrate"])
    .option("--plan", "only print the SQL that would run; change nothing")
    .action(async (options: { json?: boolean; plan?: boolean }) => {
      const config = await configOf(runtime);
      const { planMigrations, runMigrations } = await import("../database/migrate.ts");
      const output = outputOf(runtime, options);
      if (options.plan === true) {
        const plan = await planMigrations(planningLocation(config));
        output.print({ pending: plan }, () =>
          plan.length === 0
            ? "The schema is up to date."
            : plan
                .map(
                  ({ name, sql }) => `-- ${name}\n${sql.map((line) => `${line.replace(/[;\s]*$/, "")};`).join("\n")}`,
                )
                .join("\n\n"),
        );
        return;
      }
      const done = await runMigrations(locationOf(config));
      output.print({ applied: done }, () =>
        done.length === 0 ? "The schema was up to date." : done.map((name) => `applied ${name}`).join("\n"),
      );
    });
}

function locationOf({ databaseUrl, databaseSslCa }: Config): { url: string; sslCa?: string } {
  return databaseSslCa === null ? { url: databaseUrl } : { url: databaseUrl, sslCa: databaseSslCa };
}

/** Opening a SQLite file that does not exist would create it: plan on an empty database in memory instead. */
function planningLocation(config: Config): { url: string; sslCa?: string } {
  const file = /^sqlite:(?:\/\/(?=[/.]))?(.+)$/.exec(config.databaseUrl)?.[1];
  return file === undefined || existsSync(file) ? locationOf(config) : { url: "sqlite::memory:" };
}
