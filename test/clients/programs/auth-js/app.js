// A web app that signs in with Auth.js on Express.
import { Auth, skipCSRFCheck } from "@auth/core";
import { ExpressAuth } from "@auth/express";
import express from "express";

const { PORT, ISSUER, CLIENT_SECRET, AUTH_SECRET } = process.env;

const config = {
  basePath: "/auth",
  // encrypts the session cookie
  secret: AUTH_SECRET,
  trustHost: true,
  providers: [
    {
      // a part of the redirect URI: /auth/callback/auth-service
      id: "auth-service",
      name: "your account",
      type: "oidc",
      issuer: ISSUER,
      clientId: "auth-js",
      clientSecret: CLIENT_SECRET,
      checks: ["pkce", "state", "nonce"],
      // the claims of the user are at /userinfo, not in the ID token
      idToken: false,
      // the service has nicknames, Auth.js shows names
      profile: ({ sub, nickname, email }) => ({ id: sub, name: nickname, email }),
    },
  ],
  callbacks: {
    // what the session cookie keeps, encrypted
    async jwt({ token, account, profile }) {
      if (account) return { ...token, sub: account.providerAccountId, roles: profile.roles, ...tokensOf(account) };
      return Date.now() / 1000 < token.expiresAt - 30 ? token : refreshed(token);
    },
    // what scripts of the browser may read at /auth/session
    session: ({ session, token }) => ({ ...session, user: { ...session.user, id: token.sub, roles: token.roles } }),
  },
};

/** @param answer of the token endpoint, or the account that Auth.js made of it */
function tokensOf({ access_token, refresh_token, id_token, expires_in, expires_at }) {
  const expiresAt = expires_at ?? Math.floor(Date.now() / 1000) + expires_in;
  return { accessToken: access_token, refreshToken: refresh_token, idToken: id_token, expiresAt };
}

/** Null ends the session: the user has signed out of the service. Auth.js has no refresh of its own. */
async function refreshed(token) {
  const answer = await fetch(`${ISSUER}/oauth2/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`auth-js:${encodeURIComponent(CLIENT_SECRET)}`)}` },
    body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: token.refreshToken }),
  }).catch(() => null);
  // the service is away, or busy: the next request tries again
  if (answer === null || answer.status >= 429) return token;
  const body = await answer.json();
  if (answer.ok) return { ...token, ...tokensOf(body) };
  if (body.error === "invalid_grant") return null;
  throw new Error(`the refresh was refused: ${body.error} ${body.error_description}`);
}

/**
 * An action of Auth.js for this request. `getSession` of @auth/express throws the new cookie away, and with it the new refresh token: the old
 * one, used again, is then taken for stolen.
 * @returns what the session cookie keeps, null where nobody is signed in
 */
async function act(action, request, response, method = "GET") {
  let kept = null;
  const session = (both) => {
    kept = both.token;
    return config.callbacks.session(both);
  };
  const asked = new Request(`${originOf(request)}/auth/${action}`, {
    method,
    headers: { cookie: request.headers.cookie ?? "" },
  });
  // forms of other sites bring no session cookie, which is SameSite=Lax
  const answer = await Auth(asked, { ...config, skipCSRFCheck, callbacks: { ...config.callbacks, session } });
  response.append("set-cookie", answer.headers.getSetCookie());
  return kept;
}

/** As Auth.js makes the redirect URI. */
const originOf = (request) => `${request.protocol}://${request.get("host")}`;

const app = express();

// behind a proxy: whose X-Forwarded-Proto counts; the proxy must pass the browser's Host on, too
app.set("trust proxy", "loopback");
app.use("/auth", ExpressAuth(config));

app.post("/sign-out", async (request, response) => {
  const kept = await act("session", request, response);
  await act("signout", request, response, "POST");
  if (kept === null) return response.redirect(303, "/signed-out");
  // signs out of the service too, not only of this app
  const back = { id_token_hint: kept.idToken, post_logout_redirect_uri: `${originOf(request)}/signed-out` };
  return response.redirect(303, `${ISSUER}/connect/logout?${new URLSearchParams(back)}`);
});

app.get("/me", async (request, response) => {
  const kept = await act("session", request, response);
  if (kept === null) return response.redirect("/auth/signin?callbackUrl=/me");
  return response.json({ id: kept.sub, name: kept.name, roles: kept.roles, accessToken: kept.accessToken });
});

app.get("/signed-out", (_request, response) => response.send("signed out"));

app.listen(Number(PORT), "127.0.0.1");
