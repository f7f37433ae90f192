import { postJson } from "../../support/flow.ts";
import { answerOf, walk } from "./answers.ts";
import { postLogoutUri, redirectUri } from "./clients.ts";
import { type Case, type Form, freshBrowser, type Talk } from "./talk.ts";

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const form = (name: string, endpoint: string, fields: Form, clientId: string | null = "basic"): Case => ({
  name,
  send: async (talk) => answerOf(await talk.post(endpoint, fields, clientId === null ? {} : talk.basic(clientId))),
});
/** Introspection or revocation of a user's token. */
const ofUser = (
  name: string,
  endpoint: string,
  which: "access_token" | "refresh_token",
  clientId: string,
  more: Form = {},
) => ({
  name,
  send: async (talk: Talk) => {
    const token = (await talk.tokens())[which];
    return answerOf(await talk.post(endpoint, { token, ...more }, talk.basic(clientId)));
  },
});

export const tokenUseCases: readonly Case[] = [
  ofUser("introspection of an access token", "introspection", "access_token", "service"),
  ofUser("introspection of a refresh token by another client", "introspection", "refresh_token", "service"),
  form("introspection of nothing we know", "introspection", { token: "x" }, "service"),
  form("introspection without a token", "introspection", {}, "service"),
  form("introspection by a client that has to do with users only", "introspection", { token: "x" }),
  form("introspection by nobody", "introspection", { token: "x" }, null),
  {
    name: "introspection by GET",
    send: (talk) => talk.send("introspection", { query: "?token=x", headers: talk.basic() }),
  },
  ofUser("revocation of an access token", "revocation", "access_token", "basic"),
  ofUser("revocation of a refresh token", "revocation", "refresh_token", "basic", { token_type_hint: "refresh_token" }),
  ofUser("revocation of another client's token", "revocation", "access_token", "service"),
  form("revocation of nothing we know", "revocation", { token: "x" }),
  form("revocation with a hint nobody knows", "revocation", { token: "x", token_type_hint: "xyz" }),
  form("revocation without a token", "revocation", {}),
  form("revocation by nobody", "revocation", { token: "x" }, null),
  {
    name: "userinfo",
    send: async (talk) => talk.send("userinfo", { headers: bearer((await talk.tokens()).access_token) }),
  },
  {
    name: "userinfo by POST, token in the body",
    send: async (talk) => answerOf(await talk.post("userinfo", { access_token: (await talk.tokens()).access_token })),
  },
  { name: "userinfo without a token", send: (talk) => talk.send("userinfo") },
  { name: "userinfo with nothing we know", send: (talk) => talk.send("userinfo", { headers: bearer("x") }) },
  {
    name: "userinfo with the token in the query",
    send: async (talk) => talk.send("userinfo", { query: `?access_token=${(await talk.tokens()).access_token}` }),
  },
  {
    name: "userinfo with a token without openid",
    send: async (talk) =>
      talk.send("userinfo", { headers: bearer((await talk.tokens({ scope: "profile" })).access_token) }),
  },
  {
    name: "userinfo with a client's own token",
    send: async (talk) => talk.send("userinfo", { headers: bearer(await talk.serviceToken()) }),
  },
  { name: "userinfo by PUT", send: (talk) => talk.send("userinfo", { method: "PUT" }) },
];

export const metadataCases: readonly Case[] = [
  {
    name: "discovery",
    send: async ({ server }) => answerOf(await fetch(`${server.issuer}/.well-known/openid-configuration`)),
  },
  {
    name: "discovery by RFC 8414",
    send: async ({ server }) => answerOf(await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)),
  },
  {
    name: "key set",
    send: async ({ server }) => answerOf(await fetch(server.metadata["jwks_uri"] ?? "")),
  },
  {
    name: "members of a key",
    send: async ({ server }) => {
      const { keys } = (await (await fetch(server.metadata["jwks_uri"] ?? "")).json()) as { keys: object[] };
      return answerOf(Response.json(keys.find((key) => "crv" in key)));
    },
  },
  {
    name: "a path that is nothing",
    send: async ({ server }) => answerOf(await fetch(`${server.issuer}/nothing/here`)),
  },
];

const pushed = (name: string, changes: Form, clientId: string | null = "basic"): Case => ({
  name,
  send: async (talk) => {
    const { form: request } = talk.request(changes);
    const headers = clientId === null ? {} : talk.basic(clientId);
    return answerOf(await talk.post("pushed_authorization_request", request, headers));
  },
});
const logout = (name: string, fieldsOf: (hint: string) => Record<string, string>): Case => ({
  name,
  send: async (talk) => {
    const browser = freshBrowser();
    const { id_token: hint } = await talk.tokens({}, browser);
    const first = await browser.get(`${talk.endpoint("end_session")}?${new URLSearchParams(fieldsOf(hint))}`);
    const location = first.headers.get("location");
    const answer = await answerOf(first);
    return { ...answer, to: location === null ? "a page" : location.replace(talk.server.issuer, "") };
  },
});
const registered = (name: string, json: object, authorized = true): Case => ({
  name,
  send: async (talk) => {
    const headers = authorized ? bearer(talk.server.registrationToken) : {};
    return answerOf(await postJson(talk.endpoint("registration"), json, headers));
  },
});
const metadata = { redirect_uris: [redirectUri], client_name: "A client" };

export const protocolCases: readonly Case[] = [
  pushed("a pushed request", {}),
  pushed("a pushed request of nobody", {}, null),
  pushed("a pushed redirect_uri that is not registered", { redirect_uri: "https://other.example/cb" }),
  pushed("a pushed request without PKCE", { code_challenge: undefined, code_challenge_method: undefined }),
  pushed("a pushed request_uri", { request_uri: "urn:ietf:params:oauth:request_uri:x" }),
  {
    name: "a pushed request, opened",
    send: async (talk) => {
      const response = await talk.post("pushed_authorization_request", talk.request().form, talk.basic());
      const { request_uri: uri } = (await response.json()) as { request_uri: string };
      const browser = freshBrowser();
      const query = new URLSearchParams({ client_id: "basic", request_uri: uri });
      return (await walk(talk.server, await browser.get(`${talk.endpoint("authorization")}?${query}`), browser))[0];
    },
  },
  { name: "pushing by GET", send: (talk) => talk.send("pushed_authorization_request") },
  form("device authorization", "device_authorization", { client_id: "device", scope: "openid" }, null),
  form("device authorization of a client without that grant", "device_authorization", { scope: "openid" }),
  logout("logout with a hint and a registered URI", (hint) => ({
    id_token_hint: hint,
    post_logout_redirect_uri: postLogoutUri,
    state: "bye",
  })),
  logout("logout with nothing", () => ({})),
  logout("logout to a URI that is not registered", (hint) => ({
    id_token_hint: hint,
    post_logout_redirect_uri: "https://other.example/",
  })),
  logout("logout to a URI without a hint", () => ({ post_logout_redirect_uri: postLogoutUri })),
  logout("logout with a hint that is no token", () => ({ id_token_hint: "x" })),
  registered("registration", metadata),
  registered("registration without a token", metadata, false),
  registered("registration with a fragment in the redirect_uri", { redirect_uris: [`${redirectUri}#x`] }),
  registered("registration without a redirect_uri", { client_name: "A client" }),
  registered("registration for the implicit grant", {
    ...metadata,
    grant_types: ["implicit"],
    response_types: ["id_token"],
  }),
  {
    name: "a registration read back",
    send: async (talk) => {
      const headers = bearer(talk.server.registrationToken);
      const response = await postJson(talk.endpoint("registration"), metadata, headers);
      const client = (await response.json()) as Record<string, string>;
      const own = bearer(client["registration_access_token"] ?? "");
      return answerOf(await fetch(client["registration_client_uri"] ?? "", { headers: own }));
    },
  },
];
