import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import type { Language } from "../../src/config/languages.ts";
import { type FieldProblem, textOf } from "../../src/http/pages/field-problems.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { TestBrowser, uniqueEmail } from "../support/flow.ts";

/** Without a browser: its own checks of a form would come first. */
describe("each wrong field of a form has its own message, in the language that was asked for", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ PASSWORD_BLOCKLIST: "1", PASSWORD_MIN_LENGTH: "10" });
  });
  afterAll(() => app.close());

  const good = { nickname: "nick", password: "correct horse battery" };
  const cases: [problem: FieldProblem, fields: Record<string, string>][] = [
    [
      { field: "email", rule: "not_an_email" },
      { ...good, email: "" },
    ],
    [
      { field: "email", rule: "not_an_email" },
      { ...good, email: "no address" },
    ],
    [
      { field: "email", rule: "too_long" },
      { ...good, email: `${"a".repeat(250)}@example.test` },
    ],
    [
      { field: "nickname", rule: "wrong_length" },
      { ...good, nickname: "" },
    ],
    [
      { field: "nickname", rule: "wrong_length" },
      { ...good, nickname: "별".repeat(51) },
    ],
    [
      { field: "nickname", rule: "forbidden_characters" },
      { ...good, nickname: "a\u0007b" },
    ],
    [
      { field: "password", rule: "too_short" },
      { ...good, password: "" },
    ],
    [
      { field: "password", rule: "too_short" },
      { ...good, password: "nine char" },
    ],
    [
      { field: "password", rule: "too_long" },
      { ...good, password: "p".repeat(129) },
    ],
    [
      { field: "password", rule: "too_common" },
      { ...good, password: "qwertyuiop" },
    ],
  ];

  it.each(["en", "ko"] as const)("sign-up in %s", async (language) => {
    const browser = new TestBrowser({ "accept-language": language === "ko" ? "ko-KR,ko;q=0.9,en;q=0.5" : "en-GB" });
    const texts = MESSAGES[language].fields(10);
    for (const [problem, fields] of cases) {
      const response = await browser.submit(`${app.url}/signup`, { email: uniqueEmail(), ...fields });
      const html = await response.text();
      expect([problem, response.status]).toEqual([problem, 400]);
      expect(html).toContain(`id="${problem.field}-wrong">${textOf(texts, problem)}<`);
      expect(html.match(/-wrong">/g)).toHaveLength(1);
      expect(html.match(/ autofocus/g)).toHaveLength(1);
    }
  });

  it("password reset shows an error message for the address", async () => {
    const response = await new TestBrowser().submit(`${app.url}/password-reset`, { email: "no address" });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain(`id="email-wrong">${MESSAGES.en.fields(10).email.not_an_email}<`);
  });

  it.each([
    ["ko", "ko"],
    ["ko-KR,en;q=0.8", "ko"],
    ["nl, ko;q=0.5, en;q=0.4", "ko"],
    ["en-US,ko;q=0.9", "en"],
    ["fr-CH, de;q=0.9", "fr"],
    ["nl", "en"],
    ["*", "en"],
    ["", "en"],
    ["ko;q=x,,;;", "en"],
  ])("Accept-Language %p is answered in %s", async (accepted, language) => {
    const response = await new TestBrowser({ "accept-language": accepted }).get(`${app.url}/login`);
    expect(response.headers.get("content-language")).toBe(language);
    expect(response.headers.get("vary")).toMatch(/accept-language/i);
    expect(await response.text()).toContain(MESSAGES[language as Language].signIn);
  });
});
