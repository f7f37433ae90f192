import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { updateUser } from "../../src/users/users.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, claimsOf, pkce, postForm, signUp, TestBrowser, type Tokens } from "../support/flow.ts";
import { until } from "../support/resets.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { cache, hasMaven, make, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const withKeycloak: (name: string, work: () => Promise<void>) => void = hasMaven()
  ? (name, work) => it(name, work, 2 * minutes)
  : (name) => skip(name, "Java 17 and Maven");

const version = "26.7.3";
const shop = { client_id: "shop", redirect_uri: "https://shop.example.com/callback" };
const signedOut = "https://shop.example.com/signed-out";

/** Fetches Keycloak once. @returns its folder */
async function fetchKeycloak(): Promise<string> {
  const unpacked = join(cache, "keycloak");
  const folder = join(unpacked, `keycloak-${version}`);
  if (existsSync(join(folder, "complete"))) return folder;
  rmSync(unpacked, { recursive: true, force: true });
  mkdirSync(unpacked, { recursive: true });
  const artifact = `org.keycloak:keycloak-quarkus-dist:${version}:zip`;
  await make(unpacked, "mvn", "-q", "-B", "dependency:unpack", `-Dartifact=${artifact}`, "-DoutputDirectory=.");
  writeFileSync(join(folder, "complete"), "");
  return folder;
}

describe("Keycloak as a broker", () => {
  let app: TestApp;
  let keycloak: Awaited<ReturnType<typeof startProgram>>;
  let realm: string;
  const admin = { username: "admin", password: randomBytes(16).toString("hex") };

  beforeAll(async () => {
    if (!hasMaven()) return;
    const folder = await fetchKeycloak();
    const [port] = await freePorts(1);
    const url = `http://localhost:${port}`;
    realm = `${url}/realms/customers`;
    app = await startApp({ OUTBOUND_ALLOWED_HOSTS: `localhost:${port}` });
    const addresses = { "https://app.example.com": url, "https://auth.example.com": app.url };
    const secret = await registerAsIn("keycloak", app, addresses);
    mkdirSync(join(folder, "data/import"), { recursive: true });
    const settings = settingsOf("keycloak/customers-realm.json", { ...addresses, CLIENT_SECRET: secret });
    writeFileSync(join(folder, "data/import/customers-realm.json"), settings);
    const options = [`--http-port=${port}`, "--http-host=localhost", "--db=dev-mem", "--import-realm"];
    const env = { KC_BOOTSTRAP_ADMIN_USERNAME: admin.username, KC_BOOTSTRAP_ADMIN_PASSWORD: admin.password };
    // its first start builds it
    keycloak = await startProgram([join(folder, "bin/kc.sh"), "start-dev", ...options], url, env, folder, 5 * minutes);
  }, 15 * minutes);
  afterAll(async () => {
    await keycloak?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** Goes where Keycloak sends the browser, until that is elsewhere, or a page. */
  const follow = async (browser: TestBrowser, from: URL): Promise<{ url: URL; page: Response | null }> => {
    for (let url = from; ; ) {
      if (!url.href.startsWith(realm)) return { url, page: null };
      const response = await browser.get(url.href);
      if (response.headers.get("location") === null) return { url, page: response };
      url = locationOf(response);
    }
  };
  /** An application behind Keycloak sends its user there; Keycloak sends the user on to the service. */
  const beginLogin = async (browser: TestBrowser) => {
    const { verifier, challenge } = pkce();
    const query = new URLSearchParams({
      ...shop,
      response_type: "code",
      scope: "openid",
      kc_idp_hint: "auth-service",
      code_challenge: challenge,
      code_challenge_method: "S256",
    });
    const { url } = await follow(browser, new URL(`${realm}/protocol/openid-connect/auth?${query}`));
    return { authorizationUrl: url, verifier };
  };
  const tokenOf = (form: Record<string, string>) =>
    postForm(`${realm}/protocol/openid-connect/token`, { ...shop, ...form });
  const refresh = (tokens: Tokens) => tokenOf({ grant_type: "refresh_token", refresh_token: tokens.refresh_token });
  const logIn = async (account: Account) => {
    const [atKeycloak, atService] = [new TestBrowser(), new TestBrowser()];
    const { authorizationUrl, verifier } = await beginLogin(atKeycloak);
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const { url } = await follow(atKeycloak, await answerOf(authorizationUrl, account, atService));
    expect(url.href).toContain(`${shop.redirect_uri}?`);
    const code = url.searchParams.get("code") ?? "";
    const response = await tokenOf({ grant_type: "authorization_code", code, code_verifier: verifier });
    expect(response.status).toBe(200);
    return { tokens: (await response.json()) as Tokens, atKeycloak, atService, authorizationUrl };
  };

  withKeycloak("signs in, and its applications have the claims of the user", async () => {
    const account = await signUp(app.url, { nickname: "Zoë 🦊" });
    const { tokens } = await logIn(account);
    const claims = { preferred_username: account.uuid, email: account.email, email_verified: false };
    expect(claimsOf(tokens.id_token)).toMatchObject({ ...claims, given_name: "Zoë 🦊" });
    const rolesOf = ({ access_token }: Tokens) => claimsOf(access_token)["realm_access"];
    expect(rolesOf(tokens)).not.toMatchObject({ roles: expect.arrayContaining(["admin"]) });

    // what changed at the service is there from the next login on
    await updateUser(app.context, account.uuid, {
      nickname: "Zoe",
      roles: ["ROLE_USER", "ROLE_ADMIN"],
      emailVerified: true,
    });
    const again = (await logIn(account)).tokens;
    expect(claimsOf(again.id_token)).toMatchObject({
      sub: claimsOf(tokens.id_token)["sub"],
      given_name: "Zoe",
      email_verified: true,
    });
    expect(rolesOf(again)).toMatchObject({ roles: expect.arrayContaining(["admin"]) });
  });

  withKeycloak("hears of a logout at the service, and ends its session", async () => {
    const { tokens, atService } = await logIn(await signUp(app.url));
    expect((await refresh(tokens)).status).toBe(200);
    const delivered = () => app.logs.filter((line) => line.includes('"logout_notice_delivered"')).length;
    const before = delivered();
    await atService.submit(`${app.url}/connect/logout`, {});
    // not by asking Keycloak until it refuses: a refresh in the instant of the notice keeps its session alive
    await until(() => (delivered() > before ? true : undefined));
    const refused = await refresh(tokens);
    expect([refused.status, await refused.json()]).toEqual([400, expect.objectContaining({ error: "invalid_grant" })]);
  });

  withKeycloak("signs out of the service, too", async () => {
    const { tokens, atKeycloak, atService, authorizationUrl } = await logIn(await signUp(app.url));
    const query = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: signedOut });
    const out = await follow(atKeycloak, new URL(`${realm}/protocol/openid-connect/logout?${query}`));
    const back = locationOf(await atService.get(out.url.href));
    expect((await follow(atKeycloak, back)).url.href).toBe(signedOut);
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
    expect((await refresh(tokens)).status).toBe(400);
  });

  /** As an administrator changes the identity provider in the console. */
  const changeProvider = async (change: Record<string, string>) => {
    const [url] = realm.split("/realms/");
    const form = { grant_type: "password", client_id: "admin-cli", ...admin };
    const { access_token } = (await (
      await postForm(`${url}/realms/master/protocol/openid-connect/token`, form)
    ).json()) as Tokens;
    const headers = { authorization: `Bearer ${access_token}`, "content-type": "application/json" };
    const provider = `${url}/admin/realms/customers/identity-provider/instances/auth-service`;
    const now = (await (await fetch(provider, { headers })).json()) as { config: Record<string, string> };
    const body = JSON.stringify({ ...now, config: { ...now.config, ...change } });
    expect((await fetch(provider, { method: "PUT", headers, body })).status).toBe(204);
  };

  const unexpected = "Unexpected error when authenticating with identity provider";

  withKeycloak("without PKCE shows that the login failed, and says why in its log", async () => {
    await changeProvider({ pkceEnabled: "false" });
    const atKeycloak = new TestBrowser();
    const refused = locationOf(await new TestBrowser().get((await beginLogin(atKeycloak)).authorizationUrl.href));
    const { page } = await follow(atKeycloak, refused);
    expect(await page?.text()).toContain(unexpected);
    expect(keycloak.output()).toContain("code_challenge+is+missing");
    expect(loggedOf(app, "authorization_refused")).toMatchObject({
      client_id: "keycloak",
      error: "invalid_request",
      reason: expect.stringContaining("code_challenge is missing"),
    });
    await changeProvider({ pkceEnabled: "true" });
  });

  withKeycloak(
    "with a wrong secret says so in its log, and the service's names the client and the reason",
    async () => {
      await changeProvider({ clientSecret: "not its secret" });
      const atKeycloak = new TestBrowser();
      const { authorizationUrl } = await beginLogin(atKeycloak);
      const { page } = await follow(atKeycloak, await answerOf(authorizationUrl, await signUp(app.url)));
      expect([page?.status, await page?.text()]).toEqual([502, expect.stringContaining(unexpected)]);
      expect(keycloak.output()).toContain("invalid_client");
      const line = app.logs.filter((each) => each.includes('"client_authentication_failed"')).at(-1);
      expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: "keycloak", reason: "the secret is wrong or over" });
    },
  );
});
