// A web app that signs in with Better Auth and its plugin for any provider.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { genericOAuth } from "better-auth/plugins";

const { PORT, ISSUER, CLIENT_SECRET, BETTER_AUTH_SECRET } = process.env;
const url = `http://127.0.0.1:${PORT}`;

export const auth = betterAuth({
  baseURL: url,
  secret: BETTER_AUTH_SECRET,
  // your database
  database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
  plugins: [
    genericOAuth({
      config: [
        {
          // a part of the redirect URI: /api/auth/callback/auth-service
          providerId: "auth-service",
          discoveryUrl: `${ISSUER}/.well-known/openid-configuration`,
          clientId: "better-auth",
          clientSecret: CLIENT_SECRET,
          scopes: ["openid", "profile", "email"],
          pkce: true,
          // no login where the discovery document was not to be had and ID tokens could not be verified
          requireIdTokenVerification: true,
          // the service has nicknames, Better Auth requires a name
          mapProfileToUser: ({ nickname }) => ({ name: nickname }),
          // where the service sends the browser after signing out
          postLogoutRedirectURI: "/signed-out",
        },
      ],
    }),
  ],
});

const handle = toNodeHandler(auth);
createServer((request, response) => {
  if (request.url.startsWith("/api/auth/")) handle(request, response);
  else response.end();
}).listen(Number(PORT), "127.0.0.1");
