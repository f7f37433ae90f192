import { UnsecuredJWT } from "jose";
import { walk } from "./answers.ts";
import { redirectUri } from "./clients.ts";
import { type Case, type Form, freshBrowser, type Talk } from "./talk.ts";

/** A request that is good but for these members. */
const but = (name: string, changes: Form): Case => ({ name, send: (talk) => talk.authorize(changes) });

async function signedIn(talk: Talk, changes: Form): ReturnType<Talk["authorize"]> {
  const browser = freshBrowser();
  await talk.code({}, browser);
  return talk.authorize(changes, browser);
}

export const authorizeCases: readonly Case[] = [
  but("a good request", {}),
  but("a request without openid", { scope: "profile" }),
  but("an unknown client", { client_id: "nobody" }),
  but("no client_id", { client_id: undefined }),
  but("a redirect_uri that is not registered", { redirect_uri: "https://other.example/cb" }),
  but("a redirect_uri with a query added", { redirect_uri: `${redirectUri}?a=b` }),
  but("no redirect_uri, one is registered", { redirect_uri: undefined }),
  but("no response_type", { response_type: undefined }),
  but("response_type token", { response_type: "token" }),
  but("response_type that nobody knows", { response_type: "xyz" }),
  but("no code_challenge", { code_challenge: undefined, code_challenge_method: undefined }),
  but("code_challenge_method plain", { code_challenge_method: "plain" }),
  but("code_challenge without a method", { code_challenge_method: undefined }),
  but("a code_challenge that is too short", { code_challenge: "short" }),
  but("a scope that nobody knows", { scope: "openid unheard-of" }),
  but("response_mode form_post", { response_mode: "form_post" }),
  but("response_mode fragment", { response_mode: "fragment" }),
  but("response_mode that nobody knows", { response_mode: "xyz" }),
  but("prompt=none, not signed in", { prompt: "none" }),
  { name: "prompt=none, signed in", send: (talk) => signedIn(talk, { prompt: "none" }) },
  { name: "prompt=login, signed in", send: (talk) => signedIn(talk, { prompt: "login" }) },
  { name: "max_age=0, signed in", send: (talk) => signedIn(talk, { max_age: "0" }) },
  but("prompt=none login", { prompt: "none login" }),
  but("a prompt that nobody knows", { prompt: "xyz" }),
  but("max_age that is no number", { max_age: "x" }),
  but("claims that are no JSON", { claims: "{" }),
  but("an id_token_hint that is no token", { id_token_hint: "x" }),
  but("a resource that nobody knows", { resource: "https://nobody.example/" }),
  but("a resource that is no URI", { resource: "x" }),
  but("a request object", { request: new UnsecuredJWT({ client_id: "basic" }).encode() }),
  but("a request_uri of the client's", { request_uri: "https://client.example/request" }),
  but("a request_uri that was never pushed", { request_uri: "urn:ietf:params:oauth:request_uri:nothing" }),
  but("registration", { registration: "{}" }),
  { name: "state twice", send: (talk) => talk.authorize({}, freshBrowser(), "&state=another") },
  {
    name: "a good request by POST",
    send: async (talk) => {
      const browser = freshBrowser();
      const { form } = talk.request();
      return (await walk(talk.server, await browser.post(talk.endpoint("authorization"), form), browser))[0];
    },
  },
  { name: "PUT", send: (talk) => talk.send("authorization", { method: "PUT" }) },
];
