import { z } from "zod";
import type { Config } from "../config/config.ts";
import type { FieldRule } from "../errors.ts";
import { GATEWAY } from "../token/gateway.ts";
import { currentPassword, linkToken, newEmail, newPasswordSchema, signUpSchema } from "../users/input.ts";
import { type AccountCode, ANSWERS } from "./error-table.ts";

/** What each code of the account API means, and what its caller does about it. A code without an entry does not compile. */
export const ACCOUNT_CODES: Readonly<Record<AccountCode, string>> = {
  AUTH_INVALID_REQUEST:
    "The request is malformed, or a field is refused: `details` lists each with its rule. Correct the request; a repeat is refused again.",
  AUTH_EMAIL_DUPLICATE: "An account has this e-mail address already. Offer to sign in or to reset the password.",
  AUTH_INVALID_CREDENTIALS: "The password is wrong. Ask for it again.",
  AUTH_RESET_TOKEN_INVALID:
    "The token was used, has expired, or a newer one was requested. Offer to request a new link.",
  AUTH_VERIFICATION_TOKEN_INVALID:
    "The token is unknown, has expired, or a newer one was requested. Offer to send a new link.",
  AUTH_NOT_FOUND: "What the request names does not exist. No operation of this page answers it.",
  AUTH_RATE_LIMITED: "Too many requests. Repeat it after the seconds that `Retry-After` names.",
  AUTH_UNAVAILABLE:
    "The service cannot answer now; nothing was changed. Repeat it after the seconds that `Retry-After` names.",
  AUTH_INTERNAL: "An error of the service, which its log explains. Report it.",
};

export const RULES: Readonly<Record<FieldRule, true>> = {
  wrong_type: true,
  wrong_format: true,
  too_short: true,
  too_long: true,
  wrong_length: true,
  forbidden_characters: true,
  not_an_email: true,
  too_common: true,
  unknown_field: true,
};

interface Operation {
  readonly method: "get" | "post";
  readonly path: string;
  readonly summary: string;
  /** Bearer token of a user, and what it must be. */
  readonly bearer?: string;
  readonly request?: z.ZodType;
  readonly success: { readonly status: number; readonly description: string; readonly body?: Json };
  readonly codes: readonly AccountCode[];
}

type Json = Readonly<Record<string, unknown>>;

const account = {
  type: "object",
  properties: {
    success: { const: true },
    data: {
      type: "object",
      properties: {
        uuid: { type: "string", format: "uuid" },
        email: { type: "string" },
        nickname: { type: "string" },
        roles: { type: "array", items: { type: "string" } },
        createdAt: { type: "string", format: "date-time" },
      },
      required: ["uuid", "email", "nickname", "roles", "createdAt"],
      additionalProperties: false,
    },
  },
  required: ["success", "data"],
  additionalProperties: false,
} as const;

const accepted = { type: "object", properties: { success: { const: true } }, required: ["success"] } as const;

const always = ["AUTH_RATE_LIMITED", "AUTH_INTERNAL", "AUTH_UNAVAILABLE"] as const;

function operations(config: Pick<Config, "passwordMinLength">): readonly Operation[] {
  const newPassword = newPasswordSchema(config);
  return [
    {
      method: "post",
      path: "/api/users/signup",
      summary: "Create an account.",
      request: signUpSchema(config),
      success: { status: 201, description: "The account was created.", body: account },
      codes: ["AUTH_INVALID_REQUEST", "AUTH_EMAIL_DUPLICATE", ...always],
    },
    {
      method: "get",
      path: "/api/users/me",
      summary: "The account that the token belongs to.",
      bearer: "an access token with the scope `profile`",
      success: { status: 200, description: "The account.", body: account },
      codes: always,
    },
    {
      method: "post",
      path: "/api/users/me/password",
      summary: "Change the password. It ends every session and token of the user.",
      bearer: "an access token that was issued to a first-party client",
      request: z.object({ currentPassword, newPassword }),
      success: { status: 204, description: "The password was changed." },
      codes: ["AUTH_INVALID_REQUEST", "AUTH_INVALID_CREDENTIALS", ...always],
    },
    {
      method: "post",
      path: "/api/users/me/email",
      summary: "Have a link sent to another address, which is the account's once it is verified.",
      bearer: "an access token that was issued to a first-party client",
      request: z.object({ currentPassword, email: newEmail }),
      success: {
        status: 202,
        description: "The same whether or not another account has the address.",
        body: accepted,
      },
      codes: ["AUTH_INVALID_REQUEST", "AUTH_INVALID_CREDENTIALS", ...always],
    },
    {
      method: "post",
      path: "/api/users/email-verification",
      summary: "Have a link sent that verifies the address of an account, if it has one.",
      request: z.object({ email: newEmail }),
      success: {
        status: 202,
        description: "The same whether or not the address has an account, and is verified.",
        body: accepted,
      },
      codes: ["AUTH_INVALID_REQUEST", ...always],
    },
    {
      method: "post",
      path: "/api/users/email-verification/confirm",
      summary: "Verify an address with the token of such a link. A new address is the account's from then on.",
      request: z.object({ token: linkToken }),
      success: { status: 204, description: "The address is verified." },
      codes: ["AUTH_INVALID_REQUEST", "AUTH_VERIFICATION_TOKEN_INVALID", "AUTH_EMAIL_DUPLICATE", ...always],
    },
    {
      method: "post",
      path: "/api/users/password-reset",
      summary: "Have a link to a new password sent, if the address has an account.",
      request: signUpSchema(config).pick({ email: true }),
      success: {
        status: 202,
        description: "The same whether or not the address has an account.",
        body: accepted,
      },
      codes: ["AUTH_INVALID_REQUEST", ...always],
    },
    {
      method: "post",
      path: "/api/users/password-reset/confirm",
      summary: "Set a new password with the token of such a link. It ends every session and token of the user.",
      request: z.object({ token: linkToken, newPassword }),
      success: { status: 204, description: "The password was changed." },
      codes: ["AUTH_INVALID_REQUEST", "AUTH_RESET_TOKEN_INVALID", ...always],
    },
  ];
}

/** The account API as an OpenAPI 3.1 document, made from the schemas that validate its requests and the table of its errors. */
export function apiDocument(config: Pick<Config, "issuer" | "passwordMinLength">): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const operation of operations(config)) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: describe(operation) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Account API",
      version: "1",
      description:
        "Sign-up and the user's own account. Tokens come from the OAuth endpoints, which discovery describes.",
    },
    servers: [{ url: config.issuer }],
    paths,
    components: {
      schemas: { Error: errorSchema, Refusal: refusalSchema },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
      },
    },
  };
}

const errorSchema: Json = {
  type: "object",
  properties: {
    success: { const: false },
    error: {
      type: "object",
      properties: {
        code: {
          enum: Object.keys(ACCOUNT_CODES),
          description: Object.entries(ACCOUNT_CODES)
            .map(([code, meaning]) => `- \`${code}\`: ${meaning}`)
            .join("\n"),
        },
        message: { type: "string", description: "For developers, in English." },
        details: {
          type: "array",
          items: {
            type: "object",
            properties: {
              field: { type: "string" },
              rule: { enum: Object.keys(RULES), description: "Choose the text that a user reads by field and rule." },
              message: { type: "string", description: "For developers, in English." },
            },
            required: ["field", "rule", "message"],
            additionalProperties: false,
          },
        },
      },
      required: ["code", "message"],
      additionalProperties: false,
    },
  },
  required: ["success", "error"],
  additionalProperties: false,
};

/** The gateway's table. No operation here demands more than a token: step-up is for other resource servers. */
const { insufficient_user_authentication: _, ...rows } = GATEWAY;

const refusalSchema: Json = {
  type: "object",
  properties: { error: { enum: [...new Set(Object.values(rows).map(({ error }) => error))] } },
  required: ["error"],
  additionalProperties: false,
};

function describe({ path, summary, bearer, request, success, codes }: Operation): Json {
  return {
    operationId: path.replace("/api/users/", "").replaceAll(/[/-](\w)/g, (_, letter: string) => letter.toUpperCase()),
    summary,
    ...(bearer === undefined ? {} : { description: `Needs ${bearer}.`, security: [{ bearer: [] }] }),
    ...(request === undefined
      ? {}
      : { requestBody: { required: true, content: jsonOf(z.toJSONSchema(request, { io: "input" }) as Json) } }),
    responses: {
      [success.status]: {
        description: success.description,
        ...(success.body === undefined ? {} : { content: jsonOf(success.body) }),
      },
      ...refusals(codes, bearer !== undefined),
    },
  };
}

function jsonOf({ $schema: _, ...schema }: Json): Json {
  return { "application/json": { schema } };
}

function refusals(codes: readonly AccountCode[], bearer: boolean): Record<string, Json> {
  const byStatus = new Map<number, AccountCode[]>();
  for (const code of codes) {
    for (const status of statusesOf(code)) byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const error = jsonOf({ $ref: "#/components/schemas/Error" });
  const responses = Object.fromEntries(
    [...byStatus].map(([status, named]) => [status, { description: named.join(", "), content: error }]),
  );
  if (!bearer) return responses;
  const refusal = jsonOf({ $ref: "#/components/schemas/Refusal" });
  return {
    ...responses,
    401: { description: "The token is missing, not good here, or expired.", content: refusal },
    403: { description: "The token may not do this.", content: refusal },
  };
}

/** The statuses of a code: those of the table, and of requests that are refused before their content is read. */
function statusesOf(code: AccountCode): number[] {
  if (code === "AUTH_INVALID_REQUEST") return [400, 413, 415];
  return [
    ...new Set(
      Object.values(ANSWERS)
        .filter(({ account }) => account === code)
        .map(({ status }) => status),
    ),
  ];
}
