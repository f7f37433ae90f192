import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Settings } from "../config/config.ts";
import { leaf, outputOf, type Runtime, settingsOfCommand } from "./runtime.ts";

export function addMigrateCommand(program: Command, runtime: Runtime): void {
  leaf(program, "migrate", "bring the database's schema up to date", ["migrate --plan", "migrate"])
    .option("--plan", "only print the SQL that would run; change nothing")
    .action(async (options: { json?: boolean; plan?: boolean }) => {
      const settings = await settingsOfCommand(runtime);
      const { planMigrations, runMigrations } = await import("../database/migrate.ts");
      const output = outputOf(runtime, options);
      if (options.plan === true) {
        const plan = await planMigrations(planningLocation(settings));
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
      const done = await runMigrations(locationOf(settings));
      output.print({ applied: done }, () =>
        done.length === 0 ? "The schema was up to date." : done.map((name) => `applied ${name}`).join("\n"),
      );
    });
}

function locationOf({ config: { databaseSslCa }, secrets: { databaseUrl } }: Settings): {
  url: string;
  sslCa?: string;
} {
  return databaseSslCa === null ? { url: databaseUrl } : { url: databaseUrl, sslCa: databaseSslCa };
}

/** Opening a SQLite file that does not exist would create it: plan on an empty database in memory instead. */
function planningLocation(settings: Settings): { url: string; sslCa?: string } {
  const file = /^sqlite:(?:\/\/(?=[/.]))?(.+)$/.exec(settings.secrets.databaseUrl)?.[1];
  return file === undefined || existsSync(file) ? locationOf(settings) : { url: "sqlite::memory:" };
}
