import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { plansOf, writePlans } from "./plans.ts";
import { certificateFor, startProxy } from "./proxy.ts";
import { startService } from "./service.ts";
import { type ConformanceOptions, issuerOf, readSecrets } from "./settings.ts";

const program = new Command("npx node examples/conformance/start.ts")
  .description("starts the auth service as the OpenID Foundation's conformance suite needs it, behind TLS")
  .requiredOption("--host <name>", "the issuer's host name, as the suite reaches it")
  .option("--port <number>", "port of the TLS listener", readPort, 8443)
  .option("--listen <address>", "address of the TLS listener; 0.0.0.0 for a suite in containers", "127.0.0.1")
  .option("--suite <url>", "base URL of the suite", readSuite, "https://localhost.emobix.co.uk:8443")
  .option("--suite-ca <file>", "PEM of the CA of the suite's certificate, for back-channel logout", readableFile)
  .option("--alias <alias>", "alias of the plans at the suite", "auth-service")
  .option("--data <folder>", "database, keys and secrets; kept between starts", "data/conformance")
  .option("--out <folder>", "where the configurations of the plans are written", "data/conformance/plans")
  .option("--add-pkce", "have the proxy add PKCE to requests without it: not for a certification, see README.md", false)
  .addHelpText("after", "\nExample:\n  npx node examples/conformance/start.ts --host auth.example.test --port 8444");

try {
  await start();
} catch (error) {
  // what to change: the place in this code tells nobody
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

async function start(): Promise<void> {
  const { suiteCa, ...given } = program.parse().opts<Omit<ConformanceOptions, "suiteCa"> & { suiteCa?: string }>();
  const options: ConformanceOptions = { ...given, suiteCa: suiteCa ?? null };

  const secrets = await readSecrets(options.data);
  const certificate = certificateFor(options.host, options.data);
  const service = await startService(options, secrets);
  const { host, port, listen, addPkce } = options;
  const publicHost = new URL(issuerOf(options)).host;
  const proxy = await startProxy({ listen, port, certificate, servicePort: service.port, publicHost, addPkce }).catch(
    async (error: NodeJS.ErrnoException) => {
      await service.close();
      if (error.code !== "EADDRINUSE") throw error;
      throw new Error(
        `${listen}:${port} is in use by another process. Choose another one, for example --port ${port + 10}`,
      );
    },
  );
  const runs = writePlans(options.out, plansOf(options, secrets, service.registrationToken));

  console.log(
    `The issuer is ${issuerOf(options)}, TLS on ${listen}:${port}, the service itself on 127.0.0.1:${service.port}.`,
  );
  console.log(
    `Certificate: ${join(options.data, "certificate.pem")}. The suite's machine has to resolve ${host} to this one.`,
  );
  console.log(
    `For commands beside it, as key rotate: set -a; . ${service.environmentFile}; set +a; npm run auth -- key rotate`,
  );
  if (addPkce) console.log("Requests without PKCE get it from the proxy: results are not the service's own.");
  console.log("Plans, as the suite's scripts/run-test-plan.py takes them:");
  for (const run of runs) console.log(`  ${run}`);

  const stop = async (): Promise<void> => {
    await proxy.close();
    await service.close();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop());
  await service.ended;
  await proxy.close();
}

function readPort(value: string): number {
  const number = Number(value);
  if (Number.isInteger(number) && number > 0 && number < 65_536) return number;
  throw new Error("--port must be a number from 1 to 65535");
}

function readSuite(value: string): string {
  const url = new URL(value);
  if (url.protocol === "https:") return url.href.replace(/\/+$/, "");
  throw new Error("--suite must be an https URL");
}

function readableFile(value: string): string {
  if (existsSync(value)) return value;
  throw new Error(`--suite-ca: there is no file ${value}`);
}
