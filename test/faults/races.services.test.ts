import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { inOneMoment } from "../support/clocks.ts";
import { type Deployment, onMariaDbAndKafka, type SeenEvent, waitForEvent } from "../support/deployment.ts";
import {
  claimsOf,
  getCode,
  getTokens,
  introspect,
  PatientCalls,
  patiently,
  postJson,
  redeem,
  refresh,
  signUp,
  type Tokens,
  uniqueEmail,
} from "../support/flow.ts";
import { execute } from "../support/mariadb.ts";

const rotating = { clientId: "rotating", redirectUri: "http://localhost:4100/callback", scope: "openid profile" };
const clients = [
  { client_id: "rotating", redirect_uris: [rotating.redirectUri], first_party: true, scope: "openid profile" },
];

/** Both replicas at once, the same request again and again. */
const parallel = 50;
const rounds = 4;
const stormRounds = 200;

describe("F-33 fifty at once over two replicas", () => {
  let d: Deployment;
  beforeAll(async () => {
    d = await onMariaDbAndKafka(2, {}, clients);
  });
  afterAll(() => d.close());

  const storm = <T>(call: (base: string) => Promise<T>, count = parallel): Promise<T[]> =>
    Promise.all(Array.from({ length: count }, (_, n) => call(d.bases[n % d.bases.length] ?? "")));
  const familiesOf = async (uuid: string) => {
    const sql = `SELECT id, refresh_jti, revoked_at FROM oauth2_authorization WHERE subject = '${uuid}'`;
    const [rows] = await execute(d.apps[0]?.secrets.databaseUrl ?? "", sql);
    return (rows as { id: string; refresh_jti: string; revoked_at: number | null }[]).map((row) => ({ ...row }));
  };
  const count = <T>(values: T[], value: T) => values.filter((each) => each === value).length;

  it("S-164 lets one of fifty identical sign-ups win and publishes one event", async () => {
    for (let round = 0; round < rounds; round++) {
      const calls = new PatientCalls();
      const email = uniqueEmail();
      const body = { email, password: "correct horse battery", nickname: "n" };
      const spellings = [email, email.toUpperCase(), ` ${email}`];
      let n = 0;
      const statuses = await storm(async (base) => {
        const mine = { ...body, email: spellings[n++ % 3] };
        const response = await calls.ask(() => postJson(`${base}/api/users/signup`, mine));
        await response.arrayBuffer();
        return response.status;
      });
      const made = count(statuses, 201);
      if (made > 0 || calls.busy === 0) expect(made).toBe(1);
      expect(count(statuses, 409)).toBe(parallel - made);
      const mine = ({ topic, event }: SeenEvent) => topic === "user-signup" && event.payload["email"] === email;
      await waitForEvent(d, mine);
      expect((await d.events()).filter(mine)).toHaveLength(1);
    }
  });

  it(`S-063 lets one of fifty redemptions of a code win, ${stormRounds} times over, and its tokens stay good on both replicas`, async () => {
    const account = await signUp(d.url);
    const { browser } = await getCode(d.bases, account);
    let heard = 0;
    for (let round = 1; round <= stormRounds; round++) {
      const calls = new PatientCalls();
      const { code, verifier } = await getCode(d.bases, account, { browser });
      const answers = await inOneMoment(d.apps, () =>
        storm(async (base) => {
          const response = await calls.ask(() => redeem(base, code, verifier));
          return { status: response.status, body: (await response.json()) as Tokens & { error: string } };
        }),
      );
      const won = answers.filter(({ status }) => status === 200);
      if (won.length > 0 || calls.busy === 0) expect(won).toHaveLength(1);
      const lost = answers.filter(({ status, body }) => status === 400 && body.error === "invalid_grant");
      expect(lost).toHaveLength(parallel - won.length);
      for (const { body } of won) {
        heard++;
        for (const base of d.bases) {
          expect(await introspect(base, body.access_token)).toMatchObject({ active: true });
          expect((await patiently(() => refresh(base, body.refresh_token))).status).toBe(200);
        }
      }
      expect(await familiesOf(account.uuid)).toHaveLength(round);
    }
    expect(heard).toBeGreaterThan(stormRounds / 2);
  }, 600_000);

  it(`S-077 gives a hundred refreshes of one token the same successor, ${stormRounds} times over`, async () => {
    const account = await signUp(d.url);
    const { browser } = await getTokens(d.bases, account, rotating);
    for (let round = 2; round <= stormRounds + 1; round++) {
      const tokens = await getTokens(d.bases, account, { ...rotating, browser });
      const answers = await inOneMoment(d.apps, () =>
        storm(async (base) => {
          const response = await patiently(() => refresh(base, tokens.refresh_token, { client_id: "rotating" }));
          return { status: response.status, body: (await response.json()) as Tokens };
        }, 2 * parallel),
      );
      expect(answers.map(({ status }) => status)).toEqual(Array(2 * parallel).fill(200));
      expect(new Set(answers.map(({ body }) => body.refresh_token)).size).toBe(1);
      const successor = answers[0]?.body.refresh_token ?? "";
      expect(successor).not.toBe(tokens.refresh_token);
      const { gen, jti, sid } = claimsOf(successor);
      expect(gen).toBe(1);
      const families = await familiesOf(account.uuid);
      expect(families).toHaveLength(round);
      // the one refresh token of the family that is alive
      expect(families.find(({ id }) => id === sid)).toEqual({ id: sid, refresh_jti: jti, revoked_at: null });
      const next = await patiently(() => refresh(d.bases[1] ?? "", successor, { client_id: "rotating" }));
      expect(next.status).toBe(200);
    }
  }, 600_000);

  it("S-169 lets one of fifty uses of a reset token win", async () => {
    const account = await signUp(d.url);
    await postJson(`${d.url}/api/users/password-reset`, { email: account.email });
    const { event } = await waitForEvent(d, ({ topic, key }) => topic === "password-reset" && key === account.uuid);
    const calls = new PatientCalls();
    const token = event.payload["resetToken"];
    const statuses = await storm(async (base) => {
      const body = { token, newPassword: "another good password" };
      return (await calls.ask(() => postJson(`${base}/api/users/password-reset/confirm`, body))).status;
    });
    const used = count(statuses, 204);
    if (used > 0 || calls.busy === 0) expect(used).toBe(1);
    expect(count(statuses, 400)).toBe(parallel - used);
  });

  it("S-045 evaluates ten of forty wrong passwords over both replicas, and one more at most at each", async () => {
    const account = await signUp(d.url);
    const tries = Array.from({ length: 40 }, (_, n) => d.bases[n % 2] ?? "");
    const outcomes = await Promise.all(
      tries.map(async (base) => {
        const { TestBrowser, authorizeUrl } = await import("../support/flow.ts");
        const browser = new TestBrowser({ "x-forwarded-for": `192.0.2.${Math.floor(Math.random() * 250)}` });
        await patiently(() => browser.get(authorizeUrl(base)));
        const wrong = { email: account.email, password: "wrong password" };
        return (await patiently(() => browser.submit(`${base}/login`, wrong))).status;
      }),
    );
    expect(count(outcomes, 401)).toBeGreaterThanOrEqual(10);
    expect(count(outcomes, 401)).toBeLessThanOrEqual(10 + d.bases.length);
    expect(count(outcomes, 401) + count(outcomes, 429)).toBe(40);
  });
});
