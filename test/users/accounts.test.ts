import { request } from "node:http";
import { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hash as argon2 } from "argon2";
import { readConfig } from "../../src/config/config.ts";
import { knownDevice } from "../../src/sessions/known-devices.ts";
import { isCommonPassword } from "../../src/users/common-passwords.ts";
import { changePassword, setPassword, setUserDisabled, updateUser } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
import {
  type Account,
  claimsOf,
  getCode,
  getTokens,
  introspectSettled,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { eventsOf, resetEvents, resetTokenFor, until } from "../support/resets.ts";
import { rowsOf } from "../support/sqlite.ts";

const clients = [
  {
    client_id: "orders-web",
    redirect_uris: ["https://orders.example/cb"],
    scope: "openid profile",
    first_party: true,
    resources: ["https://orders.example"],
  },
  { client_id: "partner", redirect_uris: ["https://partner.example/cb"], scope: "openid profile", first_party: false },
];

describe("passwords, sign-up and reset", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, clients);
  });
  afterEach(() => {
    app.clock.shift = 0;
    jest.restoreAllMocks();
  });
  afterAll(() => app.close());

  const signingUp = (base: string, password: string, email = uniqueEmail()) =>
    postJson(`${base}/api/users/signup`, { email, password, nickname: "nick" });
  const login = async (email: string, password: string, browser = new TestBrowser()) =>
    (await browser.submit(`${app.url}/login`, { email, password })).status;

  const confirm = (base: TestApp, token: string, newPassword: string) =>
    postJson(`${base.url}/api/users/password-reset/confirm`, { token, newPassword });
  const change = (base: TestApp, token: string, currentPassword: string, newPassword: string) =>
    postJson(
      `${base.url}/api/users/me/password`,
      { currentPassword, newPassword },
      { authorization: `Bearer ${token}` },
    );

  it("S-155 counts code points and holds the least length, which is 8 and may be raised but not lowered", async () => {
    expect((await signingUp(app.url, "1234567")).status).toBe(400);
    expect((await signingUp(app.url, "🐎🔋🖇️🍏🌍🧩")).status).toBe(400);
    expect((await signingUp(app.url, "🐎🔋🧷🍏🌍🧩🪁🎈")).status).toBe(201);
    const strict = await startApp({ PASSWORD_MIN_LENGTH: "15" });
    try {
      expect((await signingUp(strict.url, "x".repeat(14))).status).toBe(400);
      expect((await signingUp(strict.url, "x".repeat(15))).status).toBe(201);
    } finally {
      await strict.close();
    }
    expect(() => readConfig({ ...app.env, PASSWORD_MIN_LENGTH: "7" })).toThrow(/PASSWORD_MIN_LENGTH/);
  });

  it("S-156 takes 64 and 128 characters whole, and refuses more before anything is hashed", async () => {
    for (const length of [64, 128]) {
      const account = await signUp(app.url, { password: `${"p".repeat(length - 1)}q` });
      expect(await login(account.email, "p".repeat(length - 1))).toBe(401);
      expect(await login(account.email, `${account.password}q`)).toBe(401);
      expect(await login(account.email, account.password)).toBe(303);
    }
    const account = await signUp(app.url);
    const { access_token: bearer } = await getTokens(app.url, account);
    const token = await resetTokenFor(app, account.email);
    const hashing = jest.spyOn(app.context.passwords, "hash");
    const verifying = jest.spyOn(app.context.passwords, "verify");
    const everywhere = (password: string) => [
      signingUp(app.url, password),
      confirm(app, token, password),
      change(app, bearer, account.password, password),
    ];
    for (const [length, status] of [
      [129, 400],
      [1_024, 400],
      [60_000, 400],
      [100_000, 413],
    ] as const) {
      const answers = await Promise.all(everywhere("p".repeat(length)));
      expect([length, ...answers.map((answer) => answer.status)]).toEqual([length, status, status, status]);
    }
    expect(await login(account.email, "p".repeat(1_024))).toBe(401);
    expect(await login(account.email, "p".repeat(100_000))).toBe(413);
    expect(hashing).not.toHaveBeenCalled();
    expect(verifying).not.toHaveBeenCalled();
    expect((await confirm(app, token, "p".repeat(128))).status).toBe(204);
    expect(await login(account.email, "p".repeat(128))).toBe(303);
  });

  it("S-157 distinguishes passwords that differ after 72 bytes, and refuses those with a NUL", async () => {
    const long = await signUp(app.url, { password: `${"a".repeat(72)}b` });
    expect(await login(long.email, `${"a".repeat(72)}c`)).toBe(401);
    expect(await login(long.email, long.password)).toBe(303);
    const email = `${"e".repeat(60)}${uniqueEmail()}`;
    const together = await signUp(app.url, { email, password: "the right password" });
    expect(await login(together.email, "the wrong password")).toBe(401);
    expect((await signingUp(app.url, "aaaaaaaa\0b")).status).toBe(400);
  });

  it("S-158 takes a password as it is typed: spaces, every printable character, any script, in either Unicode form", async () => {
    const printable = Array.from({ length: 95 }, (_, n) => String.fromCharCode(32 + n)).join("");
    for (const password of ["  spaces at both ends  ", printable, "비밀번호는 길어야 한다", "пароль из слов"]) {
      const account = await signUp(app.url, { password });
      expect([password, await login(account.email, password)]).toEqual([password, 303]);
      expect(await login(account.email, password.trim() === password ? `${password} ` : password.trim())).toBe(401);
    }
    const composed = await signUp(app.url, { password: "Caf\u00e9 \u00e0 la cr\u00e8me" });
    expect(await login(composed.email, composed.password.normalize("NFD"))).toBe(303);
    const decomposed = await signUp(app.url, { password: composed.password.normalize("NFD") });
    expect(await login(decomposed.email, composed.password)).toBe(303);

    // the same where it is changed and reset
    const { access_token: bearer } = await getTokens(app.url, decomposed);
    const next = `  ${composed.password} deux  `;
    expect((await change(app, bearer, composed.password, next.normalize("NFD"))).status).toBe(204);
    expect(await login(decomposed.email, next.trim())).toBe(401);
    expect(await login(decomposed.email, next)).toBe(303);
    const token = await resetTokenFor(app, composed.email);
    expect((await confirm(app, token, next)).status).toBe(204);
    expect(await login(composed.email, next.trim())).toBe(401);
    expect(await login(composed.email, next.normalize("NFD"))).toBe(303);
  });

  it("S-159 refuses common passwords, with a reason and without the network", async () => {
    const connecting = jest.spyOn(Socket.prototype, "connect");
    const { dictionary } = await import("@zxcvbn-ts/language-common");
    const passwords = Object.values(dictionary).flat().map(String);
    const top = passwords.filter((word) => [...word].length >= 8).slice(0, 3_000);
    expect(top.length).toBe(3_000);
    for (const word of top) expect([word, await isCommonPassword(word, [])]).toEqual([word, true]);

    const listed = await startApp({ PASSWORD_BLOCKLIST: "1" });
    try {
      const email = "ada.lovelace@example.test";
      const wanted = "four words nobody said";
      const bad = ["password1", "iloveyou1", "AUTH-SERVICE", "Ada.Lovelace", email];
      const refuseEach = async (answering: (password: string) => Promise<Response>) => {
        for (const password of bad) {
          const response = await answering(password);
          expect([password, response.status]).toEqual([password, 400]);
          expect(JSON.stringify(await response.json())).toContain("too common");
        }
      };
      await refuseEach((password) => signingUp(listed.url, password, email));
      const account = await signUp(listed.url, { email, password: wanted });
      const { access_token: bearer } = await getTokens(listed.url, account);
      await refuseEach((password) => change(listed, bearer, wanted, password));
      const token = await resetTokenFor(listed, email);
      await refuseEach((password) => confirm(listed, token, password));
      expect((await confirm(listed, token, "three more words")).status).toBe(204);
      const ports = connecting.mock.calls.flat(2).flatMap((to) => (to as { port?: unknown } | null)?.port ?? []);
      expect([...new Set(ports.map(String))]).toEqual([new URL(listed.url).port]);
    } finally {
      await listed.close();
    }
  });

  it("S-160 stores argon2id with OWASP's parameters and a salt of its own for each password", async () => {
    const [one, other] = [await signUp(app.url), await signUp(app.url)];
    const hashes = [one, other].map(
      ({ uuid }) =>
        rowsOf<{ password_hash: string }>(app, "SELECT password_hash FROM users WHERE uuid = ?", uuid)[0]
          ?.password_hash ?? "",
    );
    expect(hashes[0]).not.toBe(hashes[1]);
    for (const text of hashes) {
      const [, memory, time, lanes, salt = "", tag = ""] =
        /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/.exec(text) ?? [];
      expect(Number(memory)).toBeGreaterThanOrEqual(19_456);
      expect(Number(time)).toBeGreaterThanOrEqual(2);
      expect(Number(lanes)).toBe(1);
      expect(Buffer.from(salt, "base64").length).toBeGreaterThanOrEqual(16);
      expect(Buffer.from(tag, "base64").length).toBeGreaterThanOrEqual(16);
    }
  });

  /** Gives the account a hash of weaker parameters, as an earlier release made them. */
  const weaken = async ({ email, password }: Account) => {
    const weak = await argon2(password, { memoryCost: 8_192, timeCost: 1, parallelism: 1 });
    const user = await app.context.store.users.findByEmail(email);
    if (user !== null) await app.context.store.users.rehash(user, weak);
  };
  const secondStep = async (
    account: Account,
    browser: TestBrowser,
    secret: string,
    more: Record<string, string> = {},
  ) => {
    const { form } = await firstStep(app.url, account, browser);
    const code = codeOf(secret, app.clock.now());
    return browser.post(`${app.url}/login/second-factor`, { ...form, code, ...more });
  };

  it("S-161 makes a weaker hash a strong one at the next login, however many log in at once", async () => {
    const account = await signUp(app.url);
    await weaken(account);
    const statuses = await Promise.all(Array.from({ length: 4 }, () => login(account.email, account.password)));
    expect(statuses.filter((status) => status !== 303)).toEqual([]);
    const stored = () =>
      rowsOf<{ password_hash: string }>(app, "SELECT password_hash FROM users WHERE uuid = ?", account.uuid)[0]
        ?.password_hash;
    expect(await login(account.email, account.password)).toBe(303);
    expect(stored()).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await login(account.email, account.password)).toBe(303);
  });

  it("S-161 takes no right password for wrong where another replica makes its hash a strong one at that moment", async () => {
    const account = await signUp(app.url);
    await weaken(account);
    const { users } = app.context.store;
    const rehash = users.rehash.bind(users);
    const other = await argon2(account.password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
    const rehashing = jest.spyOn(users, "rehash").mockImplementationOnce(async (user, to) => {
      await rehash(user, other);
      return rehash(user, to);
    });
    expect(await login(account.email, account.password)).toBe(303);
    rehashing.mockRestore();
  });

  describe("S-161 while another login gives the password a strong hash", () => {
    /** What the other login does, at the moment at which the store is asked to. */
    const meanwhile = async (account: Account, password: string) => {
      const { users } = app.context.store;
      const user = await users.findByEmail(account.email);
      if (user === null) throw new Error("no account");
      const strong = await argon2(password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
      if (password === account.password) await users.rehash(user, strong);
      else await setPassword(app.context, user.uuid, password);
    };

    it.each([
      ["a second step goes on", (account: Account) => account.password, "/"],
      ["a second step does not, where the password is another one", () => "another long password", "/login"],
    ])("%s", async (_, passwordOf, goesTo) => {
      const account = await signUp(app.url);
      const secret = await giveApp(app, account.uuid);
      const { sessions } = app.context.store;
      const signIn = sessions.signIn.bind(sessions);
      const signingIn = jest.spyOn(sessions, "signIn").mockImplementationOnce(async (...login) => {
        await meanwhile(account, passwordOf(account));
        return signIn(...login);
      });
      app.clock.shift += 30_000;
      const { headers } = await secondStep(account, new TestBrowser(), secret);
      expect(new URL(headers.get("location") ?? "", app.url).pathname).toBe(goesTo);
      signingIn.mockRestore();
      app.clock.shift = 0;
    });

    it("the password can be changed", async () => {
      const account = await signUp(app.url);
      const { users } = app.context.store;
      const change = users.changePassword.bind(users);
      const changing = jest.spyOn(users, "changePassword").mockImplementationOnce(async (...by) => {
        await meanwhile(account, account.password);
        return change(...by);
      });
      const newPassword = "another long password";
      await changePassword(app.context, { uuid: account.uuid, currentPassword: account.password, newPassword });
      changing.mockRestore();
      expect(await login(account.email, newPassword)).toBe(303);
    });
  });

  it.each([
    ["no mail about new ones", false],
    ["no mail about new ones after the second step", true],
  ])("S-161 knows the browsers again whose account gets a strong hash: %s", async (_, hasFactor) => {
    const account = await signUp(app.url);
    const secret = hasFactor ? await giveApp(app, account.uuid) : null;
    const signIn = async (browser: TestBrowser) => {
      if (secret === null) return login(account.email, account.password, browser);
      app.clock.shift += 30_000;
      return (await secondStep(account, browser, secret)).status;
    };
    await weaken(account);
    const outdated = jest.spyOn(app.context.passwords, "isOutdated").mockReturnValue(false);
    const [home, work] = [new TestBrowser({ "user-agent": "home" }), new TestBrowser({ "user-agent": "work" })];
    expect([await signIn(home), await signIn(work)]).toEqual([303, 303]);
    outdated.mockRestore();
    expect([await signIn(home), await signIn(work), await signIn(home)]).toEqual([303, 303, 303]);
    await weaken(account);
    expect([await signIn(work), await signIn(home)]).toEqual([303, 303]);
    expect(await signIn(new TestBrowser({ "user-agent": "elsewhere" }))).toBe(303);
    const told = () =>
      eventsOf(app).flatMap(({ key, event: { payload } }) =>
        key === account.uuid && payload["kind"] === "NEW_DEVICE" ? [payload["userAgent"]] : [],
      );
    await until(() => (told().includes("elsewhere") ? true : undefined));
    expect(told()).toEqual(["work", "elsewhere"]);
    app.clock.shift = 0;
  });

  it("S-161 asks for no second step in remembered browsers whose account gets a strong hash", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    await weaken(account);
    const outdated = jest.spyOn(app.context.passwords, "isOutdated").mockReturnValue(false);
    const browsers = [new TestBrowser(), new TestBrowser()];
    for (const browser of browsers) {
      app.clock.shift += 30_000;
      expect((await secondStep(account, browser, secret, { remember: "on" })).status).toBe(303);
    }
    outdated.mockRestore();
    // the first login makes the strong hash, the others find it alone
    for (const browser of [...browsers, ...browsers]) {
      expect(await login(account.email, account.password, browser)).toBe(303);
      const user = await app.context.store.users.findByEmail(account.email);
      const proof = browser.cookies.get("auth_device");
      expect(user === null ? null : knownDevice(app.context, proof, user, "second factor")).not.toBeNull();
    }
    app.clock.shift = 0;
  });

  it("S-164 lets one of many sign-ups at once win, however each spells the address, and answers the others alike", async () => {
    const email = uniqueEmail();
    const spellings = [
      email,
      email.toUpperCase(),
      ` ${email} `,
      email.replace("@", "＠"),
      email.replaceAll(/[!-~]/g, (character) => String.fromCharCode(character.charCodeAt(0) + 0xfee0)),
      email.replace("example", "exａｍple"),
    ];
    const answers = await Promise.all(
      Array.from({ length: 24 }, async (_, n) => {
        const response = await signingUp(app.url, "correct horse battery", spellings[n % spellings.length]);
        return { status: response.status, body: await response.text() };
      }),
    );
    const losers = answers.filter(({ status }) => status !== 201);
    expect(losers).toHaveLength(23);
    expect(new Set(losers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(losers[0]?.status).toBe(409);
    const stored = rowsOf<{ email: string }>(app, "SELECT email FROM users");
    expect(stored.filter((row) => row.email.normalize("NFKC").trim().toLowerCase() === email)).toEqual([{ email }]);
    await signUp(app.url);
    const told = () => eventsOf(app).filter(({ event }) => event.payload["email"] === email);
    await until(() => told()[1]);
    expect(
      told()
        .map(({ topic }) => topic)
        .sort(),
    ).toEqual(["user-email-verification", "user-signup"]);
  });

  it("S-165 answers 409 for a taken address, and no more than a hundred sign-ups an hour for one", async () => {
    const { email } = await signUp(app.url);
    const hashing = jest.spyOn(app.context.passwords, "hash");
    const statuses = await Promise.all(
      Array.from({ length: 110 }, () =>
        signingUp(app.url, "another password", email.toUpperCase()).then((r) => r.status),
      ),
    );
    expect(statuses.filter((status) => status === 409)).toHaveLength(99);
    expect(statuses.filter((status) => status === 429)).toHaveLength(11);
    expect(hashing).not.toHaveBeenCalled();
  });

  it("S-166 leaves nothing of whoever signed up with another's address once its owner proved it", async () => {
    const attacker = await signUp(app.url, { password: "the attacker's password" });
    const stolen = await getTokens(app.url, attacker);
    const pending = await getCode(app.url, attacker, { browser: stolen.browser });
    const token = await resetTokenFor(app, attacker.email);
    expect((await confirm(app, token, "the owner's password")).status).toBe(204);

    expect(await login(attacker.email, attacker.password)).toBe(401);
    expect(await introspectSettled(app.url, stolen.access_token)).toEqual({ active: false });
    expect((await refresh(app.url, stolen.refresh_token)).status).toBe(401);
    const redeemed = await redeem(app.url, pending.code, pending.verifier);
    expect([redeemed.status, await redeemed.json()]).toMatchObject([400, { error: "invalid_grant" }]);
    const again = await stolen.browser.get(`${app.url}/`);
    expect(await again.text()).toContain("You are not signed in");
    expect(await login(attacker.email, "the owner's password")).toBe(303);
  });

  it("S-167 answers a reset request alike for an account, none, a disabled one and one never verified", async () => {
    const [unverified, verified, disabled] = [await signUp(app.url), await signUp(app.url), await signUp(app.url)];
    await updateUser(app.context, verified.uuid, { emailVerified: true });
    await setUserDisabled(app.context, disabled.uuid, true);
    const shape = async (email: string) => {
      const response = await postJson(`${app.url}/api/users/password-reset`, { email });
      const headers = [...response.headers.keys()].filter((name) => name !== "date").sort();
      return { status: response.status, body: await response.text(), headers };
    };
    const emails = [unverified.email, verified.email, disabled.email, uniqueEmail()];
    const answers = await Promise.all(emails.map(shape));
    expect(answers[0]?.status).toBe(202);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    for (const { email } of [unverified, verified]) await until(() => resetEvents(app, email)[0]);
    const asked = app.logs.filter((line) => line.includes('"password_reset_requested"'));
    const told = ({ uuid }: { uuid: string }) => asked.filter((line) => line.includes(uuid)).length;
    expect([unverified, verified, disabled].map(told)).toEqual([1, 1, 0]);
  });

  it("S-168 builds the reset link from the configured address and ignores the request's host", async () => {
    const { email } = await signUp(app.url);
    const { port } = new URL(app.url);
    const body = JSON.stringify({ email });
    const lies: { path?: string; headers: Record<string, string> }[] = [
      { headers: { host: "evil.example" } },
      { headers: { "x-forwarded-host": "evil.example", "x-forwarded-proto": "https" } },
      { headers: { forwarded: "host=evil.example;proto=https" } },
      { path: "http://evil.example/api/users/password-reset", headers: {} },
    ];
    for (const [sent, { path = "/api/users/password-reset", headers }] of lies.entries()) {
      const status = await new Promise<number>((resolve, reject) => {
        const call = request(
          {
            host: "127.0.0.1",
            port,
            path,
            method: "POST",
            headers: { "content-type": "application/json", ...headers },
          },
          (response) => resolve(response.resume().statusCode ?? 0),
        );
        call.once("error", reject).end(body);
      });
      // an absolute target of another host is either not found or read as its path
      if (status !== 202) {
        expect([400, 404]).toContain(status);
        continue;
      }
      const event = await until(() => resetEvents(app, email)[sent]);
      expect(event.payload.resetUrl).toMatch(new RegExp(`^${app.url}/password-reset\\?token=`));
    }
  });

  it("S-171 changes a password only with the current one, and only for whom the token speaks", async () => {
    const account = await signUp(app.url);
    const { access_token: token } = await getTokens(app.url, account);
    const send = (body: object, headers: Record<string, string>) =>
      postJson(`${app.url}/api/users/me/password`, body, headers);
    const bearer = { authorization: `Bearer ${token}` };
    const body = { currentPassword: account.password, newPassword: "an even better password" };
    expect((await send(body, {})).status).toBe(401);
    expect((await send({ newPassword: body.newPassword }, bearer)).status).toBe(400);
    expect((await send({ ...body, currentPassword: "wrong password" }, bearer)).status).toBe(400);
    expect(await login(account.email, account.password)).toBe(303);

    const partner = await partnerToken(account);
    expect((await send(body, { authorization: `Bearer ${partner}` })).status).toBe(403);
    expect((await send(body, bearer)).status).toBe(204);
    expect(await login(account.email, account.password)).toBe(401);
    expect(await login(account.email, body.newPassword)).toBe(303);
  });

  /** Of a client that is not first-party: with consent. */
  async function partnerToken(account: Account): Promise<string> {
    const options = { clientId: "partner", redirectUri: "https://partner.example/cb", scope: "openid profile" };
    const { browser, location } = await getCode(app.url, account, options);
    const form = await browser.submit(location.href, { decision: "allow" });
    expect(form.status).toBe(303);
    const again = await getTokens(app.url, account, { ...options, browser });
    return again.access_token;
  }

  it("S-138 changes no password with a token for another resource", async () => {
    const account = await signUp(app.url);
    const options = { clientId: "orders-web", redirectUri: "https://orders.example/cb", scope: "openid profile" };
    const { browser, ...own } = await getTokens(app.url, account, options);
    const extra = { resource: "https://orders.example" };
    const elsewhere = await getTokens(app.url, account, { ...options, browser, extra });
    expect(claimsOf(elsewhere.access_token)["aud"]).toContain("https://orders.example");
    const refused = await change(app, elsewhere.access_token, account.password, "an even better password");
    expect([refused.status, await refused.json()]).toEqual([401, { error: "Invalid Token" }]);
    expect(refused.headers.get("www-authenticate")).toContain('error="invalid_token"');
    expect(await login(account.email, account.password)).toBe(303);
    expect((await change(app, own.access_token, account.password, "an even better password")).status).toBe(204);
  });

  it("S-174 changes no password by GET, by a form that another site could send, or by a plain-text body", async () => {
    const account = await signUp(app.url);
    const { access_token: token } = await getTokens(app.url, account);
    const headers = {
      authorization: `Bearer ${token}`,
      origin: "https://evil.example",
      "sec-fetch-site": "cross-site",
    };
    const url = `${app.url}/api/users/me/password`;
    const fields = { currentPassword: account.password, newPassword: "an even better password" };
    expect((await fetch(`${url}?${new URLSearchParams(fields)}`, { headers })).status).toBe(405);
    expect((await postForm(url, fields, headers)).status).toBe(415);
    const plain = {
      method: "POST",
      headers: { ...headers, "content-type": "text/plain" },
      body: JSON.stringify(fields),
    };
    expect((await fetch(url, plain)).status).toBe(415);
    expect(await login(account.email, account.password)).toBe(303);
  });
});
