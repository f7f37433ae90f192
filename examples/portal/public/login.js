import { session } from "/session.js";

/** Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636): the parts in the browser. */

const redirectUri = `${location.origin}/callback`;

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

export async function startLogin({ issuer, clientId }) {
  const flow = { state: random(), nonce: random(), verifier: random() };
  sessionStorage.setItem("flow", JSON.stringify(flow));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(flow.verifier));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: clientId,
    redirect_uri: redirectUri,
    scope: "openid profile read write",
    state: flow.state,
    nonce: flow.nonce,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${issuer}/oauth2/authorize?${query}`);
}

/** Redeems the code of the callback. @throws Error when it is not the answer to this tab's request */
export async function finishLogin(api, { issuer, clientId }) {
  const answer = new URLSearchParams(location.search);
  const flow = JSON.parse(sessionStorage.getItem("flow") ?? "null");
  sessionStorage.removeItem("flow");
  if (flow === null || answer.get("state") !== flow.state)
    throw new Error("This answer belongs to no login of this tab.");
  if (answer.get("iss") !== issuer) throw new Error("This answer comes from another service.");
  if (answer.has("error")) throw new Error(answer.get("error_description") ?? answer.get("error"));
  const { data } = await api.post(
    `${issuer}/oauth2/token`,
    new URLSearchParams({
      grant_type: "authorization_code",
      code: answer.get("code") ?? "",
      redirect_uri: redirectUri,
      client_id: clientId,
      code_verifier: flow.verifier,
    }),
  );
  const payload = data.id_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  if (JSON.parse(atob(payload)).nonce !== flow.nonce) throw new Error("This ID token belongs to another login.");
  session.start(data);
}

export function logOut({ issuer }) {
  const query = new URLSearchParams({
    id_token_hint: session.idToken,
    post_logout_redirect_uri: `${location.origin}/`,
  });
  session.end();
  location.assign(`${issuer}/connect/logout?${query}`);
}
