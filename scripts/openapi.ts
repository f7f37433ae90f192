// `npm run docs:openapi`: writes docs/reference/openapi.json and docs/reference/http-api.md from the schemas that validate the account
// API. A test compares both with what the program would write and with what the service answers.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ACCOUNT_CODES, apiDocument, RULES } from "../src/http/api-document.ts";

const root = join(import.meta.dirname, "..");
const defaults = { issuer: "http://localhost:8081", passwordMinLength: 8 };

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly requestBody?: { readonly content: { readonly "application/json": { readonly schema: Schema } } };
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

interface Schema {
  readonly properties: Readonly<
    Record<string, { readonly minLength?: number; readonly maxLength?: number; readonly description?: string }>
  >;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export function openApiDocument(): Document {
  return apiDocument(defaults) as unknown as Document;
}

export function httpApiPage(): string {
  const { paths } = openApiDocument();
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => sectionOf(path, method, operation)),
  );
  const codes = Object.entries(ACCOUNT_CODES).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return `${[
    "# Account API",
    "Sign-up and the user's own account over HTTP, for applications and their servers. `npm run docs:openapi` writes this page and",
    "[openapi.json](openapi.json) from the schemas that validate the requests. The service serves the same document, with its own issuer and",
    "limits, at `/api/openapi.json`.",
    "",
    'Bodies are JSON. A success is `{"success":true,"data":{...}}`, a failure `{"success":false,"error":{"code","message","details"}}`. Choose',
    "the text that a user reads by `code`, or for a wrong field by `field` and `rule` of its entry in `details`; `message` is for developers.",
    "A refused Bearer token is answered by the table of the gateway: [protocols](protocols.md). Another method of a path is",
    'answered 405 as a failure of the form above, a path that does not exist 404 with `{"error":"not_found"}`.',
    "",
    `The rules: ${Object.keys(RULES)
      .map((rule) => `\`${rule}\``)
      .join(", ")}.`,
    "",
    "`$access` in the examples is an access token, as [the tour](../../README.md#a-three-minute-tour) gets one.",
    "",
    ...operations.flat(),
    "## Codes",
    "",
    "| code | meaning |",
    "| --- | --- |",
    ...codes,
  ].join("\n")}\n`;
}

function sectionOf(
  path: string,
  method: string,
  { summary, description, requestBody, responses }: Operation,
): string[] {
  const schema = requestBody?.content["application/json"].schema;
  const members = Object.entries(schema?.properties ?? {});
  const body = Object.fromEntries(members.map(([name]) => [name, examples[name] ?? "..."]));
  const curl = [
    `curl -s${method === "get" ? "" : ` -X ${method.toUpperCase()}`} localhost:8081${path}`,
    ...(description === undefined ? [] : ['-H "authorization: Bearer $access"']),
    ...(schema === undefined ? [] : ["-H 'content-type: application/json'", `-d '${JSON.stringify(body)}'`]),
  ];
  const limits = members.map(([name, { minLength, maxLength, description: note }]) => {
    const length = maxLength === undefined ? "text" : `${minLength ?? 1} to ${maxLength} characters`;
    return `| \`${name}\` | ${length} | ${note ?? ""} |`;
  });
  const answers = Object.entries(responses).map(([status, { description: text }]) => `| ${status} | ${text} |`);
  return [
    `## ${method.toUpperCase()} ${path}`,
    "",
    `${summary}${description === undefined ? "" : ` ${description}`}`,
    "",
    "```sh",
    curl.join(" \\\n  "),
    "```",
    "",
    ...(limits.length === 0 ? [] : ["| field | length | |", "| --- | --- | --- |", ...limits, ""]),
    "| status | |",
    "| --- | --- |",
    ...answers,
    "",
  ];
}

const examples: Readonly<Record<string, string>> = {
  email: "ada@example.com",
  nickname: "Ada",
  password: "correct horse battery",
  newPassword: "another good password",
  currentPassword: "correct horse battery",
  token: "the token of the link",
};

if (process.argv[1] === import.meta.filename) {
  const [json, page] = [join(root, "docs/reference/openapi.json"), join(root, "docs/reference/http-api.md")];
  writeFileSync(json, JSON.stringify(openApiDocument(), null, 2));
  writeFileSync(page, httpApiPage());
  execFileSync(join(root, "node_modules/.bin/biome"), ["format", "--write", json, page], { stdio: "inherit" });
}
