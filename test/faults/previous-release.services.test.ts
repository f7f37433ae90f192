import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { testEnvironment } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  getTokens,
  introspect,
  patiently,
  postForm,
  postJson,
  refresh,
  signUp,
  type TestBrowser,
  type Tokens,
} from "../support/flow.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { checkOutPreviousRelease, PREVIOUS_RELEASE } from "../support/previous-release.ts";
import { type ServiceProcess, spawnService } from "../support/process.ts";

/**
 * What clients do at one replica, until they are stopped: each signs in, refreshes, ends every second session, and asks about its token
 * after each step. They repeat what is answered with 503 and a hint, and nothing else.
 */
class Clients {
  /** Answers that no client should get. */
  readonly wrong: string[] = [];
  /** Their last tokens. */
  readonly kept: Tokens[] = [];
  readonly ended: Tokens[] = [];
  readonly #workers: Promise<void>[];
  #stopped = false;

  constructor(base: string, accounts: readonly Account[]) {
    this.#workers = accounts.map(async (account) => {
      while (!this.#stopped) {
        await this.#round(base, account).catch((error: unknown) => this.wrong.push(String(error)));
      }
    });
  }

  async #round(base: string, account: Account): Promise<void> {
    const { browser: _, ...first } = await getTokens(base, account);
    const refreshed = await patiently(() => refresh(base, first.refresh_token));
    if (refreshed.status !== 200) throw new Error(`refresh: ${refreshed.status} ${await refreshed.text()}`);
    const tokens = (await refreshed.json()) as Tokens;
    if ((await introspect(base, tokens.access_token))["active"] !== true) throw new Error("a new token is inactive");
    if (this.kept.length <= this.ended.length) return void this.kept.push(tokens);
    const form = { token: tokens.refresh_token, client_id: "portal-client" };
    const revoked = await patiently(() => postForm(`${base}/oauth2/revoke`, form));
    if (revoked.status !== 200) throw new Error(`revoke: ${revoked.status} ${await revoked.text()}`);
    this.ended.push(tokens);
  }

  /** Ends after whole rounds only, at least two of each kind. */
  async stop(): Promise<void> {
    while (this.ended.length < 2 && this.wrong.length === 0) await sleep(50);
    this.#stopped = true;
    await Promise.all(this.#workers);
  }
}

const release = checkOutPreviousRelease();

(release === null ? describe.skip : describe)(`F-54 F-56 beside the previous release, ${PREVIOUS_RELEASE}`, () => {
  let database: MariaDb;
  let older: ServiceProcess;
  let newer: ServiceProcess;
  let oldEnv: Record<string, string>;
  let newEnv: Record<string, string>;
  /** Listeners of the two, the issuer of both is the first. */
  let bases: [string, string];
  let before: { account: Account & { uuid: string }; browser: TestBrowser; tokens: Tokens };
  let meanwhile: Clients;
  beforeAll(async () => {
    database = await startMariaDb();
    oldEnv = await testEnvironment({ DATABASE_URL: await database.createDatabase() });
    const own = await testEnvironment({ DATABASE_URL: oldEnv["DATABASE_URL"] ?? "" });
    newEnv = { ...own, ISSUER: oldEnv["ISSUER"] ?? "" };
    bases = [oldEnv, newEnv].map((env) => `http://localhost:${env["HTTP_PORT"]}`) as [string, string];
    older = await spawnService(oldEnv, path.join(release ?? "", "src/main.ts"));
    const account = await signUp(bases[0]);
    const { browser, ...tokens } = await getTokens(bases[0], account);
    before = { account, browser, tokens };
    const accounts = await Promise.all([1, 2, 3].map(() => signUp(bases[0])));
    // the deploy: migrates while the previous release serves
    meanwhile = new Clients(bases[0], accounts);
    newer = await spawnService(newEnv);
    await meanwhile.stop();
  });
  afterAll(async () => {
    await newer?.kill("SIGKILL");
    await older?.kill("SIGKILL");
    await database?.stop();
  });

  const inactiveEverywhere = async (token: string) => {
    for (const base of bases) {
      for (let tries = 0; (await introspect(base, token))["active"] === true; tries++) {
        if (tries > 200) throw new Error(`${base} still takes it`);
        await sleep(50);
      }
    }
  };
  const activeEverywhere = async (token: string) => {
    for (const base of bases) expect([base, (await introspect(base, token))["active"]]).toEqual([base, true]);
  };
  const isSignedIn = async (base: string, browser: TestBrowser) =>
    (await patiently(() => browser.get(authorizeUrl(base, { extra: { prompt: "none" } })))).headers
      .get("location")
      ?.includes("code=");

  it("the two are the two releases", async () => {
    const answers = await Promise.all(bases.map((base) => fetch(`${base}/api/openapi.json`)));
    expect(answers.map(({ status }) => status)).toEqual([404, 200]);
  });

  it("no client of the previous release met a wrong answer while the new one migrated, and both know what was kept and what was ended", async () => {
    expect(meanwhile.wrong).toEqual([]);
    for (const tokens of meanwhile.kept) {
      const refreshed = await patiently(() => refresh(bases[1], tokens.refresh_token));
      expect(refreshed.status).toBe(200);
      await activeEverywhere(((await refreshed.json()) as Tokens).access_token);
    }
    for (const tokens of meanwhile.ended) {
      await inactiveEverywhere(tokens.access_token);
      for (const base of bases) {
        const refused = await patiently(() => refresh(base, tokens.refresh_token));
        expect([base, refused.status]).toEqual([base, 401]);
      }
    }
  });

  it("what was issued before the deploy is good on both", async () => {
    await activeEverywhere(before.tokens.access_token);
    for (const base of bases) expect(await isSignedIn(base, before.browser)).toBe(true);
    for (const base of bases) {
      const refreshed = await patiently(() => refresh(base, before.tokens.refresh_token));
      expect([base, refreshed.status]).toEqual([base, 200]);
      await activeEverywhere(((await refreshed.json()) as Tokens).access_token);
    }
  });

  it("signing up, signing in and refreshing work with every step on another replica", async () => {
    for (const turns of [bases, [...bases].reverse()]) {
      const account = await signUp(turns[0] ?? "");
      const { browser, ...tokens } = await getTokens(turns, account);
      await activeEverywhere(tokens.access_token);
      for (const base of turns) {
        expect((await patiently(() => refresh(base, tokens.refresh_token))).status).toBe(200);
      }
      expect(await isSignedIn(turns[1] ?? "", browser)).toBe(true);
    }
  });

  it.each([0, 1])("what replica %i revokes is refused by both", async (by) => {
    const base = bases[by] ?? "";
    const account = await signUp(base);
    const ways: ((given: Tokens & { browser: TestBrowser }) => Promise<unknown>)[] = [
      ({ refresh_token = "" }) =>
        postForm(`${base}/oauth2/revoke`, { token: refresh_token, client_id: "portal-client" }),
      ({ browser, id_token }) => browser.get(`${base}/connect/logout?id_token_hint=${id_token}`),
      () => changePassword(base, account),
    ];
    for (const [issuedBy, way] of [0, 1].flatMap((issuer) => ways.map((each) => [issuer, each] as const))) {
      const given = await getTokens(bases[issuedBy] ?? "", account);
      await activeEverywhere(given.access_token);
      await way(given);
      await inactiveEverywhere(given.access_token);
      for (const each of bases) {
        const refreshed = await patiently(() => refresh(each, given.refresh_token));
        expect([each, refreshed.status]).toEqual([each, 401]);
      }
    }
  });

  it("events of both reach their sink, each once", async () => {
    const accounts = [await signUp(bases[0]), await signUp(bases[1])];
    const seen = () =>
      [oldEnv, newEnv].flatMap(({ EVENTS_FILE: file = "" }) =>
        existsSync(file) ? readFileSync(file, "utf8").split("\n") : [],
      );
    for (const { uuid } of accounts) {
      const ofUser = () => seen().filter((line) => line.includes(uuid) && line.includes("USER_SIGNUP"));
      for (let tries = 0; ofUser().length === 0; tries++) {
        if (tries > 400) throw new Error(`no event of ${uuid}`);
        await sleep(50);
      }
      expect(ofUser()).toHaveLength(1);
    }
  });

  it("events that the previous release does not know wait in its lanes and go out when it ends: it sets none aside", async () => {
    // as many as fall into lanes of both
    const accounts = await Promise.all(Array.from({ length: 12 }, () => signUp(bases[1])));
    const toldOf = (eventType: string) => {
      const files = [oldEnv, newEnv].map(({ EVENTS_FILE: file = "" }) => file).filter((file) => existsSync(file));
      const lines = files.flatMap((file) => readFileSync(file, "utf8").split("\n"));
      return accounts.filter(({ uuid }) => lines.some((line) => line.includes(uuid) && line.includes(eventType)));
    };
    const allTold = async (eventType: string) => {
      for (let tries = 0; toldOf(eventType).length < accounts.length; tries++) {
        if (tries > 400) throw new Error(`${toldOf(eventType).length} of ${accounts.length}`);
        await sleep(50);
      }
    };
    await allTold("USER_SIGNUP");
    await older.kill("SIGTERM");
    await allTold("USER_EMAIL_VERIFICATION");
    const parked = await execute(oldEnv["DATABASE_URL"] ?? "", "SELECT reason FROM outbox WHERE status = 'parked'");
    expect(parked).toEqual([[]]);
    older = await spawnService(oldEnv, path.join(release ?? "", "src/main.ts"));
  });

  it("the previous release can be started again on the new schema", async () => {
    await older.kill("SIGTERM");
    // the first access token may have run out by now
    const refreshed = await patiently(() => refresh(bases[1], before.tokens.refresh_token));
    expect(refreshed.status).toBe(200);
    const { access_token: token } = (await refreshed.json()) as Tokens;
    expect((await introspect(bases[1], token))["active"]).toBe(true);
    older = await spawnService(oldEnv, path.join(release ?? "", "src/main.ts"));
    const account = await signUp(bases[0]);
    await activeEverywhere((await getTokens(bases, account)).access_token);
  });

  async function changePassword(base: string, account: Account): Promise<void> {
    const { access_token } = await getTokens(base, account);
    const next = `${account.password}x`;
    const answer = await postJson(
      `${base}/api/users/me/password`,
      { currentPassword: account.password, newPassword: next },
      { authorization: `Bearer ${access_token}` },
    );
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    account.password = next;
  }
});
