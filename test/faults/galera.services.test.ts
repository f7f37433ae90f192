import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { inOneMoment } from "../support/clocks.ts";
import { claimsOf, getCode, getTokens, patiently, redeem, refresh, signUp, type Tokens } from "../support/flow.ts";
import { findGalera, type Galera, type GaleraNode, startGalera } from "../support/galera.ts";
import { sessionsOfOldPasswords } from "./old-password.ts";

const long = process.env["LONG"] === "1";
const passwordRounds = long ? 200 : 30;
const raceRounds = long ? 50 : 10;
const parallel = 12;
/** Two seconds of it are Galera's, until the others drop a node. */
const boundMs = 5_000;

const rotating = { clientId: "rotating", redirectUri: "http://localhost:4100/callback", scope: "openid profile" };
const clients = [
  { client_id: "rotating", redirect_uris: [rotating.redirectUri], first_party: true, scope: "openid profile" },
  {
    client_id: "portal-client",
    redirect_uris: ["http://localhost:3000/callback"],
    first_party: true,
    scope: "openid profile read write",
  },
];

const here = findGalera();

/** Three nodes, and on each a replica of the service: what two replicas change at once meets in Galera's certification, not in a lock. */
describe("over three Galera nodes", () => {
  let galera: Galera | undefined;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    if (!here) return;
    galera = await startGalera();
    const urls = await galera.createDatabase();
    apps = await startReplicas(3, { DATABASE_URL: urls[0] ?? "" }, clients, (n) => ({ DATABASE_URL: urls[n] ?? "" }));
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await galera?.stop();
  });

  const onGalera = (name: string, work: () => Promise<void>, ms?: number) =>
    here ? it(name, work, ms) : skip(name, "Galera: apt-get and the packages of Debian");
  const urlOf = (n: number) => apps[n % apps.length]?.url ?? "";
  const storm = <T>(call: (base: string) => Promise<T>): Promise<T[]> =>
    inOneMoment(apps, () => Promise.all(Array.from({ length: parallel }, (_, n) => call(urlOf(n)))));

  onGalera(
    `C-11 a login on one node while another one changes the password leaves no session of the old password, ${passwordRounds} rounds`,
    async () => {
      const urls = apps.map(({ url }) => url);
      const { left, accepted, refused } = await sessionsOfOldPasswords(urls, passwordRounds);
      expect(left).toEqual([]);
      expect(Math.min(accepted, refused)).toBeGreaterThan(0);
    },
    passwordRounds * 10_000,
  );

  onGalera(
    `S-063 one of ${parallel} redemptions of a code over the nodes wins, ${raceRounds} times over`,
    async () => {
      const account = await signUp(urlOf(0));
      const { browser } = await getCode(urlOf(0), account);
      let won = 0;
      for (let round = 0; round < raceRounds; round++) {
        const { code, verifier } = await getCode(urlOf(round), account, { browser });
        const statuses = await storm(async (base) => {
          const { status, headers } = await redeem(base, code, verifier);
          // "not now" is an answer too, if it says when
          return status === 503 && !headers.has("retry-after") ? 500 : status;
        });
        const count = (status: number) => statuses.filter((each) => each === status).length;
        // a node that was too busy may have let one win without saying so
        if (count(200) > 0 || count(503) === 0) expect(count(200)).toBe(1);
        expect(count(400)).toBe(parallel - count(200) - count(503));
        won += count(200);
      }
      expect(won).toBeGreaterThan(raceRounds / 2);
    },
    raceRounds * 20_000,
  );

  onGalera(
    `S-077 ${parallel} refreshes of one token over the nodes give the same successor, ${raceRounds} times over`,
    async () => {
      const account = await signUp(urlOf(0));
      const { browser } = await getTokens(urlOf(0), account, rotating);
      for (let round = 0; round < raceRounds; round++) {
        const tokens = await getTokens(urlOf(round), account, { ...rotating, browser });
        const answers = await storm(async (base) => {
          const answer = await patiently(() => refresh(base, tokens.refresh_token, { client_id: "rotating" }));
          return { status: answer.status, body: (await answer.json()) as Tokens };
        });
        expect(answers.map(({ status }) => status)).toEqual(Array(parallel).fill(200));
        const successors = new Set(answers.map(({ body }) => body.refresh_token));
        expect(successors.size).toBe(1);
        const [successor = ""] = successors;
        expect(claimsOf(successor)["gen"]).toBe(1);
        const next = await patiently(() => refresh(urlOf(round + 1), successor, { client_id: "rotating" }));
        expect(next.status).toBe(200);
      }
    },
    raceRounds * 20_000,
  );

  const losses: [string, number, (node: GaleraNode) => Promise<void>][] = [
    ["is cut off from the others", 2, (node) => node.isolate(true)],
    ["dies", 0, (node) => node.kill()],
  ];
  for (const [loss, n, lose] of losses) {
    onGalera(
      `F-21 a replica whose Galera node ${loss} writes again within 5 s and answers nothing but 503 meanwhile`,
      async () => {
        const account = await signUp(urlOf(n));
        const { browser } = await getTokens(urlOf(n), account, rotating);
        const clients = await Promise.all(
          Array.from({ length: 8 }, () => getTokens(urlOf(n), account, { ...rotating, browser })),
        );
        const node = galera?.nodes[n];
        if (node === undefined) throw new Error("no node");
        await lose(node);
        const stall = monitorEventLoopDelay();
        stall.enable();
        const from = performance.now();
        const failures = await Promise.all(
          clients.map((tokens) => refreshUntil(urlOf(n), tokens.refresh_token, from + boundMs)),
        );
        stall.disable();
        const all = failures.flat();
        expect(all.filter(({ status }) => status !== 503)).toEqual([]);
        // while this process stood still, which the replicas are in too, nothing could be answered
        expect(Math.max(0, ...all.map(({ at }) => at - from))).toBeLessThan(boundMs + stall.max / 1e6);
        if (loss !== "dies") {
          await node.isolate(false);
          await node.synced();
        }
      },
    );
  }

  /** Refreshes again and again until a refresh succeeds that was asked for after `end`. @returns what did not succeed, and when */
  async function refreshUntil(base: string, first: string, end: number): Promise<{ status: number; at: number }[]> {
    const failures: { status: number; at: number }[] = [];
    for (let token = first; ; await sleep(20)) {
      const asked = performance.now();
      const answer = await refresh(base, token, { client_id: "rotating" });
      const at = performance.now();
      if (answer.status !== 200) failures.push({ status: answer.status, at });
      else if (asked > end) return failures;
      else token = ((await answer.json()) as Tokens).refresh_token;
      if (at > end + 20_000) return failures;
    }
  }
});
