// A web app that signs in, refreshes and signs out with express-openid-connect.
import { randomBytes } from "node:crypto";
import express from "express";
import openid from "express-openid-connect";

const { PORT, ISSUER, CLIENT_ID, CLIENT_SECRET } = process.env;
const url = `http://127.0.0.1:${PORT}`;
const app = express();

app.use(
  openid.auth({
    issuerBaseURL: ISSUER,
    baseURL: url,
    clientID: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    // a client without a secret: "none"; the service's default for one with a secret is "client_secret_basic"
    clientAuthMethod: CLIENT_SECRET === undefined ? "none" : "client_secret_basic",
    // RS256 unless the client is registered for ES256
    idTokenSigningAlg: process.env.ID_TOKEN_ALG ?? "RS256",
    // encrypts the session cookie; keep it, or a restart signs everyone out
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString("hex"),
    authRequired: false,
    // signs out of the service too, not only of this app
    idpLogout: true,
    authorizationParams: { response_type: "code", scope: "openid profile email" },
    routes: { login: false, callback: "/callback", postLogoutRedirect: "/signed-out" },
  }),
);

app.get("/", (request, response) => response.json({ signedIn: request.oidc.isAuthenticated() }));
app.get("/login", (_request, response) => response.oidc.login({ returnTo: "/me" }));
app.get("/me", show);
app.post("/refresh", async (request, response) => {
  await request.oidc.accessToken.refresh();
  return show(request, response);
});
app.get("/signed-out", (_request, response) => response.redirect("/"));

async function show({ oidc }, response) {
  response.json({
    claims: oidc.idTokenClaims,
    userinfo: await oidc.fetchUserInfo(),
    accessToken: oidc.accessToken.access_token,
    refreshToken: oidc.refreshToken,
  });
}

app.use((error, _request, response, _next) =>
  response.status(error.status ?? 500).json({ error: error.message, code: error.error }),
);

app.listen(Number(PORT), "127.0.0.1");
