import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { decodeJwt, generateKeyPair, importJWK, type JWK } from "jose";
import * as client from "openid-client";
import { certificateFor, startProxy } from "../../examples/conformance/proxy.ts";
import { freePorts } from "../support/app.ts";
import { type SuiteClient, SuiteModule } from "../support/suite.ts";

interface PlanClient {
  readonly client_id: string;
  readonly client_secret: string;
  readonly scope: string;
  readonly jwks: { readonly keys: readonly JWK[] };
  readonly initial_access_token: string;
}
interface PlanFile {
  readonly alias: string;
  readonly server: { readonly discoveryUrl: string };
  readonly client: PlanClient;
  readonly client2: PlanClient;
  readonly client_secret_post: PlanClient;
  readonly resource: { readonly resourceUrl: string };
  readonly browser: readonly { tasks: readonly { task: string; commands: readonly (string | number)[][] }[] }[];
  readonly override: Record<string, Pick<PlanFile, "browser"> & { readonly client?: PlanClient }>;
}

describe("examples/conformance", () => {
  const folder = mkdtempSync(join(tmpdir(), "conformance-"));
  const trusted = tls.getCACertificates("default");
  const certificate = certificateFor("localhost", folder);
  const told: { path: string; form: URLSearchParams }[] = [];
  let suite: Server;
  let example: ChildProcess;
  let output = "";
  let issuer: string;
  let base: string;
  let servicePort: number;
  let account: { email: string; password: string; nickname: string };

  beforeAll(async () => {
    tls.setDefaultCACertificates([...trusted, certificate.cert]);
    suite = createServer(certificate, async (request, response) => {
      let body = "";
      for await (const part of request) body += part;
      told.push({ path: request.url ?? "", form: new URLSearchParams(body) });
      response.end();
    });
    const [port = 0, suitePort = 0] = await freePorts(2);
    await new Promise<void>((resolve) => suite.listen(suitePort, "127.0.0.1", resolve));
    issuer = `https://localhost:${port}`;
    base = `https://localhost:${suitePort}/test/a/auth-service`;
    const start = join(import.meta.dirname, "../../examples/conformance/start.ts");
    const ca = join(folder, "certificate.pem");
    const where = ["--host", "localhost", "--port", String(port), "--suite", `https://localhost:${suitePort}`];
    const args = [start, ...where, "--suite-ca", ca, "--data", folder, "--out", join(folder, "plans")];
    example = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [example.stdout, example.stderr]) stream?.on("data", (chunk) => (output += chunk));
    for (let tries = 0; !output.includes("fapi2-openid-connect.json"); tries++) {
      if (example.exitCode !== null || tries > 2_000) throw new Error(`the example did not start:\n${output}`);
      await sleep(50);
    }
    servicePort = Number(/the service itself on 127\.0\.0\.1:(\d+)/.exec(output)?.[1]);
    const commands = plan("oidcc-basic").browser[0]?.tasks[0]?.commands ?? [];
    const typed = (name: string) => String(commands.find((command) => command[2] === name)?.[3]);
    account = { email: typed("email"), password: typed("password"), nickname: "sue" };
  });
  it("says that its port is taken, and leaves no process behind", async () => {
    const start = join(import.meta.dirname, "../../examples/conformance/start.ts");
    const other = mkdtempSync(join(tmpdir(), "conformance-"));
    const where = ["--host", "localhost", "--port", new URL(issuer).port, "--suite", "https://localhost:1"];
    const second = spawn(process.execPath, [start, ...where, "--data", other, "--out", other], { stdio: "pipe" });
    const [said, [status]] = await Promise.all([text(second.stderr), once(second, "close")]);
    expect(status).toBe(1);
    expect(said).toMatch(
      /^127\.0\.0\.1:\d+ is in use by another process\. Choose another one, for example --port \d+\n$/m,
    );
    expect(said).not.toMatch(/^\s+at /m);
    const left = readFileSync(join(other, "service.env"), "utf8").match(/INTERNAL_HTTP_PORT='(\d+)'/)?.[1];
    await expect(fetch(`http://127.0.0.1:${left}/healthz`)).rejects.toThrow();
  });

  afterAll(async () => {
    tls.setDefaultCACertificates(trusted);
    example.kill("SIGTERM");
    if (example.exitCode === null) await once(example, "exit");
    suite.closeAllConnections();
    await new Promise((resolve) => suite.close(resolve));
  });

  const plan = (name: string) => JSON.parse(readFileSync(join(folder, "plans", `${name}.json`), "utf8")) as PlanFile;
  const suiteClient = (given: PlanClient, method: SuiteClient["method"] = "client_secret_basic"): SuiteClient => ({
    clientId: given.client_id,
    clientSecret: given.client_secret,
    method,
    redirectUri: `${base}/callback`,
  });
  const moduleOf = (of: SuiteClient) => new SuiteModule({ url: issuer, issuer }, of, account);
  /** openid-client with the plan's static client; plain http and other issuers are refused by it. */
  async function discovered(given: PlanClient) {
    const authentication = client.ClientSecretBasic(given.client_secret);
    const config = await client.discovery(new URL(issuer), given.client_id, undefined, authentication);
    client.enableNonRepudiationChecks(config);
    return config;
  }

  it.each(["query", "form_post"])(
    "S-027 S-129 openid-client signs in through the proxy by %s, iss checked",
    async (mode) => {
      const { client: given } = plan("oidcc-basic");
      const config = await discovered(given);
      const [pkceCodeVerifier, expectedState, expectedNonce] = [
        client.randomPKCECodeVerifier(),
        client.randomState(),
        client.randomNonce(),
      ];
      const visit = await moduleOf(suiteClient(given)).authorize({
        scope: "openid profile email address phone offline_access",
        state: expectedState,
        nonce: expectedNonce,
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: "S256",
        ...(mode === "form_post" ? { response_mode: mode } : {}),
      });
      expect(visit.mode).toBe(mode);
      expect(visit.forms[0]).toBe("/login");
      const body = new URLSearchParams(visit.answer ?? {});
      const answer =
        mode === "form_post"
          ? new Request(`${base}/callback`, { method: "POST", body })
          : new URL(`${base}/callback?${body}`);
      const tokens = await client.authorizationCodeGrant(config, answer, {
        pkceCodeVerifier,
        expectedState,
        expectedNonce,
        idTokenExpected: true,
      });
      const sub = tokens.claims()?.sub ?? "";
      const info = await client.fetchUserInfo(config, tokens.access_token, sub);
      expect(info).toMatchObject({
        email: account.email,
        email_verified: true,
        birthdate: "1990-01-31",
        gender: "female",
      });
      expect(info.address?.country).toBe("United Kingdom");
      const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token ?? "");
      expect(refreshed.claims()?.iss).toBe(issuer);
    },
  );

  it("S-129 the second basic client, the one with its secret in the body, and POST at the authorization endpoint", async () => {
    const { client2, client_secret_post: post } = plan("oidcc-basic");
    await moduleOf(suiteClient(client2)).signIn();
    const module = moduleOf(suiteClient(post, "client_secret_post"));
    expect((await module.redeem(await module.authorize({}, "POST"))).claims.iss).toBe(issuer);
  });

  it("S-036 the session cookie is __Host-, Secure, HttpOnly, SameSite=Lax, Path=/ and has no Domain", async () => {
    const { client: given } = plan("oidcc-basic");
    const redirect = encodeURIComponent(`${base}/callback`);
    const challenge = `code_challenge=${"c".repeat(43)}&code_challenge_method=S256`;
    const url = `${issuer}/oauth2/authorize?response_type=code&client_id=${given.client_id}&redirect_uri=${redirect}&scope=openid&${challenge}`;
    const response = await fetch(url, { redirect: "manual" });
    const [cookie = ""] = response.headers.getSetCookie();
    expect(cookie).toMatch(/^__Host-[^=]+=[^;]{20,};/);
    for (const attribute of [/; Secure/i, /; HttpOnly/i, /; SameSite=Lax/i, /; Path=\/(;|$)/i]) {
      expect(cookie).toMatch(attribute);
    }
    expect(cookie).not.toMatch(/Domain/i);
  });

  it("S-177 TLS 1.2 at least with ciphers of RFC 9325, HSTS on every answer, nothing compressed, and plain HTTP on loopback only", async () => {
    const port = Number(new URL(issuer).port);
    const connects = (options: tls.ConnectionOptions) =>
      new Promise<boolean>((resolve) => {
        const socket = tls.connect({ host: "localhost", port, ca: certificate.cert, ...options });
        socket.once("secureConnect", () => resolve(true)).once("error", () => resolve(false));
        socket.once("secureConnect", () => socket.destroy());
      });
    const ecdsa = "ECDHE-ECDSA-AES128-";
    expect(await connects({})).toBe(true);
    expect(await connects({ maxVersion: "TLSv1.2", ciphers: `${ecdsa}GCM-SHA256` })).toBe(true);
    expect(await connects({ maxVersion: "TLSv1.2", ciphers: `${ecdsa}SHA256` })).toBe(false);
    expect(await connects({ minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" })).toBe(false);
    for (const path of ["/login", "/.well-known/openid-configuration", "/oauth2/jwks", "/nowhere", "/oauth2/token"]) {
      const response = await fetch(issuer + path, { headers: { "accept-encoding": "gzip, br" } });
      expect(response.headers.get("strict-transport-security")).toMatch(/max-age=31536000/);
      expect(response.headers.get("content-encoding")).toBeNull();
    }
    expect((await fetch(`http://127.0.0.1:${servicePort}/login`)).status).toBe(200);
    const others = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    for (const { address } of others.filter(({ family, internal }) => family === "IPv4" && !internal)) {
      await expect(fetch(`http://${address}:${servicePort}/login`)).rejects.toThrow();
    }
  });

  it("pages have scripts of the service alone, which they do not need, but the one that answers by form_post, whose script the policy names", async () => {
    const { client: given } = plan("oidcc-basic");
    const module = moduleOf(suiteClient(given));
    await module.signIn();
    for (const path of ["/", "/login", "/signup", "/password-reset", "/connect/logout", "/oauth2/authorize"]) {
      const response = await module.browser.get(issuer + path);
      const scripts = [...(await response.text()).matchAll(/<script[^>]*>/g)].map(([tag]) => tag);
      if (response.status >= 300 && response.status < 400) continue;
      expect(scripts.length).toBeGreaterThan(0);
      for (const tag of scripts) {
        expect(tag).toMatch(
          /^<script src="[^":]*\/assets\/(page|webauthn|passkey|strength)\.[0-9a-f]{16}\.js" defer>$/,
        );
      }
      expect(response.headers.get("content-security-policy")).toContain("script-src 'self';");
    }
    const silent = new URLSearchParams({
      response_type: "code",
      response_mode: "form_post",
      client_id: given.client_id,
      redirect_uri: `${base}/callback`,
      prompt: "none",
      code_challenge: "c".repeat(43),
      code_challenge_method: "S256",
    });
    const page = await fetch(`${issuer}/oauth2/authorize?${silent}`);
    expect(page.headers.get("content-security-policy")).toMatch(/script-src 'sha256-[A-Za-z0-9+/=]+';/);
    expect((await page.text()).match(/<script/g)).toHaveLength(1);
  });

  it("S-120 discovery names this issuer and endpoints below it", async () => {
    const { discoveryUrl } = plan("oidcc-config").server;
    const metadata = (await (await fetch(discoveryUrl)).json()) as Record<string, string>;
    expect(metadata["issuer"]).toBe(issuer);
    for (const [name, value] of Object.entries(metadata)) {
      if (/_endpoint$|^jwks_uri$/.test(name)) expect(value.startsWith(`${issuer}/`)).toBe(true);
    }
  });

  it("S-149 S-129 openid-client registers itself with the dynamic plan's token and signs in", async () => {
    const { initial_access_token: initialAccessToken } = plan("oidcc-dynamic").client;
    const registration = {
      redirect_uris: [`${base}/callback`],
      client_name: "suite 1",
      grant_types: ["authorization_code"],
    };
    const config = await client.dynamicClientRegistration(new URL(issuer), registration, undefined, {
      initialAccessToken,
    });
    const { client_id: clientId, client_secret: clientSecret = "", ...answer } = config.clientMetadata();
    const module = moduleOf({
      clientId,
      clientSecret: String(clientSecret),
      method: "client_secret_basic",
      redirectUri: `${base}/callback`,
    });
    const { header } = await module.signInWithPkce();
    expect(header.alg).toBe("RS256");
    const own = String(answer["registration_client_uri"]);
    expect(own.startsWith(`${issuer}/`)).toBe(true);
    const headers = { authorization: `Bearer ${answer["registration_access_token"]}` };
    expect((await fetch(own, { method: "DELETE", headers })).status).toBe(204);
  });

  it.each([
    ["fapi2-plain-oauth", "client", ""],
    ["fapi2-openid-connect", "client2", "?dummy1=lorem&dummy2=ipsum"],
  ] as const)(
    "S-154 %s: PAR, private_key_jwt and DPoP as its %s, to the plan's resource",
    async (name, which, query) => {
      const { [which]: given, resource } = plan(name);
      const [jwk] = given.jwks.keys;
      const redirectUri = `${base}/callback${query}`;
      const key = (await importJWK(jwk ?? {}, "PS256")) as client.CryptoKey;
      const authentication = client.PrivateKeyJwt({ key, kid: jwk?.kid ?? "" });
      const config = await client.discovery(new URL(issuer), given.client_id, undefined, authentication);
      // openid-client takes the query off a redirect URI, the suite does not
      config[client.customFetch] = (url, init) => {
        if (init.body instanceof URLSearchParams && init.body.has("grant_type")) {
          init.body.set("redirect_uri", redirectUri);
        }
        return fetch(url, init as RequestInit);
      };
      const DPoP = client.getDPoPHandle(config, await generateKeyPair("ES256"));
      const pkceCodeVerifier = client.randomPKCECodeVerifier();
      const parameters = {
        redirect_uri: redirectUri,
        scope: given.scope,
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: "S256",
      };
      const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
      const module = moduleOf({ ...suiteClient(given), redirectUri });
      const { answer } = await module.follow(await module.browser.get(url.href));
      const back = new URL(`${base}/callback?${new URLSearchParams(answer ?? {})}`);
      if (query !== "") expect(answer).toMatchObject({ dummy1: "lorem", dummy2: "ipsum" });
      const openid = given.scope.includes("openid");
      const checks = { pkceCodeVerifier, idTokenExpected: openid };
      const tokens = await client.authorizationCodeGrant(config, back, checks, undefined, { DPoP });
      expect([tokens.token_type, tokens.id_token !== undefined]).toEqual(["dpop", openid]);
      const got = await client.fetchProtectedResource(
        config,
        tokens.access_token,
        new URL(resource.resourceUrl),
        "GET",
        undefined,
        undefined,
        { DPoP },
      );
      expect(got.status).toBe(200);
    },
  );

  it("S-128 the client of the RP-initiated logout plan gets no logout token: the suite has no such path in its modules", async () => {
    const [one, other] = [plan("oidcc-rp-initiated-logout"), plan("oidcc-backchannel-rp-initiated-logout")];
    expect(one.client.client_id).not.toBe(other.client.client_id);
    const clients = JSON.parse(readFileSync(join(folder, "clients.json"), "utf8")) as Record<string, string>[];
    const uriOf = (id: string) => clients.find((each) => each["client_id"] === id)?.["backchannel_logout_uri"];
    expect([uriOf(one.client.client_id), uriOf(other.client.client_id)]).toEqual([
      undefined,
      `${base}/backchannel_logout`,
    ]);
  });

  it("S-154 the user of user-rejects is asked for consent, whatever was allowed to the other clients before", async () => {
    const { override, client: usual } = plan("fapi2-openid-connect");
    const { client: own } = override["fapi2-security-profile-final-user-rejects-authentication"] ?? {};
    expect(own?.client_id).not.toBe(usual.client_id);
    const [jwk] = own?.jwks.keys ?? [];
    const key = (await importJWK(jwk ?? {}, "PS256")) as client.CryptoKey;
    const authentication = client.PrivateKeyJwt({ key, kid: jwk?.kid ?? "" });
    const config = await client.discovery(new URL(issuer), own?.client_id ?? "", undefined, authentication);
    const DPoP = client.getDPoPHandle(config, await generateKeyPair("ES256"));
    const parameters = {
      redirect_uri: `${base}/callback`,
      scope: own?.scope ?? "",
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: "S256",
    };
    const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
    const module = moduleOf({ ...suiteClient(own as PlanClient), redirectUri: parameters.redirect_uri });
    const { forms, answer } = await module.follow(await module.browser.get(url.href));
    expect(forms).toContain("/consent");
    expect(answer?.["code"]).toBeTruthy();
  });

  it("the FAPI modules that end at a page have the steps to it", () => {
    const { override } = plan("fapi2-plain-oauth");
    const of = (name: string) => override[`fapi2-security-profile-final-${name}`]?.browser ?? [];
    for (const name of [
      "par-attempt-reuse-request_uri",
      "par-attempt-to-use-expired-request_uri",
      "par-attempt-to-use-request_uri-for-different-client",
      "ensure-unsigned-authorization-request-without-using-par-fails",
    ]) {
      const last = of(name).at(-1)?.tasks[0]?.commands.flat() ?? [];
      expect([name, last]).toEqual([name, expect.arrayContaining(["That didn.t work", "update-image-placeholder"])]);
    }
    const visits = of("par-ensure-reused-request-uri-prior-to-auth-completion-succeeds");
    expect(visits.map((visit) => (visit as { "match-limit"?: number })["match-limit"])).toEqual([1, undefined]);
    for (const uri of ["logo", "policy", "tos"]) {
      const [steps] = plan("oidcc-dynamic").override[`oidcc-registration-${uri}-uri`]?.browser ?? [];
      expect(steps?.tasks.flatMap(({ commands }) => commands.flat())).toContain("update-image-placeholder");
    }
  });

  it("S-128 S-129 the logout plans' client gets its logout token over TLS, and the browser goes back to the suite", async () => {
    const module = moduleOf(suiteClient(plan("oidcc-backchannel-rp-initiated-logout").client));
    const { id_token: hint, claims } = await module.signIn();
    const request = new URLSearchParams({
      id_token_hint: hint,
      post_logout_redirect_uri: `${base}/post_logout_redirect`,
      state: "bye",
    });
    const response = await module.browser.get(`${issuer}/connect/logout?${request}`);
    expect(response.headers.get("location")).toBe(`${base}/post_logout_redirect?state=bye`);
    for (let tries = 0; told.length === 0 && tries < 1_000; tries++) await sleep(25);
    expect(told[0]?.path).toBe("/test/a/auth-service/backchannel_logout");
    expect(decodeJwt(told[0]?.form.get("logout_token") ?? "")).toMatchObject({ iss: issuer, sid: claims["sid"] });
  });

  it("the pages have the elements that the suite's browser looks for", async () => {
    const { client: given, override } = plan("oidcc-basic");
    const module = moduleOf(suiteClient(given));
    const login = await (await module.browser.get(`${issuer}/login`)).text();
    for (const part of ['name="email"', 'name="password"', '<button type="submit"']) expect(login).toContain(part);
    const expected = (name: string) => {
      const commands = (override[name]?.browser ?? [])
        .flatMap(({ tasks }) => tasks)
        .flatMap((task) => task.commands ?? []);
      return new RegExp(String(commands.find(([verb, , , , text]) => verb === "wait" && text !== undefined)?.[4]));
    };
    const refused = await module.authorize({ redirect_uri: `${base}/callback/other` });
    expect(refused.page?.html).toMatch(expected("oidcc-ensure-registered-redirect-uri"));
    const hint = await (await fetch(`${issuer}/connect/logout?id_token_hint=x&post_logout_redirect_uri=x`)).text();
    expect(hint).toMatch(expected("oidcc-rp-initiated-logout-bad-id-token-hint"));
    const out = await (await fetch(`${issuer}/connect/logout`)).text();
    expect(out).toMatch(expected("oidcc-rp-initiated-logout-no-params"));
    expect(login).toMatch(expected("oidcc-prompt-login"));
  });

  it("S-129 the basic plan's modules go without PKCE, and with --add-pkce the proxy sends it for clients that may not", async () => {
    const of = suiteClient(plan("oidcc-basic").client);
    expect((await moduleOf(of).signIn()).claims.iss).toBe(issuer);
    const [port = 0] = await freePorts(1);
    const publicHost = new URL(issuer).host;
    const proxy = await startProxy({ listen: "127.0.0.1", port, certificate, servicePort, publicHost, addPkce: true });
    try {
      for (const method of ["GET", "POST"] as const) {
        const module = new SuiteModule({ url: `https://localhost:${port}`, issuer }, of, account);
        const visit = await module.authorize({}, method);
        expect((await module.token(module.redemption(visit))).status).toBe(200);
      }
      const own = new SuiteModule({ url: `https://localhost:${port}`, issuer }, of, account);
      expect((await own.signIn()).claims.iss).toBe(issuer);
    } finally {
      await proxy.close();
    }
  });
});
