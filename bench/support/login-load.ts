import { readFileSync } from "node:fs";
import { type AuthorizeOptions, getTokens } from "../../test/support/flow.ts";

/** Full logins of new browsers, from the authorization request to the tokens. Run as a process: `login-load.ts OPTIONS_FILE`. */
interface Options {
  readonly base: string;
  readonly options: AuthorizeOptions;
  readonly accounts: readonly { readonly email: string; readonly password: string; readonly nickname: string }[];
  /** At once, each with an account of its own. */
  readonly seconds: number;
}

const { base, accounts, options, seconds } = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const latencies: number[] = [];
const from = performance.now();
await Promise.all(
  accounts.map(async (account) => {
    while (performance.now() - from < seconds * 1000) {
      const began = performance.now();
      await getTokens(base, account, options);
      latencies.push(performance.now() - began);
    }
  }),
);
const took = (performance.now() - from) / 1000;
latencies.sort((a, b) => a - b);
const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(
  `${JSON.stringify({ answered: latencies.length, failed: 0, seconds: took, p50: at(0.5), p99: at(0.99) })}\n`,
);
