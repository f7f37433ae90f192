import { createServer } from "node:http";
import { Provider } from "oidc-provider";
import { createInitialAccessToken } from "../../../src/oauth/clients/registration.ts";
import { freePorts, startApp } from "../../support/app.ts";
import { type Account, signUp } from "../../support/flow.ts";
import { makeKey, type TestKey } from "../../support/keys.ts";
import { initialAccessToken, type Registration, registrations, resource, secretOf } from "./clients.ts";

/** One of the two servers that get the same requests. */
export interface Server {
  readonly issuer: string;
  /** Its own discovery document: paths differ. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly account: Account;
  readonly key: TestKey;
  /** With which clients register themselves. */
  readonly registrationToken: string;
  close(): Promise<void>;
}

export async function startServers(): Promise<{ ours: Server; reference: Server }> {
  const key = await makeKey("ES256", "client-key");
  const [ours, reference] = await Promise.all([startOurs(key), startReference(key)]);
  return { ours, reference };
}

const withSecrets = (clients: Registration[]) =>
  clients.map((client) =>
    client.token_endpoint_auth_method.startsWith("client_secret")
      ? { ...client, client_secret: secretOf(client.client_id) }
      : client,
  );

async function startOurs(key: TestKey): Promise<Server> {
  const extended = withSecrets(registrations(key)).map((client) => ({
    ...client,
    // who may introspect is a scope here, and a function there
    ...(client.client_id === "service" ? { scope: "read auth.introspect" } : { resources: [resource] }),
  }));
  const app = await startApp({}, extended);
  const { token } = await createInitialAccessToken(app.context, { uses: 100, expiresIn: 3_600 });
  return {
    issuer: app.url,
    metadata: await discover(app.url),
    account: await signUp(app.url),
    key,
    registrationToken: token,
    close: () => app.close(),
  };
}

async function startReference(key: TestKey): Promise<Server> {
  const [port = 0] = await freePorts(1);
  const issuer = `http://localhost:${port}`;
  const provider = new Provider(issuer, await configuration(key));
  const handle = provider.callback();
  const server = createServer((request, response) => {
    const interaction = request.url?.startsWith("/interaction/") ?? false;
    const work = interaction ? agree(provider, request, response) : handle(request, response);
    work.catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(port, "localhost", resolve));
  return {
    issuer,
    metadata: await discover(issuer),
    account: { email: "user@example.test", password: "", nickname: "" },
    key,
    registrationToken: initialAccessToken,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function discover(issuer: string): Promise<Record<string, string>> {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  return (await response.json()) as Record<string, string>;
}

/** In place of its login and consent pages: the user signs in and allows everything. */
async function agree(provider: Provider, ...[request, response]: Parameters<ReturnType<Provider["callback"]>>) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: "user" } });
  }
  const of = { accountId: session?.accountId ?? "user", clientId: params["client_id"] ?? "" };
  const grant = (grantId === undefined ? undefined : await provider.Grant.find(grantId)) ?? new provider.Grant(of);
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes = {} } = prompt.details;
  if (missingOIDCScope !== undefined) grant.addOIDCScope(missingOIDCScope.join(" "));
  if (missingOIDCClaims !== undefined) grant.addOIDCClaims(missingOIDCClaims);
  for (const [uri, scopes] of Object.entries(missingResourceScopes)) grant.addResourceScope(uri, scopes.join(" "));
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

/** What this service does by itself, asked of the reference: PKCE for everybody, rotation, the same protocols, lives and claims. */
async function configuration(key: TestKey): Promise<object> {
  const { exportJWK } = await import("jose");
  const signing = await Promise.all(["RS256", "ES256"].map((alg) => makeKey(alg, alg)));
  const keys = signing.map(async ({ privateKey, alg }) => ({
    ...(await exportJWK(privateKey)),
    kid: alg,
    alg,
    use: "sig",
  }));
  return {
    clients: withSecrets(registrations(key)),
    jwks: { keys: await Promise.all(keys) },
    cookies: { keys: ["only for these tests"], long: { sameSite: "none" } },
    enableHttpPostMethods: true,
    scopes: ["openid", "offline_access", "profile", "email", "read"],
    claims: { openid: ["sub"], profile: ["nickname"], email: ["email", "email_verified"] },
    responseTypes: ["code"],
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async (_: unknown, client: { grantTypeAllowed(grant: string): boolean }) =>
      client.grantTypeAllowed("refresh_token"),
    findAccount: async (_: unknown, id: string) => ({
      accountId: id,
      claims: async () => ({ sub: id, nickname: "nick", email: "user@example.test", email_verified: false }),
    }),
    interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    ttl: { AccessToken: 120, AuthorizationCode: 60, IdToken: 600, RefreshToken: 2_592_000, Interaction: 3_600 },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      claimsParameter: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      dPoP: { enabled: true },
      introspection: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      registration: { enabled: true, initialAccessToken },
      registrationManagement: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: resourceServerInfo,
      },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
  };
}

async function resourceServerInfo(_: unknown, uri: string): Promise<object> {
  const { errors } = await import("oidc-provider");
  const InvalidTarget = errors["InvalidTarget"];
  if (uri === resource || InvalidTarget === undefined) {
    return { scope: "profile", audience: uri, accessTokenTTL: 120, accessTokenFormat: "jwt" };
  }
  throw new InvalidTarget();
}
