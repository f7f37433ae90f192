import { setTimeout as sleep } from "node:timers/promises";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { rotateSigningKeys } from "../src/oauth/keys/rotation.ts";
import { onMariaDbAndKafka } from "../test/support/deployment.ts";
import { internalBasic, introspect, postForm } from "../test/support/flow.ts";
import type { Figure } from "./figures.ts";

const rotations = 100;
const everyMs = 1_000;
/** Verifications a second, half of them by jose with a cached key set, half by introspection. */
const perSecond = 500;
const issuedPerSecond = 50;

/**
 * Keys rotate once a second while tokens are issued by one replica and verified against the other: by jose's remote key set,
 * which may cache for a second and waits a second before it asks again, and by introspection. No valid token is ever refused.
 */
export async function rotate(): Promise<readonly Figure[]> {
  const d = await onMariaDbAndKafka(2, { JWKS_MAX_AGE: "1", ACCESS_TOKEN_TTL: "10", LOG_LEVEL: "error" });
  const [issuing, verifying] = d.apps;
  if (issuing === undefined || verifying === undefined) throw new Error("two replicas are needed");
  const keySet = createRemoteJWKSet(new URL(`${verifying.url}/oauth2/jwks`), {
    cacheMaxAge: 1_000,
    cooldownDuration: 1_000,
  });
  const failures: string[] = [];
  const kids = new Set<string>();
  let verified = 0;
  let tokens: string[] = [];
  let running = true;

  const issue = async () => {
    const form = { grant_type: "client_credentials", scope: "auth.users.read" };
    const response = await postForm(`${issuing.url}/oauth2/token`, form, { authorization: internalBasic });
    const { access_token: token } = (await response.json()) as { access_token: string };
    // well before they expire
    tokens = [...tokens.slice(-issuedPerSecond * 5), token];
  };
  const verifyOne = async (token: string, byKeySet: boolean) => {
    try {
      if (byKeySet) {
        const { protectedHeader } = await jwtVerify(token, keySet, { issuer: issuing.config.issuer, typ: "at+jwt" });
        kids.add(protectedHeader.kid ?? "");
      } else if ((await introspect(verifying.url, token))["active"] !== true) throw new Error("inactive");
      verified++;
    } catch (error) {
      failures.push(`${byKeySet ? "jose" : "introspection"}: ${(error as Error).message}`);
    }
  };
  /** Evenly, in slices of 20 ms; the newest token and one of those before it. */
  const evenly = async (rate: number, call: (n: number) => Promise<void>) => {
    const started = performance.now();
    const open = new Set<Promise<void>>();
    for (let n = 0; running; ) {
      const due = ((performance.now() - started) / 1000) * rate;
      for (; n < due; n++) {
        const one = call(n).finally(() => open.delete(one));
        open.add(one);
      }
      await sleep(20);
    }
    await Promise.all(open);
  };

  try {
    await issue();
    const seconds = performance.now();
    const load = [
      evenly(issuedPerSecond, issue),
      evenly(perSecond, (n) => verifyOne(tokens.at(n % 4 < 2 ? -1 : -1 - (n % tokens.length)) ?? "", n % 2 === 0)),
    ];
    for (let n = 0; n < rotations; n++) {
      await rotateSigningKeys(issuing.context, "ES256");
      await sleep(everyMs);
    }
    // until the last one has signed for a while
    const last = Math.max(...issuing.context.keys.list().map(({ activeFrom }) => activeFrom));
    await sleep(Math.max(0, last - issuing.clock.now()) + 3_000);
    running = false;
    await Promise.all(load);
    const elapsed = (performance.now() - seconds) / 1000;
    for (const failure of new Set(failures)) console.error(failure);
    return [
      { name: "rotations", value: rotations, unit: "", bar: null },
      { name: "keys that signed", value: kids.size, unit: "", bar: null },
      { name: "verifications a second", value: Math.round(verified / elapsed), unit: "", bar: null },
      { name: "valid tokens refused", value: failures.length, unit: "", bar: 0 },
    ];
  } finally {
    running = false;
    await d.close();
  }
}
