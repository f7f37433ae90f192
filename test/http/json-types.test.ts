import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  getTokens,
  hiddenFields,
  internalBasic,
  postJson,
  signUp,
  TestBrowser,
  type Tokens,
  uniqueEmail,
} from "../support/flow.ts";
import { resetTokenFor } from "../support/resets.ts";
import { rowsOf } from "../support/sqlite.ts";

/** What could become SQL, a property or a number further inside. */
const wrongValues: Record<string, unknown[]> = {
  number: [1, 0],
  boolean: [true, false],
  array: [[], ["admin@example.test"]],
  object: [{}, { email: "admin@example.test" }, { $ne: null }],
};
const newPassword = "a password of nobody";

describe("a service that is sent values of the wrong type", () => {
  let app: TestApp;
  let account: Account & { uuid: string };
  let tokens: Tokens & { browser: TestBrowser };
  let resetToken: string;
  beforeAll(async () => {
    app = await startApp({ ACCESS_TOKEN_TTL: "3600" });
    account = await signUp(app.url);
    tokens = await getTokens(app.url, account);
    resetToken = await resetTokenFor(app, account.email);
  });
  afterAll(() => app.close());

  const stored = () =>
    [
      "SELECT * FROM users",
      "SELECT * FROM user_profiles",
      "SELECT token_hash FROM password_reset_token",
      "SELECT id_hash FROM browser_session WHERE user_id IS NOT NULL",
      "SELECT id FROM oauth2_authorization",
    ].map((sql) => rowsOf(app, sql));
  async function storesNothing(work: () => Promise<void>): Promise<void> {
    const before = stored();
    await work();
    expect(stored()).toEqual(before);
    expect(app.logs.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  }

  it("S-163 refuses every wrong type in every JSON member of the account API, and stores nothing", () =>
    storesNothing(async () => {
      const endpoints: Record<string, Record<string, string>> = {
        "/api/users/signup": { email: uniqueEmail(), password: newPassword, nickname: "n" },
        "/api/users/password-reset": { email: account.email },
        "/api/users/password-reset/confirm": { token: resetToken, newPassword },
        "/api/users/me/password": { currentPassword: account.password, newPassword },
      };
      for (const [path, body] of Object.entries(endpoints)) {
        for (const field of Object.keys(body)) {
          for (const wrong of [null, ...Object.values(wrongValues).flat()]) {
            // too many wrong passwords would be refused for that
            await app.context.limits.clear("wrong_current_password", account.uuid);
            const headers = { authorization: `Bearer ${tokens.access_token}` };
            const response = await postJson(app.url + path, { ...body, [field]: wrong }, headers);
            const answer = (await response.json()) as { success: boolean; error: { code: string } };
            expect([path, field, wrong, response.status, answer.success]).toEqual([path, field, wrong, 400, false]);
            expect(answer.error.code).toMatch(/^AUTH_INVALID_(REQUEST|CREDENTIALS)$/);
          }
        }
      }
    }));

  it("S-163 refuses every wrong type in every field of UserService's messages, and stores nothing", () =>
    storesNothing(async () => {
      const right: Record<string, unknown> = {
        uuid: account.uuid,
        uuids: [account.uuid],
        email: account.email,
        password: newPassword,
        nickname: "renamed",
        currentPassword: account.password,
        newPassword,
        token: resetToken,
        updateMask: "nickname,claims",
        claims: { name: "Ada" },
      };
      for (const method of UserService.methods) {
        const rightBody = Object.fromEntries(
          method.input.fields.map(({ jsonName }) => [jsonName, right[jsonName]] as const),
        );
        const body = method.name === "SignUp" ? { ...rightBody, email: uniqueEmail() } : rightBody;
        const call = (path: string[], value: unknown) =>
          postJson(`${app.internalUrl}/${UserService.typeName}/${method.name}`, withMember(body, path, value), {
            authorization: internalBasic,
          });
        for (const [path, wrong] of wrongFields(method.input)) {
          const response = await call(path, wrong);
          const { code } = (await response.json()) as { code: string };
          const found = [method.name, path, wrong, response.status, code];
          expect(found).toEqual([method.name, path, wrong, 400, "invalid_argument"]);
        }
        // null stands for an absent field, which these need
        if (!/^SignUp$|Password/.test(method.name)) continue;
        for (const { jsonName } of method.input.fields) {
          const found = [method.name, jsonName, (await call([jsonName], null)).status];
          expect(found).toEqual([method.name, jsonName, 400]);
        }
      }
    }));

  it("S-163 takes no field of a form in brackets or twice", () =>
    storesNothing(async () => {
      for (const path of ["/signup", "/login", "/password-reset"]) {
        const browser = new TestBrowser();
        const fields = { ...hiddenFields(await (await browser.get(app.url + path)).text()), password: newPassword };
        for (const names of [["email[email]"], ["email[]"], ["email[$ne]"], ["email.email"], ["email", "email"]]) {
          const body = new URLSearchParams(fields);
          for (const name of names) body.append(name, account.email);
          const { status } = await browser.request(app.url + path, { method: "POST", body });
          expect([path, names, status]).toEqual([
            path,
            names,
            names[0] === "email.email" && path === "/login" ? 401 : 400,
          ]);
        }
      }
    }));
});

/** Every field of a message and of those in it, with each JSON value that its type does not take. */
function* wrongFields(message: DescMessage, path: string[] = []): Generator<[string[], unknown]> {
  for (const field of message.fields) {
    const here = [...path, field.jsonName];
    const taken = kindsTaken(field);
    for (const [kind, values] of Object.entries(wrongValues)) {
      if (!taken.includes(kind)) for (const wrong of values) yield [here, wrong];
    }
    if (field.fieldKind === "list") for (const wrong of [1, true, null, ["x"], { x: 1 }]) yield [here, [wrong]];
    if (field.fieldKind === "message" && taken.includes("object")) yield* wrongFields(field.message, here);
  }
}

function kindsTaken(field: DescField): string[] {
  if (field.fieldKind === "list") return ["array"];
  if (field.fieldKind === "message") return field.message.typeName.startsWith("google.") ? [] : ["object"];
  if (field.fieldKind !== "scalar") throw new Error(`${field} is of a kind that this test does not know`);
  if (field.scalar === ScalarType.STRING) return [];
  return field.scalar === ScalarType.BOOL ? ["boolean"] : ["number"];
}

function withMember(body: object, [first = "", ...rest]: string[], value: unknown): object {
  const inner = (body as Record<string, object | undefined>)[first] ?? {};
  return { ...body, [first]: rest.length === 0 ? value : withMember(inner, rest, value) };
}
