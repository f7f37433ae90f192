import { Command } from "commander";
import { createApp } from "./app.ts";
import { type Config, ConfigError, readConfig } from "./config.ts";
import { ForeignSchemaError } from "./database/migrate.ts";
import { ProductionRefusal } from "./oauth/clients.ts";

/** sysexits.h EX_CONFIG: nothing but a changed configuration helps. */
const exitConfig = 78;

async function serve(config: Config): Promise<void> {
  const app = await createApp(config);
  const { http, grpc, internalHttp, issuer } = config;
  process.stdout.write(
    `Auth service is up: ${issuer}/login\n` +
      `  tokens   ${issuer}/.well-known/openid-configuration\n` +
      `  gRPC     ${grpc.host}:${grpc.port}   Connect, health and metrics  http://${internalHttp.host}:${internalHttp.port}\n` +
      `  next     README.md has a three-minute tour (listening on ${http.host}:${http.port})\n`,
  );
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      stopping = true;
      const late = setTimeout(() => process.exit(1), 9_500);
      late.unref();
      app.close().then(
        () => process.exit(0),
        (error: unknown) => {
          app.context.log.error({ err: error }, "not closed cleanly");
          process.exit(1);
        },
      );
    });
  }
}

const program = new Command("auth")
  .description("OAuth 2.0 and OpenID Connect authorization server")
  .showHelpAfterError();
program
  .command("serve", { isDefault: true })
  .description("start the service")
  .action(() => serve(readConfig(process.env)));

try {
  await program.parseAsync();
} catch (error) {
  const configuration =
    error instanceof ConfigError || error instanceof ForeignSchemaError || error instanceof ProductionRefusal;
  process.stderr.write(`${configuration ? error.message : String(error instanceof Error ? error.stack : error)}\n`);
  process.exitCode = configuration ? exitConfig : 1;
}
