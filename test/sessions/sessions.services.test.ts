import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { deleteUser } from "../../src/users/deletion.ts";
import { setUserDisabled } from "../../src/users/users.ts";
import { startApp, startReplicas, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  introspect,
  patiently,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { eventsOf, type ToldEvent, until } from "../support/resets.ts";

describe("sessions on two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    database = await startMariaDb();
    apps = await startReplicas(2, { DATABASE_URL: await database.createDatabase() });
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.stop();
  });

  const bases = () => apps.map(({ url }) => url);
  const base = (n: number) => apps[n % 2]?.url ?? "";
  const contextOf = (n: number) => (apps[n % 2] as TestApp).context;
  const isSignedIn = async (browser: TestBrowser, url: string) => {
    const response = await patiently(() => browser.get(authorizeUrl(url, { extra: { prompt: "none" } })));
    return (response.headers.get("location") ?? "").includes("code=");
  };
  /** A browser with its tokens, and a code that nobody redeemed yet. */
  async function everything(account: Account) {
    const tokens = await getTokens(bases(), account);
    const pending = await getCode(bases(), account, { browser: tokens.browser });
    return { tokens, pending, browser: tokens.browser };
  }

  /** All of it is dead on both replicas a second after it was ended. */
  async function expectEnded({ tokens, pending, browser }: Awaited<ReturnType<typeof everything>>, endedAt: number) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, endedAt + 1_000 - performance.now())));
    for (const url of bases()) {
      expect(await introspect(url, tokens.access_token)).toEqual({ active: false });
      expect((await patiently(() => refresh(url, tokens.refresh_token))).status).toBe(401);
      const redeemed = await patiently(() => redeem(url, pending.code, pending.verifier));
      expect([redeemed.status, ((await redeemed.json()) as { error: string }).error]).toEqual([400, "invalid_grant"]);
      expect(await isSignedIn(browser, url)).toBe(false);
    }
  }

  it("S-039 a cookie is refused after a logout, on either replica and after both were restarted", async () => {
    const account = await signUp(base(0));
    const { browser } = await getTokens(bases(), account);
    const old = new TestBrowser();
    for (const [name, value] of browser.cookies) old.cookies.set(name, value);
    await browser.submit(`${base(0)}/connect/logout`, {});
    for (const url of bases()) expect(await isSignedIn(old, url)).toBe(false);
    const envs = apps.map(({ env }) => env);
    for (const app of apps) await app.close();
    apps = [];
    for (const env of envs) apps.push(await startApp(env));
    for (const url of bases()) {
      expect(await isSignedIn(old, url)).toBe(false);
      expect(await (await old.get(`${url}/`)).text()).not.toContain(account.email);
    }
    // not because everything was forgotten
    const { browser: other } = await getTokens(bases(), account);
    for (const url of bases()) expect(await isSignedIn(other, url)).toBe(true);
  });

  it.each([
    ["disabled", (uuid: string) => setUserDisabled(contextOf(0), uuid, true)],
    ["deleted", (uuid: string) => deleteUser(contextOf(0), uuid)],
  ])("S-040 session, code, refresh token and access token end with an account that is %s", async (_, end) => {
    const account = await signUp(base(0));
    const all = await everything(account);
    expect(await introspect(base(1), all.tokens.access_token)).toMatchObject({ active: true });
    await end(account.uuid);
    await expectEnded(all, performance.now());
    const again = new TestBrowser();
    const { email, password } = account;
    expect((await again.submit(`${base(1)}/login`, { email, password })).status).toBe(401);
  });

  it("S-041 every other session and token ends with the password it came of, a second later on both replicas", async () => {
    const account = await signUp(base(0));
    const [one, two] = [await everything(account), await everything(account)];
    const changed = await postJson(
      `${base(0)}/api/users/me/password`,
      { currentPassword: account.password, newPassword: "a second good password" },
      { authorization: `Bearer ${one.tokens.access_token}` },
    );
    expect(changed.status).toBe(204);
    const changedAt = performance.now();
    await expectEnded(one, changedAt);
    await expectEnded(two, changedAt);

    const renewed = { ...account, password: "a second good password" };
    const three = await everything(renewed);
    const reset = new TestBrowser();
    await reset.submit(`${base(1)}/password-reset`, { email: account.email });
    const token = resetTokenOf(apps, account.uuid);
    const body = { token: await token, newPassword: "a third good password" };
    expect((await postJson(`${base(1)}/api/users/password-reset/confirm`, body)).status).toBe(204);
    await expectEnded(three, performance.now());
    expect((await everything({ ...account, password: "a third good password" })).tokens.access_token).toBeTruthy();
  });

  it("S-042 a session that its user ended at one replica is dead at the other at once", async () => {
    const account = await signUp(base(0));
    const [here, there] = [await getTokens(bases(), account), await getTokens(bases(), account)];
    const html = await (await here.browser.get(`${base(0)}/`)).text();
    const fields = hiddenFields(html.split('action="/account/sessions/end"')[1]?.split("</form>")[0] ?? "");
    const ended = await here.browser.post(`${base(0)}/account/sessions/end`, fields);
    expect(ended.status).toBe(303);
    for (const url of bases()) {
      expect([await isSignedIn(there.browser, url), await isSignedIn(here.browser, url)]).toEqual([false, true]);
      expect((await patiently(() => refresh(url, (there as Tokens).refresh_token))).status).toBe(401);
    }
  });

  it("S-045 S-046 F-47 evaluates ten, and one more at most at each replica, of two hundred logins at once, wherever they say they come from, not the right one among them, and remembers it over a restart", async () => {
    const account = await signUp(base(0));
    const verify = apps.map(({ context }) => jest.spyOn(context.passwords, "verify"));
    const forms = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const browser = new TestBrowser(claimedAddress(n));
        return { browser, fields: hiddenFields(await (await browser.get(`${base(n)}/login`)).text()) };
      }),
    );
    /** How often a replica was too busy to answer: it may have looked at the password before that. */
    let busy = 0;
    let told = () => {};
    const firstRefusal = new Promise<void>((resolve) => {
      told = resolve;
    });
    const attempts = forms.map(async ({ browser, fields }, n) => {
      // the right one goes in the middle of it, when the ten are surely used up
      const right = n === 150;
      if (right) await firstRefusal;
      const form = { ...fields, email: account.email, password: right ? account.password : `wrong ${n}` };
      const { status } = await patiently(async () => {
        const answer = await browser.post(`${base(n)}/login`, form);
        if (answer.status === 503) busy++;
        return answer;
      });
      if (status === 429) told();
      return status;
    });
    const statuses = await Promise.all(attempts);
    expect(statuses[150]).toBe(429);
    const wrong = statuses.filter((status) => status === 401).length;
    // one more at each replica may be in flight when the ten are used up
    expect(wrong).toBeGreaterThanOrEqual(10);
    expect(wrong).toBeLessThanOrEqual(10 + apps.length);
    expect(statuses.filter((status) => status === 429)).toHaveLength(200 - wrong);
    const evaluated = verify.map((each) => each.mock.calls.length).reduce((sum, calls) => sum + calls, 0);
    expect(evaluated).toBeGreaterThanOrEqual(wrong);
    expect(evaluated).toBeLessThanOrEqual(wrong + Math.min(busy, apps.length));
    // in the database: a replica that never saw one of them refuses too
    const third = await startApp({ ...apps[0]?.env, ...(await freshPorts()) });
    try {
      const { email, password } = account;
      expect((await new TestBrowser().submit(`${third.url}/login`, { email, password })).status).toBe(429);
    } finally {
      await third.close();
    }
  });

  it("S-047 counts an address in one bucket and finds no other account by one that only looks alike", async () => {
    const name = `strasse.${Date.now()}`;
    const account = await signUp(base(0), { email: `${name}@x.example` });
    const login = async (n: number, email: string, password: string) =>
      (await new TestBrowser().submit(`${base(n)}/login`, { email, password })).status;
    for (const alike of [name.replace("ss", "ß"), name.replace("a", "á"), name.replace("a", "а"), `${name}\u200b`]) {
      expect([alike, await login(0, `${alike}@x.example`, account.password)]).toEqual([alike, 401]);
    }
    const wide = account.email.replace(/[a-z]/g, (c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0));
    const spellings = [account.email, account.email.toUpperCase(), ` ${account.email} `, wide, wide.normalize("NFD")];
    for (const [n, spelling] of spellings.entries()) expect(await login(n, spelling, account.password)).toBe(303);
    const statuses: number[] = [];
    for (let n = 0; n < 13; n++) statuses.push(await login(n, spellings[n % spellings.length] ?? "", "wrong"));
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(3).fill(429)]);
  });
});

/** Headers by which the `n`th of a flood would like to be somebody else. */
function claimedAddress(n: number): Record<string, string> {
  const claims = [
    `192.0.2.${n}`,
    `::ffff:192.0.2.${n}`,
    `::ffff:c000:2${n.toString(16).padStart(2, "0")}`,
    `2001:db8::${n}`,
    `198.51.100.1, 192.0.2.${n}`,
  ];
  const address = claims[n % claims.length] ?? "";
  return { "x-forwarded-for": address, forwarded: `for="[${address}]"`, "x-real-ip": address };
}

async function freshPorts(): Promise<Record<string, string>> {
  const { freePorts } = await import("../support/app.ts");
  const [http, grpc, internal] = await freePorts(3);
  const ports = { HTTP_PORT: String(http), GRPC_PORT: String(grpc), INTERNAL_HTTP_PORT: String(internal) };
  return { ...ports, ISSUER: `http://localhost:${http}` };
}

/** The newest reset token, from whichever replica delivered the event. */
async function resetTokenOf(apps: readonly TestApp[], uuid: string): Promise<string> {
  const isMine = ({ topic, key }: ToldEvent) => topic === "password-reset" && key === uuid;
  const { event } = await until(() => apps.flatMap(eventsOf).findLast(isMine));
  return event.payload["resetToken"] ?? "";
}
