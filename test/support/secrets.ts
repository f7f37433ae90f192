import { rotateClientSecret } from "../../src/oauth/clients/clients.ts";
import { createInitialAccessToken } from "../../src/oauth/clients/registration.ts";
import type { TestApp } from "./app.ts";
import {
  authorizeUrl,
  getCode,
  patiently,
  pkce,
  postForm,
  postJson,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "./flow.ts";
import { type TestKey, withAssertion } from "./keys.ts";
import { resetEvents, until } from "./resets.ts";

/** Clients that between them are given every kind of secret there is. */
export const secretClients = (key: TestKey) => [
  { client_id: "rotating", redirect_uris: ["https://rotating.example/cb"], scope: "openid", first_party: true },
  { client_id: "tv", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], scope: "openid" },
  {
    client_id: "posting",
    client_secret: "the secret of posting",
    token_endpoint_auth_method: "client_secret_post",
    redirect_uris: ["https://posting.example/cb"],
    grant_types: ["authorization_code", "client_credentials"],
    scope: "read",
  },
  {
    client_id: "keyed",
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [key.jwk] },
    grant_types: ["client_credentials"],
    scope: "read",
  },
];

/** Uses every way to get something from the service that opens something. @returns all of it, by name */
export async function everySecret(
  apps: readonly TestApp[],
  key: TestKey,
  logins: number,
): Promise<Map<string, string>> {
  const [app] = apps;
  if (app === undefined) throw new Error("no app");
  const bases = apps.map(({ url }) => url);
  const base = (n: number) => bases[n % bases.length] ?? "";
  const secrets = new Map<string, string>();
  const add = (name: string, value: unknown) => {
    if (typeof value !== "string" || value.length < 8) throw new Error(`${name} is no secret: ${value}`);
    secrets.set(`${name} ${secrets.size}`, value);
  };
  const addTokens = (tokens: Partial<Tokens>) => {
    for (const name of ["access_token", "refresh_token", "id_token"] as const) {
      const token = tokens[name];
      if (token === undefined) continue;
      add(name, token);
      add(`signature of ${name}`, token.split(".")[2]);
    }
  };
  const json = async (asking: () => Promise<Response>) => {
    const response = await patiently(asking);
    if (!response.ok) throw new Error(`${response.url} answered ${response.status} ${await response.text()}`);
    return (await response.json()) as Record<string, string>;
  };

  const account = await signUp(base(0), { password: "a password nobody should find" });
  add("password", account.password);
  const signedIn = new TestBrowser();
  for (let n = 0; n < logins; n++) {
    // a tenth with the password, the rest with the session it began
    const browser = n % 10 === 0 ? new TestBrowser() : signedIn;
    const rotating = { clientId: "rotating", redirectUri: "https://rotating.example/cb", scope: "openid", browser };
    const { code, verifier } = await getCode(bases, account, rotating);
    add("code", code);
    add("verifier", verifier);
    const form = { grant_type: "authorization_code", client_id: "rotating", code, code_verifier: verifier };
    const tokens = (await json(() => postForm(`${base(n)}/oauth2/token`, form))) as unknown as Tokens;
    addTokens(tokens);
    if (n % 10 === 0) addTokens(await json(() => refresh(base(n), tokens.refresh_token, { client_id: "rotating" })));
    for (const cookie of browser.cookies.values()) add("cookie", cookie);
  }
  const pending = new TestBrowser();
  await pending.get(authorizeUrl(base(0)));
  for (const cookie of pending.cookies.values()) add("cookie of a browser nobody signed in with", cookie);

  add("client secret", "the secret of posting");
  add("client secret", "internal-service-secret");
  const posting = { client_id: "posting", client_secret: "the secret of posting" };
  addTokens(await json(() => postForm(`${base(0)}/oauth2/token`, { grant_type: "client_credentials", ...posting })));
  const assertion = await withAssertion(key, "keyed", app.env["ISSUER"] ?? "");
  add("client assertion", assertion["client_assertion"]);
  addTokens(await json(() => postForm(`${base(0)}/oauth2/token`, { grant_type: "client_credentials", ...assertion })));
  const pushed = await json(() =>
    postForm(`${base(0)}/oauth2/par`, {
      ...posting,
      response_type: "code",
      redirect_uri: "https://posting.example/cb",
      code_challenge: pkce().challenge,
      code_challenge_method: "S256",
    }),
  );
  add("request_uri", pushed["request_uri"]);
  const device = await json(() => postForm(`${base(0)}/oauth2/device_authorization`, { client_id: "tv" }));
  add("device code", device["device_code"]);
  add("user code", device["user_code"]);
  add("user code as it is compared", device["user_code"]?.replace("-", ""));

  const initial = await createInitialAccessToken(app.context, { uses: 2, expiresIn: 3_600 });
  add("initial access token", initial.token);
  const authorization = `Bearer ${initial.token}`;
  const registered = await json(() =>
    postJson(
      `${base(0)}/oauth2/register`,
      { redirect_uris: ["https://x.example/cb"], token_endpoint_auth_method: "client_secret_basic" },
      { authorization },
    ),
  );
  add("registered client's secret", registered["client_secret"]);
  add("registration access token", registered["registration_access_token"]);
  add("generated client secret", (await rotateClientSecret(app.context, "posting", 3_600)).clientSecret);
  add("reset token", await resetTokenOf(apps, account.email));
  return secrets;
}

async function resetTokenOf(apps: readonly TestApp[], email: string): Promise<string> {
  await patiently(() => postJson(`${apps[0]?.url}/api/users/password-reset`, { email }));
  const event = await until(() => apps.flatMap((app) => resetEvents(app, email))[0]);
  return event.payload["resetToken"] ?? "";
}
