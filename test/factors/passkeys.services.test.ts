import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { startReplicas, type TestApp } from "../support/app.ts";
import { Authenticator, type Lies } from "../support/authenticator.ts";
import { confirmAgain, firstStep } from "../support/factors.ts";
import {
  authorizeUrl,
  claimsOf,
  hiddenFields,
  PatientCalls,
  patiently,
  pkce,
  redeem,
  signUp,
  TestBrowser,
  unescapeHtml,
} from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import {
  addPasskey,
  newPasskeyOwner,
  optionsOf,
  passkeyPage,
  renewOptions,
  signInWithPasskey,
  signUpWithPasskey,
} from "../support/passkeys.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";

let database: MariaDb;
let replicas: TestApp[] = [];
let app: TestApp;
let bases: [string, string];
beforeAll(async () => {
  database = await startMariaDb();
  replicas = await startReplicas(2, {
    DATABASE_URL: await database.createDatabase(),
    // either replica may send an event
    EVENTS_FILE: join(mkdtempSync(join(tmpdir(), "auth-test-")), "events.ndjson"),
    TRUST_PROXY: "loopback",
    LOG_LEVEL: "info",
  });
  const [first, second] = replicas as [TestApp, TestApp];
  app = first;
  bases = [first.url, second.url];
});
afterEach(() => {
  for (const { clock } of replicas) clock.shift = 0;
});
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
  await database?.stop();
});

const later = (seconds: number) => {
  for (const { clock } of replicas) clock.shift += seconds * 1_000;
};
// the issuer is the first replica's
const device = (options = {}) => new Authenticator(app.url, options);
/** What the page says is wrong. */
const problemIn = (html: string) => unescapeHtml(/<p class="problem"[^>]*>([^<]*)</.exec(html)?.[1] ?? "");
const isSignedIn = (browser: TestBrowser) => browser.cookies.has("auth_session");
const acr = (name: string) => `urn:auth-service:acr:${name}`;
const logged = (event: string) => replicas.flatMap(({ logs }) => logs).filter((line) => line.includes(`"${event}"`));

/** Presses "Remove" of the first passkey, and once more on the page that asks. @returns where that leads */
async function removePasskey(browser: TestBrowser): Promise<string | null> {
  const security = await (await browser.get(`${bases[1]}/account/security`)).text();
  const link = unescapeHtml(/href="([^"]*passkeys\/remove[^"]*)"/.exec(security)?.[1] ?? "");
  const asks = await browser.get(bases[0] + link);
  if (asks.status !== 200) return asks.headers.get("location");
  const form = hiddenFields(await asks.text());
  return (await browser.post(`${bases[0]}/account/security/passkeys/remove`, form)).headers.get("location");
}

describe("signing in with a passkey alone", () => {
  it("leads back to the application, every step on another replica, and its tokens say how", async () => {
    const authenticator = device();
    const { account } = await newPasskeyOwner(bases, authenticator);
    const browser = new TestBrowser();
    const { challenge, verifier } = pkce();
    const login = (await browser.get(authorizeUrl(bases[0], { challenge }))).headers.get("location") ?? "";
    const { options, form } = await passkeyPage(browser, new URL(login, bases[1]).href);
    const credential = authenticator.get(options);
    const answer = await browser.post(`${bases[0]}/login/passkey`, { ...form, credential });
    const code = new URL(answer.headers.get("location") ?? "", app.url).searchParams.get("code") ?? "";
    const tokens = (await (await redeem(bases[1], code, verifier)).json()) as Record<string, string>;
    expect(claimsOf(tokens["id_token"] ?? "")).toMatchObject({
      sub: account.uuid,
      acr: acr("passkey"),
      amr: ["hwk", "user", "mfa"],
    });
    const security = await (await browser.get(`${bases[1]}/account/security`)).text();
    expect(security).toContain("Phone");
    expect(security).toMatch(/last used/);
  });

  it("lets one of 50 forms use a challenge, over two replicas", async () => {
    const authenticator = device();
    await newPasskeyOwner(bases, authenticator);
    const browser = new TestBrowser();
    const { options, form } = await passkeyPage(browser, `${bases[0]}/login`);
    const credential = authenticator.get(options);
    const calls = new PatientCalls();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, at) => {
        const own = `${String(at).padStart(2, "0")}${form["form"]?.slice(2)}`;
        return calls.ask(() => browser.post(`${bases[at % 2]}/login/passkey`, { ...form, form: own, credential }));
      }),
    );
    const statuses = answers.map(({ status }) => status);
    const won = statuses.filter((status) => status === 303);
    if (won.length > 0 || calls.busy === 0) expect(won).toHaveLength(1);
    // more than wait for their turn hear to come again
    expect(statuses.filter((status) => ![303, 401, 429].includes(status))).toEqual([]);
  });

  it("ends where the first press ended when its form is sent twice, and takes it a minute later no more", async () => {
    for (const counts of [false, true]) {
      const authenticator = device({ counts });
      await newPasskeyOwner(bases, authenticator);
      const { response, browser, sent } = await signInWithPasskey(bases, authenticator);
      const again = await browser.post(`${bases[0]}/login/passkey`, sent);
      expect([response.status, again.status]).toEqual([303, 303]);
      expect(again.headers.getSetCookie()[0]).toBe(response.headers.getSetCookie()[0]);
      later(61);
      browser.cookies.delete("auth_session");
      expect((await browser.post(`${bases[0]}/login/passkey`, sent)).status).toBe(401);
      expect(isSignedIn(browser)).toBe(false);
      later(-61);
    }
  });

  it("signs nobody in with what was sent before the sign-out", async () => {
    for (const counts of [false, true]) {
      const authenticator = device({ counts });
      await newPasskeyOwner(bases, authenticator);
      const { browser, sent } = await signInWithPasskey(bases, authenticator);
      await browser.submit(`${bases[1]}/connect/logout`, {});
      expect((await browser.get(`${bases[1]}/account/security`)).status).toBe(302);
      const again = await browser.post(`${bases[0]}/login/passkey`, sent);
      expect([again.status, isSignedIn(browser)]).toEqual([401, false]);
    }
  });

  it("counts what was used before as a wrong answer, calls it no copy, and logs no second press", async () => {
    const of = (uuid: string) =>
      [...logged("passkey_refused"), ...logged("passkey_cloned")].filter((line) => line.includes(uuid));
    for (const counts of [false, true]) {
      const authenticator = device({ counts });
      const { account } = await newPasskeyOwner(bases, authenticator);
      const { browser, sent } = await signInWithPasskey(bases, authenticator);
      const presses = await Promise.all([0, 1, 0, 1].map((n) => browser.post(`${bases[n]}/login/passkey`, sent)));
      expect(presses.map(({ status }) => status)).toEqual([303, 303, 303, 303]);
      expect(of(account.uuid)).toEqual([]);
      const stranger = new TestBrowser();
      for (const [name, value] of browser.cookies) {
        if (name !== "auth_session" && name !== "auth_device") stranger.cookies.set(name, value);
      }
      const statuses: number[] = [];
      for (let n = 0; n < 12; n++) {
        const form = `${String(n).padStart(2, "0")}${sent["form"]?.slice(2)}`;
        const again = await patiently(() => stranger.post(`${bases[n % 2]}/login/passkey`, { ...sent, form }));
        statuses.push(again.status);
      }
      expect(statuses).toEqual([...Array(10).fill(401), 429, 429]);
      expect(of(account.uuid)).toHaveLength(10);
      for (const line of of(account.uuid)) expect(line).toContain('"repeated"');
      // the owner's own browser has answers of its own
      const own = new TestBrowser();
      own.cookies.set("auth_device", browser.cookies.get("auth_device") ?? "");
      expect((await signInWithPasskey(bases, authenticator, { browser: own })).response.status).toBe(303);
    }
  });

  const { passkeyFailed, passkeyLate, passkeyUnknown, passkeyUnverified } = FACTOR_MESSAGES.en;
  it.each<[string, Lies, string]>([
    ["another origin", { origin: "https://evil.example" }, passkeyFailed],
    ["another RP id", { rpId: "evil.example" }, passkeyFailed],
    ["another challenge", { challenge: "A".repeat(72) }, passkeyLate],
    ["an empty challenge", { challenge: "" }, passkeyLate],
    ["no user verification", { userVerified: false }, passkeyUnverified],
    ["no user verification and another origin", { userVerified: false, origin: "https://evil.example" }, passkeyFailed],
    ["another ceremony", { type: "webauthn.create" }, passkeyFailed],
    ["the handle of another user", { userHandle: Buffer.from("somebody").toString("base64url") }, passkeyFailed],
  ])("refuses an answer with %s, and says what a person can act on", async (_, lies, text) => {
    const authenticator = device();
    await newPasskeyOwner(bases, authenticator);
    const { response, browser } = await signInWithPasskey(bases, authenticator, { lies });
    expect(response.status).toBe(401);
    expect(problemIn(await response.text())).toBe(text);
    expect(isSignedIn(browser)).toBe(false);
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
  });

  it("refuses an answer that is late, of another browser, malformed, or of a passkey that nobody has", async () => {
    const authenticator = device();
    await newPasskeyOwner(bases, authenticator);
    const browser = new TestBrowser();
    const { options, form } = await passkeyPage(browser, `${bases[0]}/login`);
    const credential = authenticator.get(options);
    const other = new TestBrowser();
    const foreign = await passkeyPage(other, `${bases[0]}/login`);
    const statusOf = async (who: TestBrowser, fields: Record<string, string>) =>
      (await who.post(`${bases[1]}/login/passkey`, fields)).status;
    expect(await statusOf(other, { ...foreign.form, credential })).toBe(401);
    const broken = JSON.parse(credential) as { response: Record<string, string> };
    const changed = (response: object) => JSON.stringify({ ...broken, response: { ...broken.response, ...response } });
    const malformed = [
      ...["", "x", "[]", "null", "{}", JSON.stringify({ ...broken, type: "password" })],
      ...[changed({ signature: "AAAA" }), changed({ signature: 1 }), changed({ authenticatorData: "AAAA" })],
      ...[changed({ clientDataJSON: "e30" }), changed({ clientDataJSON: "****" }), "A".repeat(30_000)],
    ];
    for (const each of malformed)
      expect([each, await statusOf(browser, { ...form, credential: each })]).toEqual([each, 401]);
    later(601);
    expect(await statusOf(browser, { ...form, credential })).toBe(401);
    later(-601);
    expect(await statusOf(browser, { ...form, credential })).toBe(303);
    const unknown = device();
    unknown.create({ challenge: "", rp: { id: "localhost" }, user: { id: "AAAA" } });
    const { response } = await signInWithPasskey(bases, unknown);
    expect([response.status, problemIn(await response.text())]).toEqual([401, passkeyUnknown]);
  });

  it("renews the challenge of a page that stays open, for the same browser", async () => {
    const authenticator = device();
    await newPasskeyOwner(bases, authenticator);
    const browser = new TestBrowser();
    const page = await passkeyPage(browser, `${bases[0]}/login`);
    const { form } = page;
    later(3_000);
    const credential = authenticator.get(await renewOptions(browser, bases[1], page, form));
    const stranger = new TestBrowser();
    await stranger.get(`${bases[0]}/login`);
    expect((await stranger.post(`${bases[0]}/login/passkey`, { ...form, credential })).status).toBe(403);
    expect((await browser.post(`${bases[0]}/login/passkey`, { ...form, credential })).status).toBe(303);
  });

  it("refuses a copied passkey whose counter went back, and says so in the log", async () => {
    const authenticator = device({ counts: true });
    const { account } = await newPasskeyOwner(bases, authenticator);
    const thief = authenticator.copy();
    for (let use = 0; use < 3; use++) {
      expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
    }
    expect((await signInWithPasskey(bases, thief)).response.status).toBe(401);
    expect(logged("passkey_cloned").some((line) => line.includes(account.uuid))).toBe(true);
  });

  it("refuses a disabled account, one that is gone, and one whose passkey was removed", async () => {
    const authenticator = device();
    const { account } = await newPasskeyOwner(bases, authenticator);
    const { store } = app.context;
    await store.users.setDisabled(account.uuid, true, app.clock.now());
    // not even to its owner is said that there is such an account
    for (const lies of [{}, { userVerified: false }]) {
      const { response } = await signInWithPasskey(bases, authenticator, { lies });
      expect([response.status, problemIn(await response.text())]).toEqual([401, passkeyFailed]);
    }
    await store.users.setDisabled(account.uuid, false, app.clock.now());
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
    const { browser } = await signInWithPasskey(bases, authenticator);
    expect(await removePasskey(browser)).toBe("/account/security?done=passkeyRemoved");
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(401);
    const { account: gone } = await newPasskeyOwner(bases, authenticator);
    const user = await store.users.find(gone.uuid);
    if (user === null) throw new Error("no such user");
    const { userDeleted } = await import("../../src/events.ts");
    await store.users.delete(
      gone.uuid,
      userDeleted(user, { ipAddress: "", userAgent: "", language: "" }, app.clock.now()),
    );
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(401);
  });

  it("checks at most ten wrong answers of who knows the passkey's id, and lets the owner's own device in meanwhile", async () => {
    const authenticator = device();
    const owner = await newPasskeyOwner(bases, authenticator);
    const known = (await signInWithPasskey(bases, authenticator)).browser;
    known.cookies.delete("auth_session");
    const thief = authenticator.copy();
    const statuses: number[] = [];
    for (let wrong = 0; wrong < 24; wrong++) {
      const browser = new TestBrowser({ "x-forwarded-for": `198.19.0.${wrong}` });
      const forged = await signInWithPasskey(bases, thief, { browser, lies: { userVerified: false } });
      statuses.push(forged.response.status);
    }
    expect(statuses.filter((status) => status === 401)).toHaveLength(10);
    expect(statuses.at(-1)).toBe(429);
    expect((await signInWithPasskey(bases, authenticator, { browser: known })).response.status).toBe(303);
    // the password still asks for its second step
    expect((await firstStep(bases[1], owner.account)).status).toBe(200);
  });

  it("offers an account that was closed to be kept", async () => {
    const authenticator = device();
    const { browser, response } = await signUpWithPasskey(bases, authenticator);
    expect(response.status).toBe(303);
    const data = await (await browser.get(`${bases[1]}/account/data`)).text();
    const form = hiddenFields(/account\/delete">([\s\S]*?)<\/form>/.exec(data)?.[1] ?? "");
    expect(data).not.toContain('name="current_password"');
    expect((await browser.post(`${bases[0]}/account/delete`, form)).status).toBe(303);
    const again = await signInWithPasskey(bases, authenticator);
    expect(again.response.status).toBe(403);
    const restore = hiddenFields(await again.response.text());
    expect((await again.browser.post(`${bases[1]}/account/restore`, restore)).status).toBe(200);
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
  });
});

describe("a passkey as the second step", () => {
  it("follows the password, and the browser may be remembered", async () => {
    const authenticator = device();
    const { account } = await newPasskeyOwner(bases, authenticator);
    const browser = new TestBrowser();
    const asked = await browser.submit(`${bases[0]}/login`, { email: account.email, password: account.password });
    const html = await asked.text();
    expect(html).not.toContain('id="code"');
    const credential = authenticator.get(optionsOf(html));
    const form = { ...hiddenFields(html), credential, remember: "on" };
    expect((await browser.post(`${bases[1]}/login/second-factor`, form)).status).toBe(303);
    browser.cookies.delete("auth_session");
    expect((await firstStep(bases[1], account, browser)).status).toBe(303);
  });

  it("is the account's own: another user's passkey is refused there", async () => {
    const [own, foreign] = [device(), device()];
    const { account } = await newPasskeyOwner(bases, own);
    await newPasskeyOwner(bases, foreign);
    const browser = new TestBrowser();
    const asked = await browser.submit(`${bases[0]}/login`, { email: account.email, password: account.password });
    const html = await asked.text();
    const { allowCredentials: _, ...any } = optionsOf<{ challenge: string; rpId: string; allowCredentials: unknown }>(
      html,
    );
    const credential = foreign.get(any);
    const refused = await browser.post(`${bases[1]}/login/second-factor`, { ...hiddenFields(html), credential });
    expect(refused.status).toBe(401);
    expect(await refused.text()).toContain("The passkey did not work");
    // nor is the answer to this challenge one to the login page's
    const login = await passkeyPage(browser, `${bases[0]}/login`);
    const other = { ...login.form, credential: own.get(optionsOf(html)) };
    expect((await browser.post(`${bases[1]}/login/passkey`, other)).status).toBe(401);
  });
});

describe("signing up with a passkey", () => {
  it("makes an account without a password that is signed in, tells of it, and has its address verified", async () => {
    const authenticator = device();
    const { email, browser, response } = await signUpWithPasskey(bases, authenticator);
    expect(response.status).toBe(303);
    expect(isSignedIn(browser)).toBe(true);
    const mine = () => eventsOf(app).filter(({ event }) => event.payload["email"] === email);
    await until(() => mine().length >= 2 || undefined);
    expect(
      mine()
        .map(({ topic }) => topic)
        .sort(),
    ).toEqual(["user-email-verification", "user-signup"]);
    const security = await (await browser.get(`${bases[1]}/account/security`)).text();
    expect(security).toContain("Safari on macOS");
    // no password opens it, and the answer is that of any wrong one
    const wrong = await new TestBrowser().submit(`${bases[0]}/login`, { email, password: "correct horse battery" });
    expect(wrong.status).toBe(401);
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
  });

  it("makes one account of a form that is sent twice, at two replicas at once", async () => {
    const authenticator = device();
    const browser = new TestBrowser();
    const { options, form } = await passkeyPage(browser, `${bases[0]}/signup`);
    const email = `twice-${Date.now()}@example.test`;
    const sent = { ...form, email, nickname: "n", credential: authenticator.create(options) };
    const answers = await Promise.all(bases.map((base) => browser.post(`${base}/signup/passkey`, sent)));
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    later(61);
    expect((await browser.post(`${bases[0]}/signup/passkey`, sent)).status).toBe(409);
  });

  it("takes no address that has an account, no wrong field, and no account but the one the page offered", async () => {
    const taken = await signUp(bases[0]);
    const browser = new TestBrowser();
    const { options, form } = await passkeyPage(browser, `${bases[0]}/signup`);
    const credential = device().create(options);
    const statusOf = async (fields: Record<string, string>) =>
      (await browser.post(`${bases[1]}/signup/passkey`, { ...form, credential, nickname: "n", ...fields })).status;
    expect(await statusOf({ email: taken.email })).toBe(409);
    expect(await statusOf({ email: "no address" })).toBe(400);
    expect(await statusOf({ email: "a@b.example", nickname: "" })).toBe(400);
    expect(await statusOf({ email: "a@b.example", account: "x" })).toBe(403);
    const { form: foreign } = await passkeyPage(browser, `${bases[0]}/signup`);
    expect(await statusOf({ email: "a@b.example", account: foreign["account"] ?? "" })).toBe(400);
    // the same is said when the script asks, before a device makes a passkey
    const asked = async (fields: Record<string, string>) =>
      (await browser.post(`${bases[1]}/signup/passkey/challenge`, { ...form, nickname: "n", ...fields })).status;
    expect(await asked({ email: taken.email })).toBe(409);
    expect(await asked({ email: "no address" })).toBe(400);
    expect(await asked({ email: "a@b.example", account: "x" })).toBe(403);
    expect(await asked({ email: "a@b.example" })).toBe(200);
  });

  it("ends with the first reset mail where somebody else has the address", async () => {
    const authenticator = device();
    const { email } = await signUpWithPasskey(bases, authenticator);
    const token = await resetTokenFor(app, email);
    const password = "another horse battery";
    await new TestBrowser().submit(`${bases[0]}/password-reset?token=${token}`, { password });
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(401);
    expect((await firstStep(bases[1], { email, password, nickname: "" })).status).toBe(303);
  });

  it("keeps the only passkey until there is a password, which a mailed link sets", async () => {
    const authenticator = device();
    const { email, browser } = await signUpWithPasskey(bases, authenticator);
    expect(await removePasskey(browser)).toBe("/account/security?refused=passkeyKept");
    expect(await (await browser.get(`${bases[0]}/account/security?refused=passkeyKept`)).text()).toContain(
      "your only way to sign in",
    );
    expect(await (await browser.get(`${bases[0]}/account/password`)).text()).toContain("has no password");
    const token = await resetTokenFor(app, email);
    const password = "another horse battery";
    // in the browser that is signed in: by who has the passkey
    await browser.submit(`${bases[0]}/password-reset?token=${token}`, { password });
    const signedIn = await signInWithPasskey(bases, authenticator, { browser });
    expect(signedIn.response.status).toBe(303);
    expect(await removePasskey(browser)).toBe("/account/security?done=passkeyRemoved");
    expect((await firstStep(bases[0], { email, password, nickname: "" })).status).toBe(303);
  });
});

describe("adding passkeys", () => {
  it("needs a fresh sign-in, for which a passkey is enough", async () => {
    const authenticator = device();
    const { account, browser } = await newPasskeyOwner(bases, authenticator);
    later(601);
    const location = async () => (await browser.get(`${bases[0]}/account/security/passkeys`)).headers.get("location");
    expect(await location()).toBe("/account/security/confirm");
    // the password alone is no longer enough
    expect((await confirmAgain(bases[0], browser, { password: account.password, code: "" })).status).toBe(400);
    const { options, form } = await passkeyPage(browser, `${bases[1]}/account/security/confirm`);
    const confirmed = { ...form, credential: authenticator.get(options) };
    expect((await browser.post(`${bases[0]}/account/security/confirm`, confirmed)).status).toBe(303);
    expect(await location()).toBeNull();
    const second = await addPasskey(bases, browser, device(), { name: "Key ring" });
    expect(second.status).toBe(303);
    const security = await (await browser.get(`${bases[1]}/account/security`)).text();
    expect(security).toContain("Phone");
    expect(security).toContain("Key ring");
  });

  it.each<[string, Lies, string?]>([
    ["another origin", { origin: "https://evil.example" }],
    ["another RP id", { rpId: "evil.example" }],
    ["another challenge", { challenge: "A".repeat(72) }, FACTOR_MESSAGES.en.passkeyLate],
    ["no user verification", { userVerified: false }, FACTOR_MESSAGES.en.passkeyUnverified],
    ["another ceremony", { type: "webauthn.get" }],
  ])("refuses an answer with %s", async (_, lies, text = FACTOR_MESSAGES.en.passkeyFailed) => {
    const account = await signUp(bases[0]);
    const browser = new TestBrowser();
    await browser.submit(`${bases[0]}/login`, { email: account.email, password: account.password });
    const refused = await addPasskey(bases, browser, device(), { lies });
    expect([refused.status, problemIn(await refused.text())]).toEqual([400, text]);
    expect((await app.context.store.factors.find(account.uuid)).passkeys).toEqual([]);
  });

  it("adds one once, none that another user has, no empty or turned name, and twenty at most", async () => {
    const authenticator = device();
    const { account } = await newPasskeyOwner(bases, authenticator);
    const { browser } = await signInWithPasskey(bases, authenticator);
    const page = await passkeyPage(browser, `${bases[0]}/account/security/passkeys`);
    const sent = { ...page.form, name: "One", credential: device().create(page.options) };
    const answers = await Promise.all(bases.map((base) => browser.post(`${base}/account/security/passkeys`, sent)));
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    const count = async () => (await app.context.store.factors.find(account.uuid)).passkeys.length;
    expect(await count()).toBe(2);
    for (const name of ["", " ", "a\u202eb", "x".repeat(51)]) {
      expect((await addPasskey(bases, browser, device(), { name })).status).toBe(400);
    }
    expect((await addPasskey(bases, browser, device(), { name: "😀".repeat(50) })).status).toBe(303);
    while ((await count()) < 20) await addPasskey(bases, browser, device());
    const full = await addPasskey(bases, browser, device());
    expect(await full.text()).toContain("Remove one first");
    expect(await count()).toBe(20);
  });
});

describe("an application that wants a passkey", () => {
  it("gets it of who is signed in by password and has one", async () => {
    // a browser that signed in before the passkey was there
    const other = new TestBrowser();
    const late = await signUp(bases[0]);
    await other.submit(`${bases[0]}/login`, { email: late.email, password: late.password });
    const owner = new TestBrowser();
    await owner.submit(`${bases[1]}/login`, { email: late.email, password: late.password });
    const own = device();
    expect((await addPasskey(bases, owner, own)).status).toBe(303);
    const { challenge, verifier } = pkce();
    const url = authorizeUrl(bases[0], { challenge, extra: { acr_values: acr("passkey") } });
    const stepUp = new URL((await other.get(url)).headers.get("location") ?? "", bases[1]).href;
    const { options, form, html } = await passkeyPage(other, stepUp);
    expect(html).not.toContain('id="code"');
    const answer = await other.post(`${bases[0]}/login/second-factor`, { ...form, credential: own.get(options) });
    const code = new URL(answer.headers.get("location") ?? "", app.url).searchParams.get("code") ?? "";
    const tokens = (await (await redeem(bases[1], code, verifier)).json()) as Record<string, string>;
    expect(claimsOf(tokens["access_token"] ?? "")).toMatchObject({
      acr: acr("passkey"),
      amr: ["pwd", "hwk", "user", "mfa"],
    });
  });

  it("gets it of who is signed in by password, who adds one on the way where there is none", async () => {
    const authenticator = device();
    const account = await signUp(bases[0]);
    const browser = new TestBrowser();
    await browser.submit(`${bases[0]}/login`, { email: account.email, password: account.password });
    const { challenge, verifier } = pkce();
    const url = authorizeUrl(bases[0], { challenge, extra: { acr_values: acr("passkey") } });
    const stepUp = new URL((await browser.get(url)).headers.get("location") ?? "", bases[1]).href;
    const none = await (await browser.get(stepUp)).text();
    expect(none).toContain("You have no passkey yet");
    expect(none).toContain("/account/security/passkeys");
    expect((await addPasskey(bases, browser, authenticator)).status).toBe(303);
    // making it showed as much as using it
    const answer = await browser.get(stepUp);
    const code = new URL(answer.headers.get("location") ?? "", app.url).searchParams.get("code") ?? "";
    const tokens = (await (await redeem(bases[1], code, verifier)).json()) as Record<string, string>;
    expect(claimsOf(tokens["access_token"] ?? "")).toMatchObject({
      acr: acr("passkey"),
      amr: ["pwd", "hwk", "user", "mfa"],
    });
  });
});
