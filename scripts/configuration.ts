// `npm run docs:configuration`: writes docs/configuration.md from the declarations that the reader of the environment follows. A test
// compares the two.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SECTIONS, type Variable } from "../src/config/variables.ts";

const page = join(import.meta.dirname, "../docs/configuration.md");

const intro = `# Configuration

All settings are environment variables; an empty one counts as unset. Everything wrong is reported at once at start, each with an example, and
the exit status is then 78. A secret may also come from a file: \`X_FILE\` names the file of \`X\`. \`npm run docs:configuration\` writes this
page from [the declarations](../src/config/variables.ts).`;

const clientsFile = `## The clients file

\`CLIENTS_FILE\` holds [RFC 7591](https://www.rfc-editor.org/rfc/rfc7591) metadata plus \`first_party\`, \`profile\` (\`fapi2\`), \`require_pkce\`,
\`refresh_token_rotation\`, \`refresh_rejected_status\`, \`refresh_token_reuse_window\`, \`refresh_token_idle_ttl\`, \`access_token_typ\`,
\`access_token_signed_response_alg\`, \`id_token_claims\`, \`resources\`, \`default_resource\`, \`resource_server_for\`, \`token_exchange_audiences\`;
[\`deploy/clients.json\`](../deploy/clients.json) is one. Clients from the file are changed only there; the command line may disable them or
rotate their secret, which the file never undoes. A client that is gone from the file is disabled.

While replicas with an old and a new file run side by side, the newer file wins: give it a \`version\` and raise it with each change, or keep
the file's own time in your deployment. An unchanged file writes nothing. A secret that the file changes works for another hour; \`client
rotate-secret ID\` ends the older ones at once.`;

export function configurationPage(): string {
  const tables = Object.entries(SECTIONS).map(([title, variables]) => {
    const rows = Object.entries(variables as Readonly<Record<string, Variable>>).map(
      ([name, variable]) =>
        `| \`${name}\`${variable.kind === "secret" ? ", `_FILE`" : ""} | ${defaultOf(variable)} | ${variable.meaning}${valuesOf(variable)} |`,
    );
    return [`## ${title}`, "", "| variable | default | meaning |", "| --- | --- | --- |", ...rows].join("\n");
  });
  return `${[intro, ...tables, clientsFile].join("\n\n")}\n`;
}

function defaultOf(variable: Variable): string {
  if (variable.unset !== undefined) return variable.unset;
  switch (variable.kind) {
    case "integer":
      return `\`${variable.default}\``;
    case "flag":
      return variable.default === "production" ? "on in production" : `\`${variable.default ? 1 : 0}\``;
    case "choice":
      return `\`${variable.choices[0]}\``;
    default:
      return "none";
  }
}

function valuesOf(variable: Variable): string {
  if (variable.kind === "integer") return ` From ${variable.min} to ${variable.max}.`;
  if (variable.kind === "choice") return ` ${variable.choices.map((choice) => `\`${choice}\``).join(", ")}.`;
  return variable.kind === "flag" ? " `1` or `0`." : "";
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(page, configurationPage());
  execFileSync(join(import.meta.dirname, "../node_modules/.bin/biome"), ["format", "--write", page], {
    stdio: "inherit",
  });
}
