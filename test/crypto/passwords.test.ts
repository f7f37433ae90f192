import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import type { TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { authorizeUrl, hiddenFields, signUp, TestBrowser, uniqueEmail } from "../support/flow.ts";
import { signUpWithPasskey } from "../support/passkeys.ts";

const argon2 = await import("argon2");
const verify = jest.fn(argon2.verify);
jest.unstable_mockModule("argon2", () => ({ ...argon2, verify }));
const { startApp } = await import("../support/app.ts");
const { setUserDisabled } = await import("../../src/users/users.ts");

describe("a login that is refused", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  async function refusedLogin(email: string) {
    const by = new TestBrowser();
    const step = await by.get(authorizeUrl(app.url));
    const page = await by.get(new URL(step.headers.get("location") ?? "", app.url).href);
    const fields = hiddenFields(await page.text());
    verify.mockClear();
    const answer = await by.post(`${app.url}/login`, { ...fields, email, password: "wrong password" });
    let body = await answer.text();
    // each form that is shown has an id and a challenge of its own
    body = body.replace(/&quot;challenge&quot;:&quot;[\w-]{72}&quot;/, "-");
    body = body.replace(/data-renew="\/passkey\/challenge\?for=[\w.-]+"/, "-");
    const { form } = hiddenFields(body);
    for (const own of [fields["csrf"], fields["request"], form, email]) body = body.replaceAll(own ?? "", "-");
    const cookie = by.cookies.get("auth_browser") ?? "";
    const headers = [...answer.headers]
      .filter(([name]) => name !== "date" && name !== "x-request-id")
      .map(([name, value]) => [name, value.replaceAll(cookie, "-")]);
    // the work is what the hash says: its algorithm, version and parameters
    const work = verify.mock.calls.map(([hash]) => hash.split("$").slice(0, 4));
    return { status: answer.status, headers, body, work };
  }

  it("is counted where too many passwords wait to be hashed", async () => {
    let goOn: (() => void)[] = [];
    verify.mockImplementation(() => new Promise((resolve) => goOn.push(() => resolve(false))));
    const { passwords } = app.context;
    const waiting: Promise<boolean>[] = [];
    const isFull = () => {
      try {
        passwords.refuseWhenFull();
        return false;
      } catch {
        return true;
      }
    };
    while (!isFull()) waiting.push(passwords.verify(null, "x"));
    const statuses: number[] = [];
    for (const path of ["/login", "/login", "/api/users/signup"]) {
      const body = JSON.stringify({ email: uniqueEmail(), password: "correct horse battery", nickname: "Ann" });
      const headers = { "content-type": "application/json" };
      statuses.push((await fetch(`${app.url}${path}`, { method: "POST", headers, body })).status);
    }
    expect(statuses).toEqual([429, 429, 429]);
    const text = await (await fetch(`${app.internalUrl}/metrics`)).text();
    // one of them is this test's own
    expect(text).toMatch(/^auth_limits_hit_total\{limit="password_queue"\} 4$/m);
    for (let done = false; !done; ) {
      const now = goOn;
      goOn = [];
      for (const next of now) next();
      done = await Promise.race([
        Promise.all(waiting).then(() => true),
        new Promise<false>((r) => setImmediate(r, false)),
      ]);
    }
    verify.mockImplementation(argon2.verify);
  });

  it("S-048 answers an unknown address as it does a wrong password or a disabled account, after the same work", async () => {
    const [known, disabled] = [await signUp(app.url), await signUp(app.url)];
    await setUserDisabled(app.context, disabled.uuid, true);
    const usual = await refusedLogin(known.email);
    expect(usual).toMatchObject({ status: 401, work: [["", "argon2id", "v=19", "m=19456,t=2,p=1"]] });
    const { email: passwordless } = await signUpWithPasskey([app.url, app.url], new Authenticator(app.url));
    for (const email of [uniqueEmail(), known.email, disabled.email, passwordless, uniqueEmail(), known.email]) {
      expect(await refusedLogin(email)).toEqual(usual);
    }
  });
});
