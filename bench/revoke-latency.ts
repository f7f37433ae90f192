import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { IntrospectionService } from "../gen/auth/v1/introspection_pb.ts";
import { onMariaDbAndKafka } from "../test/support/deployment.ts";
import {
  claimsOf,
  getTokens,
  internalBasic,
  introspect,
  portal,
  postForm,
  signUp,
  TestBrowser,
} from "../test/support/flow.ts";
import type { Figure } from "./figures.ts";

const revocations = 1_000;
const watchers = 50;
const atOnce = 5;

/**
 * Two replicas on MariaDB, fifty watchers over both: from the acknowledgement of a revocation to the last time that any replica
 * still accepted the token or that any watcher had not heard of it.
 */
export async function revokeLatency(): Promise<readonly Figure[]> {
  const d = await onMariaDbAndKafka(2, { ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" });
  const abort = new AbortController();
  const heard = new Map<string, number[]>();
  try {
    let live = 0;
    const watching = Array.from({ length: watchers }, async (_, n) => {
      const baseUrl = `http://${d.apps[n % 2]?.grpc}`;
      const client = createClient(IntrospectionService, createGrpcTransport({ baseUrl }));
      const options = { headers: { authorization: internalBasic }, signal: abort.signal };
      let following = false;
      for await (const response of client.watchRevocations({}, options)) {
        const now = performance.now();
        for (const { value } of response.revocations) heard.get(value)?.push(now);
        if (!following && !response.snapshot) {
          following = true;
          live++;
        }
      }
    });
    for (const watcher of watching) watcher.catch(() => {});
    while (live < watchers) await new Promise((resolve) => setTimeout(resolve, 50));

    const account = await signUp(d.url);
    const browser = new TestBrowser();
    const latencies: number[] = [];
    let lateAcceptances = 0;
    const bound = d.apps[0]?.config.revocationMaxStaleness ?? 0;
    let left = revocations;
    const worker = async () => {
      while (left-- > 0) {
        const tokens = await getTokens(d.url, account, { browser });
        const sid = String(claimsOf(tokens.access_token)["sid"]);
        for (const base of d.bases) await introspect(base, tokens.access_token);
        heard.set(sid, []);
        await postForm(`${d.bases[0]}/oauth2/revoke`, { token: tokens.refresh_token, client_id: portal.clientId });
        const acknowledged = performance.now();
        let last = acknowledged;
        await Promise.all(
          d.bases.map(async (base) => {
            for (;;) {
              const asked = performance.now();
              if ((await introspect(base, tokens.access_token))["active"] !== true) return;
              last = Math.max(last, asked);
              if (asked - acknowledged > bound) lateAcceptances++;
              if (asked - acknowledged > 5_000) throw new Error("a revoked token stays active");
            }
          }),
        );
        const times = heard.get(sid) ?? [];
        for (let tries = 0; times.length < watchers && tries < 500; tries++)
          await new Promise((resolve) => setTimeout(resolve, 10));
        if (times.length < watchers) throw new Error(`${watchers - times.length} watchers never heard of a revocation`);
        latencies.push(Math.max(last, ...times) - acknowledged);
        if (Math.max(...times) - acknowledged > bound) lateAcceptances++;
        heard.delete(sid);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    latencies.sort((a, b) => a - b);
    const at = (share: number) => Math.round(latencies[Math.floor(latencies.length * share)] ?? 0);
    return [
      { name: "revocations, replicas, watchers", value: revocations, unit: `, 2, ${watchers}`, bar: null },
      { name: "acknowledgement to last acceptance, p50", value: at(0.5), unit: "ms", bar: null },
      { name: "acknowledgement to last acceptance, p99", value: at(0.99), unit: "ms", bar: 250 },
      { name: "acceptances after the bound", value: lateAcceptances, unit: "", bar: 0 },
    ];
  } finally {
    abort.abort();
    await d.close();
  }
}
