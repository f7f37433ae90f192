import { toJson } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import {
  AuthorizeResponseSchema,
  IntrospectionService,
  IntrospectResponseSchema,
} from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import type { TestApp } from "./app.ts";
import { authorizeUrl, internalBasic, postForm, postJson, TestBrowser } from "./flow.ts";
import { assertionType } from "./keys.ts";

/** Everything of this service that is sent a token by somebody who may not be trusted. */

export const kinds = [
  "access",
  "own access",
  "refresh",
  "id",
  "logout",
  "reset",
  "device code",
  "client assertion",
  "DPoP proof",
  "introspection",
] as const;
export type Kind = (typeof kinds)[number];

export interface Verifier {
  readonly name: string;
  /** What it is for. */
  readonly takes: readonly Kind[];
  /** Its answer, as text. A token that HTTP cannot carry there: null. */
  send(token: string): Promise<string | null>;
  readonly refusal: string;
  /** Of a token too long for a header, a body or a message. */
  readonly tooLong: string;
}

/** The client that tokens of users are issued to in the battery. */
export const app = { clientId: "app", redirectUri: "https://app.example/cb", afterLogout: "https://app.example/out" };
const basic = { authorization: `Basic ${btoa("app:the+secret+of+app")}` };
export const appClient = {
  client_id: app.clientId,
  client_secret: "the secret of app",
  redirect_uris: [app.redirectUri],
  post_logout_redirect_uris: [app.afterLogout],
  grant_types: [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
  ],
  scope: "openid profile auth.introspect",
  first_party: true,
  refresh_token_rotation: false,
  id_token_signed_response_alg: "ES256",
  token_exchange_audiences: ["orders"],
};

let network = 0;
/** Wrong assertions count by network. */
const elsewhere = () => {
  network++;
  return { "x-forwarded-for": `10.${network >> 16}.${(network >> 8) & 255}.${network & 255}` };
};

/** Header fields hold visible characters, and spaces between them (RFC 9110 section 5.5). */
const fitsHeader = (token: string) => /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(token);

async function text(answering: Promise<Response>): Promise<string> {
  const response = await answering;
  const body = await response.text();
  // the listener itself, before any handler
  if (response.status === 431) return "431";
  const challenge = response.headers.get("www-authenticate") ?? "";
  const named = /error="([^"]+)"/.exec(challenge)?.[1];
  return `${response.status} ${body}${named === undefined ? "" : ` ${named}`}`;
}
async function error(answering: Promise<Response>): Promise<string> {
  const response = await answering;
  const text = await response.text();
  const body = (text === "" ? {} : JSON.parse(text)) as { error?: string | { code: string } };
  return `${response.status} ${typeof body.error === "object" ? body.error.code : body.error}`;
}
async function rpc(calling: Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify(await calling);
  } catch (thrown) {
    const status = ConnectError.from(thrown);
    return `${Code[status.code]} ${status.findDetails(ErrorDetailSchema)[0]?.code}`;
  }
}

const bearerRefusal = '401 {"error":"Invalid Token"} invalid_token';
const inHeader = { refusal: bearerRefusal, tooLong: "431" };
const inForm = (refusal: string) => ({ refusal, tooLong: "413 invalid_request" });
const anyLength = (refusal: string) => ({ refusal, tooLong: refusal });
const tooLargeBody = '413 {"error":"invalid_request","error_description":"the body is larger than 64 KiB"}';
const access: readonly Kind[] = ["access", "own access"];
const operator = { headers: { authorization: internalBasic } };
const secret = { clientId: app.clientId, clientSecret: "the secret of app" };
const transportTo = (grpc: string) => createGrpcTransport({ baseUrl: `http://${grpc}`, idleConnectionTimeoutMs: 100 });

/** @param browser signed in */
export function verifiersOf(service: TestApp, browser: TestBrowser): Verifier[] {
  return [
    ...ofAccessTokens(service),
    ...revocations(service),
    ...overGrpc(service),
    ...ofOtherTokens(service, browser),
  ];
}

/** These answer alike whatever they are sent: the log tells whether anything was revoked. */
function revocations({ url, grpc, logs }: TestApp): Verifier[] {
  const tokens = createClient(TokenService, transportTo(grpc));
  const watched = async (sending: () => Promise<string>) => {
    const from = logs.length;
    const answer = await sending();
    const revoked = logs.slice(from).some((line) => /"event":"[a-z_]*_revoked"/.test(line));
    return `${answer} ${revoked ? "revoked" : "nothing revoked"}`;
  };
  const takes = [...access, "refresh"] as const;
  return [
    {
      name: "revocation",
      takes,
      send: (token) => watched(() => text(postForm(`${url}/oauth2/revoke`, { token }, basic))),
      refusal: "200  nothing revoked",
      tooLong: `${tooLargeBody} nothing revoked`,
    },
    {
      name: "RevokeToken",
      takes,
      send: (token) => watched(() => rpc(tokens.revokeToken({ token, ...secret }, operator).then(() => ({})))),
      ...anyLength("{} nothing revoked"),
    },
  ];
}

function ofAccessTokens({ url, internalUrl }: TestApp): Verifier[] {
  const byHeader =
    (path: string, init: RequestInit = {}) =>
    async (token: string) => {
      const headers = { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` };
      return fitsHeader(token) ? text(fetch(path, { ...init, headers })) : null;
    };
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
  const form = { method: "POST", body: new URLSearchParams({ token: "x" }) };
  return [
    { name: "UserInfo, header", takes: ["access"], send: byHeader(`${url}/userinfo`), ...inHeader },
    {
      name: "UserInfo, body",
      takes: ["access"],
      send: (token) => text(postForm(`${url}/userinfo`, { access_token: token })),
      refusal: bearerRefusal,
      tooLong: tooLargeBody,
    },
    { name: "/api/users/me", takes: ["access"], send: byHeader(`${url}/api/users/me`), ...inHeader },
    {
      name: "/api/users/me/password",
      takes: ["access"],
      send: byHeader(`${url}/api/users/me/password`, json),
      ...inHeader,
    },
    {
      name: "HTTP introspection",
      takes: [...access, "refresh"],
      send: (token) => text(postForm(`${url}/oauth2/introspect`, { token }, basic)),
      refusal: '200 {"active":false}',
      tooLong: tooLargeBody,
    },
    {
      name: "HTTP introspection, its caller",
      takes: ["own access"],
      send: byHeader(`${url}/oauth2/introspect`, form),
      ...inHeader,
    },
    {
      name: "Connect, its caller",
      takes: ["own access"],
      send: async (token) => {
        const path = `${internalUrl}/auth.v1.IntrospectionService/Introspect`;
        const headers = { authorization: `Bearer ${token}` };
        if (!fitsHeader(token)) return null;
        const response = await postJson(path, { token: "x" }, headers);
        if (response.status === 431) return "431";
        const body = await response.text();
        return `${response.status} ${/"message":"([^"]*)"/.exec(body)?.[1] ?? body}`;
      },
      refusal: "401 Invalid Token",
      tooLong: "431",
    },
    {
      name: "token exchange",
      takes: access,
      send: (token) =>
        error(
          postForm(
            `${url}/oauth2/token`,
            {
              grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
              subject_token: token,
              subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
              audience: "orders",
            },
            basic,
          ),
        ),
      ...inForm("400 invalid_request"),
    },
  ];
}

function overGrpc({ grpc }: TestApp): Verifier[] {
  const transport = transportTo(grpc);
  const introspection = createClient(IntrospectionService, transport);
  const tokens = createClient(TokenService, transport);
  const users = createClient(UserService, transport);
  return [
    {
      name: "Introspect",
      takes: access,
      send: (token) =>
        rpc(introspection.introspect({ token }, operator).then((it) => toJson(IntrospectResponseSchema, it))),
      ...anyLength("{}"),
    },
    {
      name: "BatchIntrospect",
      takes: access,
      send: (token) =>
        rpc(
          introspection
            .batchIntrospect({ tokens: ["x", token] }, operator)
            .then(({ responses: [, second] }) => second && toJson(IntrospectResponseSchema, second)),
        ),
      ...anyLength("{}"),
    },
    {
      name: "Authorize",
      takes: access,
      send: (token) =>
        rpc(introspection.authorize({ token }, operator).then((it) => toJson(AuthorizeResponseSchema, it))),
      ...anyLength('{"httpStatus":401,"error":"Invalid Token"}'),
    },
    {
      name: "gRPC, its caller",
      takes: ["own access"],
      send: async (token) => {
        const headers = { authorization: `Bearer ${token}` };
        return fitsHeader(token) && token.length < 12_000
          ? rpc(introspection.introspect({ token: "x" }, { headers }))
          : null;
      },
      ...anyLength("Unauthenticated Invalid Token"),
    },
    {
      name: "IssueToken, refresh",
      takes: ["refresh"],
      send: (token) => rpc(tokens.issueToken({ grantType: "refresh_token", refreshToken: token, ...secret }, operator)),
      ...anyLength("FailedPrecondition invalid_grant"),
    },
    {
      name: "ResetPassword",
      takes: ["reset"],
      send: (token) => rpc(users.resetPassword({ token, newPassword: "another good password" }, operator)),
      ...anyLength("FailedPrecondition AUTH_RESET_TOKEN_INVALID"),
    },
  ];
}

function ofOtherTokens({ url }: TestApp, browser: TestBrowser): Verifier[] {
  const atToken = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    error(postForm(`${url}/oauth2/token`, form, headers));
  return [
    {
      name: "refresh",
      takes: ["refresh"],
      send: (token) => atToken({ grant_type: "refresh_token", refresh_token: token }, basic),
      ...inForm("400 invalid_grant"),
    },
    {
      name: "id_token_hint at the authorization endpoint",
      takes: ["id"],
      send: async (token) => {
        const extra = { prompt: "none", id_token_hint: token };
        const response = await browser.get(authorizeUrl(url, { ...app, scope: "openid", extra }));
        if (response.status === 414) return "414";
        const location = new URL(response.headers.get("location") ?? "", url);
        return `${response.status} ${location.searchParams.get("error") ?? ""}`;
      },
      refusal: "302 login_required",
      tooLong: "414",
    },
    {
      name: "id_token_hint at logout",
      takes: ["id"],
      send: async (token) => {
        // without a hint that counts, no client is named that has registered the URI
        const form = { id_token_hint: token, post_logout_redirect_uri: app.afterLogout };
        const response = await new TestBrowser().get(`${url}/connect/logout?${new URLSearchParams(form)}`);
        return `${response.status} ${response.headers.get("location") ?? ""}`;
      },
      refusal: "400 ",
      tooLong: "414 ",
    },
    {
      name: "client assertion",
      takes: ["client assertion"],
      send: (token) => {
        const form = {
          grant_type: "client_credentials",
          client_assertion_type: assertionType,
          client_assertion: token,
        };
        return atToken({ client_id: "keyed", ...form }, elsewhere());
      },
      ...inForm("401 invalid_client"),
    },
    {
      name: "password reset",
      takes: ["reset"],
      send: (token) =>
        error(postJson(`${url}/api/users/password-reset/confirm`, { token, newPassword: "another good password" })),
      refusal: "400 AUTH_RESET_TOKEN_INVALID",
      tooLong: "413 AUTH_INVALID_REQUEST",
    },
    {
      name: "device code",
      takes: ["device code"],
      send: (token) =>
        atToken({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: token }, basic),
      ...inForm("400 invalid_grant"),
    },
    {
      name: "DPoP proof",
      takes: ["DPoP proof"],
      send: async (token) =>
        fitsHeader(token) && token.length < 12_000
          ? atToken({ grant_type: "client_credentials", scope: "profile" }, { ...basic, dpop: token })
          : null,
      refusal: "400 invalid_dpop_proof",
      tooLong: "431",
    },
  ];
}
