import { claimsOf, session } from "/session.js";

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

/**
 * @param more parameters of the request, such as `acr_values`
 * @param payment what to go on with afterwards
 */
export async function startLogin({ issuer, clientId }, more = {}, payment = null) {
  const flow = { state: random(), nonce: random(), verifier: random(), payment };
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
    ...more,
  });
  location.assign(`${issuer}/oauth2/authorize?${query}`);
}

/** Asks who is signed in for a stronger or newer sign-in, and comes back to the payment. @param demand parameters of the request */
export function stepUp(config, demand, payment) {
  const { idToken, claims } = session;
  return startLogin(config, { ...demand, id_token_hint: idToken }, { ...payment, sub: claims.sub });
}

/**
 * Redeems the code of the callback.
 * @returns the payment to go on with, or null; `problem` says why there is no stronger sign-in
 * @throws Error when it is not the answer to this tab's request
 */
export async function finishLogin(api, config) {
  const answer = new URLSearchParams(location.search);
  const flow = JSON.parse(sessionStorage.getItem("flow") ?? "null");
  if (flow === null || answer.get("state") !== flow.state) {
    // the back button, after a login: the auth service answers its old request once more
    if (session.isOpen) return null;
    throw new Error("This answer belongs to no login of this tab.");
  }
  sessionStorage.removeItem("flow");
  if (answer.get("iss") !== config.issuer) throw new Error("This answer comes from another service.");
  if (answer.has("error")) {
    const problem = answer.get("error_description") ?? answer.get("error");
    if (flow.payment && session.isOpen) return { ...flow.payment, problem };
    throw new Error(problem);
  }
  const { data } = await redeem(api, config, answer.get("code") ?? "", flow);
  const claims = claimsOf(data.id_token);
  if (claims.nonce !== flow.nonce) throw new Error("This ID token belongs to another login.");
  session.start(data);
  // only the person who began the payment gets it back
  return flow.payment?.sub === claims.sub ? flow.payment : null;
}

function redeem(api, { issuer, clientId }, code, { verifier }) {
  const form = {
    grant_type: "authorization_code",
    code,
    redirect_uri: redirectUri,
    client_id: clientId,
    code_verifier: verifier,
  };
  // `repeated`: a refused code is no expired token, which a refresh would help
  return api.post(`${issuer}/oauth2/token`, new URLSearchParams(form), { repeated: true });
}

/** Signs out of the portal in every tab, and of the auth service (OpenID Connect RP-Initiated Logout 1.0). */
export function logOut({ issuer, clientId }) {
  const { idToken } = session;
  // pressed twice: the browser is on its way
  if (idToken === null) return;
  const query = new URLSearchParams({
    id_token_hint: idToken,
    client_id: clientId,
    post_logout_redirect_uri: `${location.origin}/`,
  });
  session.end();
  location.assign(`${issuer}/connect/logout?${query}`);
}
