import { createVerifier } from "../src/verifier/verifier.ts";
import { startApp } from "../test/support/app.ts";
import { getTokens, signUp, TestBrowser } from "../test/support/flow.ts";
import type { Result } from "./figures.ts";
import { introspect } from "./introspect.ts";

/** The verifier library with 1,000 warm tokens, against a gRPC introspection call of the same run. */
export async function verify(): Promise<Result> {
  const call = await introspect();
  const app = await startApp({ ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" });
  const verifier = createVerifier({
    issuer: app.url,
    audience: "portal-client",
    stream: {
      baseUrl: `http://${app.grpc}`,
      credentials: { clientId: "internal-service", clientSecret: "internal-service-secret" },
    },
    onStreamLost: "fail-closed",
  });
  try {
    await verifier.ready();
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const tokens: string[] = [];
    while (tokens.length < 1_000) tokens.push((await getTokens(app.url, account, { browser })).access_token);
    for (const token of tokens) {
      const decision = await verifier.verify(token, { scopes: ["read"] });
      if (!decision.allowed) throw new Error(`refused: ${decision.error}`);
    }
    const rates: number[] = [];
    for (let round = 0; round < 5; round++) {
      const before = process.cpuUsage();
      let done = 0;
      const until = performance.now() + 500;
      while (performance.now() < until) {
        for (const token of tokens) {
          // a token comes from the wire as a new string each time
          const received = Buffer.from(token, "latin1").toString("latin1");
          if ((await verifier.verify(received, { scopes: ["read"] })).allowed) done++;
        }
        await new Promise(setImmediate);
      }
      const { user, system } = process.cpuUsage(before);
      rates.push(done / ((user + system) / 1e6));
    }
    const ours = rates.sort((a, b) => a - b)[2] ?? 0;
    return {
      bench: "verify",
      what: "the verifier library, warm, against gRPC introspection calls, tokens a processor second",
      ours,
      baseline: call.ours,
      ratio: ours / call.ours,
      bar: 20,
      note: "includes making a fresh string of each token",
    };
  } finally {
    await verifier.close();
    await app.close();
  }
}
