import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { httpApiPage, openApiDocument } from "../../scripts/openapi.ts";
import { ACCOUNT_CODES } from "../../src/http/api-document.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, getTokens, signUp, uniqueEmail } from "../support/flow.ts";
import { eventsOf, resetEvents, resetTokenFor, until } from "../support/resets.ts";

interface Operation {
  readonly responses: Readonly<
    Record<string, { content?: { "application/json": { schema: object } }; description: string }>
  >;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

const read = (file: string) => readFileSync(new URL(`../../docs/reference/${file}`, import.meta.url), "utf8");
const words = (text: string) => text.replaceAll(/[\s|-]+/g, " ");

describe("the OpenAPI document", () => {
  let app: TestApp;
  let document: Document;
  let account: Account;
  let access: string;
  const seen = new Map<string, Set<number>>();
  const ajv = new Ajv2020({ strict: false });
  formats.default(ajv);

  beforeAll(async () => {
    app = await startApp({ ACCESS_TOKEN_TTL: "3600" });
    document = (await (await fetch(`${app.url}/api/openapi.json`)).json()) as Document;
    ajv.addSchema({ $id: "doc", ...document });
    account = await signUp(app.url);
    access = (await getTokens(app.url, account)).access_token;
  });
  afterAll(() => app.close());

  /** Sends a request and holds the answer against the document. @returns the code of a refusal */
  async function ask(method: "get" | "post", path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${app.url}${path}`, {
      method: method.toUpperCase(),
      headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const described = document.paths[path]?.[method]?.responses[response.status];
    expect([path, response.status, described === undefined]).toEqual([path, response.status, false]);
    const schema = described?.content?.["application/json"].schema;
    if (schema === undefined) expect(text).toBe("");
    else {
      const inDocument = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"doc#/')) as object;
      const check = ajv.compile(inDocument);
      check(JSON.parse(text));
      expect([path, response.status, text, check.errors ?? []]).toEqual([path, response.status, text, []]);
    }
    seen.set(`${method} ${path}`, (seen.get(`${method} ${path}`) ?? new Set()).add(response.status));
    const { code } = text === "" ? {} : ((JSON.parse(text) as { error?: { code?: string } }).error ?? {});
    if (code !== undefined) expect(described?.description).toContain(code);
    return code ?? response.status;
  }

  it("describes what the service answers to each operation", async () => {
    const bearer = { authorization: `Bearer ${access}` };
    const good = { email: uniqueEmail(), password: "correct horse battery", nickname: "nick" };
    expect(await ask("post", "/api/users/signup", good)).toBe(201);
    expect(await ask("post", "/api/users/signup", good)).toBe("AUTH_EMAIL_DUPLICATE");
    expect(await ask("post", "/api/users/signup", { email: 1, password: "x", nickname: "" })).toBe(
      "AUTH_INVALID_REQUEST",
    );
    expect(await ask("post", "/api/users/signup", "{", {})).toBe("AUTH_INVALID_REQUEST");
    expect(await ask("post", "/api/users/signup", "x", { "content-type": "text/plain" })).toBe("AUTH_INVALID_REQUEST");
    expect(await ask("post", "/api/users/signup", { ...good, nickname: "x".repeat(70_000) })).toBe(
      "AUTH_INVALID_REQUEST",
    );
    expect(await ask("get", "/api/users/me", undefined, bearer)).toBe(200);
    expect(await ask("get", "/api/users/me")).toBe(401);
    expect(await ask("get", "/api/users/me", undefined, { authorization: "Bearer x" })).toBe(401);
    const narrow = await getTokens(app.url, account, { scope: "openid" });
    const ofNarrow = { authorization: `Bearer ${narrow.access_token}` };
    expect(await ask("get", "/api/users/me", undefined, ofNarrow)).toBe(403);

    const move = (fields: object) => ask("post", "/api/users/me/email", fields, bearer);
    const email = uniqueEmail();
    expect(await move({ currentPassword: "wrong", email })).toBe("AUTH_INVALID_CREDENTIALS");
    expect(await move({ currentPassword: account.password, email: "x" })).toBe("AUTH_INVALID_REQUEST");
    expect(await move({ currentPassword: account.password, email })).toBe(202);
    expect(await ask("post", "/api/users/email-verification", { email })).toBe(202);
    expect(await ask("post", "/api/users/email-verification", { email: "x" })).toBe("AUTH_INVALID_REQUEST");
    const verify = (token: string) => ask("post", "/api/users/email-verification/confirm", { token });
    expect(await verify("x".repeat(43))).toBe("AUTH_VERIFICATION_TOKEN_INVALID");
    const sent = () =>
      eventsOf(app).find(({ event }) => event.payload["email"] === good.email && event.payload["verificationToken"]);
    expect(await verify((await until(sent)).event.payload["verificationToken"] ?? "")).toBe(204);

    const change = { currentPassword: "wrong", newPassword: "another good password" };
    expect(await ask("post", "/api/users/me/password", change, bearer)).toBe("AUTH_INVALID_CREDENTIALS");
    expect(await ask("post", "/api/users/me/password", { ...change, newPassword: "x" }, bearer)).toBe(
      "AUTH_INVALID_REQUEST",
    );
    expect(await ask("post", "/api/users/me/password", change)).toBe(401);
    const right = { ...change, currentPassword: account.password };
    expect(await ask("post", "/api/users/me/password", right, bearer)).toBe(204);

    expect(await ask("post", "/api/users/password-reset", { email: good.email })).toBe(202);
    expect(await ask("post", "/api/users/password-reset", { email: "x" })).toBe("AUTH_INVALID_REQUEST");
    // the next link takes the place of this one
    await until(() => resetEvents(app, good.email)[0]);
    const token = await resetTokenFor(app, good.email);
    const confirm = (fields: object) => ask("post", "/api/users/password-reset/confirm", fields);
    expect(await confirm({ token: "x", newPassword: "another good password" })).toBe("AUTH_RESET_TOKEN_INVALID");
    expect(await confirm({ token, newPassword: "x" })).toBe("AUTH_INVALID_REQUEST");
    expect(await confirm({ token, newPassword: "another good password" })).toBe(204);
  });

  it("has no operation that the case before left out", () => {
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect([...seen.keys()].sort()).toEqual(described.sort());
  });

  it("takes its limits from the configuration, and any origin may read it", async () => {
    const strict = await startApp({ PASSWORD_MIN_LENGTH: "15" });
    try {
      const answer = await fetch(`${strict.url}/api/openapi.json`, { headers: { origin: "https://docs.example" } });
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(JSON.stringify(await answer.json())).toContain('"minLength":15');
    } finally {
      await strict.close();
    }
  });

  it("is committed as the program would write it, with its page: npm run docs:openapi", () => {
    expect(JSON.parse(read("openapi.json"))).toEqual(openApiDocument());
    expect(words(read("http-api.md"))).toBe(words(httpApiPage()));
    for (const code of Object.keys(ACCOUNT_CODES)) expect(read("http-api.md")).toContain(`\`${code}\``);
  });
});
