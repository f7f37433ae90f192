import { makeKey, withAssertion } from "../../support/keys.ts";
import { answerOf } from "./answers.ts";
import { deviceGrant, resource, secretOf } from "./clients.ts";
import type { Case, Form, Talk } from "./talk.ts";

/** A fresh code's redemption but for these members. */
const redeemed = (name: string, changes: Form, headers?: (talk: Talk) => Record<string, string>): Case => ({
  name,
  send: async (talk) => talk.token({ ...(await talk.code()).form, ...changes }, headers?.(talk) ?? talk.basic()),
});
const asked = (name: string, form: Form, headers?: (talk: Talk) => Record<string, string>): Case => ({
  name,
  send: (talk) => talk.token(form, headers?.(talk) ?? talk.basic()),
});
const none = () => ({});
const service = { grant_type: "client_credentials" };
const as = (clientId: string, secret?: string) => (talk: Talk) => talk.basic(clientId, secret);

export const tokenCases: readonly Case[] = [
  redeemed("a code", {}),
  {
    name: "a code of a public client",
    send: async (talk) => talk.token({ ...(await talk.code({ client_id: "public" })).form, client_id: "public" }, {}),
  },
  {
    name: "a code without openid",
    send: async (talk) => talk.token((await talk.code({ scope: "profile" })).form),
  },
  {
    name: "a code for a resource",
    send: async (talk) => talk.token((await talk.code({ resource })).form),
  },
  {
    name: "a code a second time",
    send: async (talk) => {
      const { form } = await talk.code();
      await talk.token(form);
      return talk.token(form);
    },
  },
  redeemed("a wrong code_verifier", { code_verifier: "w".repeat(43) }),
  redeemed("a code_verifier that is too short", { code_verifier: "w" }),
  redeemed("no code_verifier", { code_verifier: undefined }),
  redeemed("another redirect_uri", { redirect_uri: "https://client.example/other" }),
  redeemed("no redirect_uri", { redirect_uri: undefined }),
  redeemed("another client's code", { client_id: "post", client_secret: secretOf("post") }, none),
  redeemed("no code", { code: undefined }),
  asked("a code that nobody gave", {
    grant_type: "authorization_code",
    code: "x".repeat(43),
    redirect_uri: "https://client.example/cb",
    code_verifier: "v".repeat(43),
  }),
  asked("no grant_type", {}),
  asked("a grant_type that nobody knows", { grant_type: "xyz" }),
  asked("the password grant", { grant_type: "password", username: "a", password: "b" }),
  asked("a grant that is not the client's", service),
  { name: "GET", send: (talk) => talk.send("token") },
  {
    name: "a body of plain text",
    send: (talk) =>
      talk.send("token", {
        method: "POST",
        body: "grant_type=client_credentials",
        headers: { ...talk.basic("service"), "content-type": "text/plain" },
      }),
  },
  {
    name: "a JSON body",
    send: (talk) =>
      talk.send("token", {
        method: "POST",
        body: JSON.stringify(service),
        headers: { ...talk.basic("service"), "content-type": "application/json" },
      }),
  },
  {
    name: "grant_type twice",
    send: (talk) =>
      talk.send("token", {
        method: "POST",
        body: "grant_type=client_credentials&grant_type=client_credentials",
        headers: { ...talk.basic("service"), "content-type": "application/x-www-form-urlencoded" },
      }),
  },
  asked("client credentials", service, as("service")),
  asked("client credentials with a scope that nobody knows", { ...service, scope: "unheard-of" }, as("service")),
  asked("a device_code that nobody gave", { grant_type: deviceGrant, device_code: "x", client_id: "device" }, none),
  {
    name: "a device_code nobody has decided about",
    send: async (talk) => {
      const response = await talk.post("device_authorization", { client_id: "device", scope: "openid" });
      const { device_code: code } = (await response.json()) as { device_code: string };
      return talk.token({ grant_type: deviceGrant, device_code: code, client_id: "device" }, {});
    },
  },
];

const refreshed = (name: string, changes: Form, headers?: (talk: Talk) => Record<string, string>): Case => ({
  name,
  send: async (talk) => {
    const { refresh_token: token } = await talk.tokens();
    return talk.token(
      { grant_type: "refresh_token", refresh_token: token, ...changes },
      headers?.(talk) ?? talk.basic(),
    );
  },
});

export const refreshCases: readonly Case[] = [
  refreshed("a refresh token", {}),
  refreshed("a narrower scope", { scope: "openid" }),
  refreshed("a wider scope", { scope: "openid profile email" }),
  refreshed("a token that nobody gave", { refresh_token: "x" }),
  refreshed("no token", { refresh_token: undefined }),
  refreshed("another client's token", { client_id: "post", client_secret: secretOf("post") }, none),
  {
    name: "a token that was replaced a moment ago",
    send: async (talk) => {
      const { refresh_token: token } = await talk.tokens();
      const form = { grant_type: "refresh_token", refresh_token: token };
      await talk.token(form);
      return talk.token(form);
    },
  },
];

export const clientCases: readonly Case[] = [
  asked("a wrong secret in the header", service, as("service", "wrong")),
  asked("a wrong secret in the body", { ...service, client_id: "post", client_secret: "wrong" }, none),
  asked("an unknown client", service, as("nobody", "x")),
  asked("no client", service, none),
  asked("a confidential client without its secret", { ...service, client_id: "service" }, none),
  asked(
    "a secret in header and body",
    { ...service, client_id: "service", client_secret: secretOf("service") },
    as("service"),
  ),
  asked(
    "the body for a client of the header",
    { ...service, client_id: "service", client_secret: secretOf("service") },
    none,
  ),
  asked("Basic that is no base64", service, () => ({ authorization: "Basic %%%" })),
  asked("a scheme that nobody knows", service, () => ({ authorization: "Digest x" })),
  {
    name: "an assertion",
    send: async (talk) =>
      talk.token({ grant_type: "refresh_token", refresh_token: "x", ...(await talk.assertion()) }, {}),
  },
  {
    name: "an assertion signed with another key",
    send: async (talk) => {
      const forged = await withAssertion(await makeKey("ES256", "client-key"), "keyed", talk.server.issuer);
      return talk.token({ ...service, client_id: "keyed", ...forged }, {});
    },
  },
  {
    name: "an assertion used twice",
    send: async (talk) => {
      const form = { grant_type: "refresh_token", refresh_token: "x", ...(await talk.assertion()) };
      await talk.token(form, {});
      return answerOf(await talk.post("token", form));
    },
  },
];
