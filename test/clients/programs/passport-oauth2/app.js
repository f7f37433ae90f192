// A web app that signs in, refreshes and signs out with Passport and its OAuth 2.0 strategy.
import { randomBytes } from "node:crypto";
import express from "express";
import session from "express-session";
import passport from "passport";
import OAuth2Strategy from "passport-oauth2";

const { PORT, ISSUER, CLIENT_ID, CLIENT_SECRET = "" } = process.env;
const url = `http://127.0.0.1:${PORT}`;
const service = await (await fetch(`${ISSUER}/.well-known/openid-configuration`)).json();

const strategy = new OAuth2Strategy(
  {
    authorizationURL: service.authorization_endpoint,
    tokenURL: service.token_endpoint,
    clientID: CLIENT_ID,
    // sent in the body: register the client with "client_secret_post", or name no method
    clientSecret: CLIENT_SECRET,
    callbackURL: `${url}/callback`,
    scope: ["openid", "profile", "email"],
    // both are off unless they are asked for, and the service takes no request without PKCE
    pkce: true,
    state: true,
  },
  (accessToken, refreshToken, { id_token: idToken }, profile, done) =>
    done(null, { accessToken, refreshToken, idToken, profile }),
);
// the strategy knows no ID tokens: who signed in is asked of the service
strategy.userProfile = async (accessToken, done) => {
  const answer = await fetch(service.userinfo_endpoint, { headers: { authorization: `Bearer ${accessToken}` } });
  if (answer.ok) done(null, await answer.json());
  else done(new Error(`userinfo answered ${answer.status}`));
};
passport.use(strategy);
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));

const app = express();
app.use(session({ secret: randomBytes(32).toString("hex"), resave: false, saveUninitialized: false }));
app.use(passport.session());

app.get("/", (request, response) => response.json({ signedIn: request.isAuthenticated() }));
app.get("/login", passport.authenticate("oauth2"));
app.get("/callback", passport.authenticate("oauth2", { failWithError: true }), show);
app.post("/refresh", (request, response, next) => {
  const { user } = request;
  const more = { grant_type: "refresh_token" };
  strategy._oauth2.getOAuthAccessToken(user.refreshToken, more, async (error, accessToken, refreshToken) => {
    if (error) return next(error);
    Object.assign(user, { accessToken, refreshToken });
    request.session.passport.user = user;
    await show(request, response);
  });
});
app.get("/logout", (request, response, next) => {
  const { idToken } = request.user;
  request.logout((error) => {
    if (error) return next(error);
    const query = new URLSearchParams({ id_token_hint: idToken, post_logout_redirect_uri: `${url}/signed-out` });
    response.redirect(`${service.end_session_endpoint}?${query}`);
  });
});
app.get("/signed-out", (_request, response) => response.redirect("/"));

async function show({ user }, response) {
  const { accessToken, refreshToken, profile } = user;
  response.json({ userinfo: profile, accessToken, refreshToken });
}

app.use((error, _request, response, _next) =>
  response.status(400).json({ error: error.message, detail: error.oauthError?.data ?? error.data }),
);

app.listen(Number(PORT), "127.0.0.1");
