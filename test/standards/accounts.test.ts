import { readFileSync } from "node:fs";
import { request } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hash as argon2 } from "argon2";
import { readConfig } from "../../src/config.ts";
import { isCommonPassword } from "../../src/users/common-passwords.ts";
import { setUserDisabled } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  getCode,
  getTokens,
  introspectSettled,
  postForm,
  postJson,
  refresh,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { rowsOf } from "../support/sqlite.ts";

const clients = [
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

  async function until<T>(find: () => T | undefined): Promise<T> {
    for (let tries = 0; tries < 1_000; tries++) {
      const found = find();
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error("it did not come");
  }
  interface ResetEvent {
    payload: { email: string; resetToken: string; resetUrl: string };
  }
  const resetEvents = (email: string): ResetEvent[] =>
    readFileSync(app.env["EVENTS_FILE"] ?? "", "utf8")
      .split("\n")
      .filter((line) => line.includes('"password-reset"') && line.includes(email))
      .map((line) => (JSON.parse(line) as { event: ResetEvent }).event);

  async function resetTokenFor(email: string): Promise<string> {
    const before = resetEvents(email).length;
    expect((await postJson(`${app.url}/api/users/password-reset`, { email })).status).toBe(202);
    return (await until(() => resetEvents(email)[before])).payload.resetToken;
  }

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
      expect(await login(account.email, account.password)).toBe(303);
    }
    const hashing = jest.spyOn(app.context.passwords, "hash");
    for (const length of [129, 1_024, 60_000]) expect((await signingUp(app.url, "p".repeat(length))).status).toBe(400);
    expect((await signingUp(app.url, "p".repeat(100_000))).status).toBe(413);
    expect(hashing).not.toHaveBeenCalled();
  });

  it("S-157 tells passwords apart that differ after 72 bytes, and takes none with a NUL", async () => {
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
  });

  it("S-159 refuses what everybody tries first, with a reason and without the network", async () => {
    const { dictionary } = await import("@zxcvbn-ts/language-common");
    const passwords = Object.values(dictionary).flat().map(String);
    const top = passwords.filter((word) => [...word].length >= 8).slice(0, 3_000);
    expect(top.length).toBe(3_000);
    for (const word of top) expect([word, await isCommonPassword(word, [])]).toEqual([word, true]);

    const listed = await startApp({ PASSWORD_BLOCKLIST: "1" });
    try {
      const email = "ada.lovelace@example.test";
      for (const password of ["password1", "iloveyou1", "AUTH-SERVICE", "Ada.Lovelace", email]) {
        const response = await signingUp(listed.url, password, email);
        expect([password, response.status]).toEqual([password, 400]);
        expect(JSON.stringify(await response.json())).toContain("too common");
      }
      expect((await signingUp(listed.url, "four words nobody said", email)).status).toBe(201);
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

  it("S-161 makes a weaker hash a strong one at the next login, however many log in at once", async () => {
    const account = await signUp(app.url);
    const weak = await argon2(account.password, { memoryCost: 8_192, timeCost: 1, parallelism: 1 });
    const { passwordHash } = (await app.context.store.users.findByEmail(account.email)) ?? { passwordHash: "" };
    await app.context.store.users.rehash(account.uuid, passwordHash, weak);
    const statuses = await Promise.all(Array.from({ length: 4 }, () => login(account.email, account.password)));
    expect(statuses.filter((status) => status !== 303 && status !== 401)).toEqual([]);
    const stored = () =>
      rowsOf<{ password_hash: string }>(app, "SELECT password_hash FROM users WHERE uuid = ?", account.uuid)[0]
        ?.password_hash;
    expect(await login(account.email, account.password)).toBe(303);
    expect(stored()).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await login(account.email, account.password)).toBe(303);
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
    const token = await resetTokenFor(attacker.email);
    const confirm = { token, newPassword: "the owner's password" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, confirm)).status).toBe(204);

    expect(await login(attacker.email, attacker.password)).toBe(401);
    expect(await introspectSettled(app.url, stolen.access_token)).toEqual({ active: false });
    expect((await refresh(app.url, stolen.refresh_token)).status).toBe(401);
    const again = await stolen.browser.get(pending.location.origin === "" ? "" : `${app.url}/`);
    expect(await again.text()).toContain("You are not signed in");
    expect(await login(attacker.email, "the owner's password")).toBe(303);
  });

  it("S-167 answers a reset request alike for an account, none, a disabled one and one never verified", async () => {
    const [known, disabled] = [await signUp(app.url), await signUp(app.url)];
    await setUserDisabled(app.context, disabled.uuid, true);
    const shape = async (email: string) => {
      const response = await postJson(`${app.url}/api/users/password-reset`, { email });
      const headers = [...response.headers.keys()].filter((name) => name !== "date").sort();
      return { status: response.status, body: await response.text(), headers };
    };
    const answers = await Promise.all([known.email, disabled.email, uniqueEmail()].map(shape));
    expect(answers[0]?.status).toBe(202);
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  it("S-168 builds the reset link from the configured address alone, whatever host the request names", async () => {
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
      const event = await until(() => resetEvents(email)[sent]);
      expect(event.payload.resetUrl).toMatch(new RegExp(`^${app.url}/password-reset\\?token=`));
    }
  });

  it("S-171 changes a password only with the current one, and only for whom the token speaks", async () => {
    const account = await signUp(app.url);
    const { access_token: token } = await getTokens(app.url, account);
    const change = (body: object, headers: Record<string, string>) =>
      postJson(`${app.url}/api/users/me/password`, body, headers);
    const bearer = { authorization: `Bearer ${token}` };
    const body = { currentPassword: account.password, newPassword: "an even better password" };
    expect((await change(body, {})).status).toBe(401);
    expect((await change({ newPassword: body.newPassword }, bearer)).status).toBe(400);
    expect((await change({ ...body, currentPassword: "wrong password" }, bearer)).status).toBe(400);
    expect(await login(account.email, account.password)).toBe(303);

    const partner = await partnerToken(account);
    expect((await change(body, { authorization: `Bearer ${partner}` })).status).toBe(403);
    expect((await change(body, bearer)).status).toBe(204);
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
