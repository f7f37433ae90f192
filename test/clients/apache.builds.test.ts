import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { connect } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { serverCertificate, serverKey } from "../rpc/certificates.ts";
import { hasApache, startApache } from "../support/apache.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, skip } from "../support/browser.ts";
import { claimsOf, getTokens, postForm, signUp } from "../support/flow.ts";
import { until } from "../support/resets.ts";
import { registerAsIn, settingsOf, withAddresses } from "./how-to.ts";

const minutes = 60_000;
const found = hasApache();
const withApache: (name: string, work: () => Promise<void>) => void = found
  ? inBrowser
  : (name) => skip(name, "Apache and mod_auth_openidc of Debian");

describe("Apache with mod_auth_openidc before an app", () => {
  let app: TestApp;
  let url: string;
  let upstream: Server;
  let browser: Browser | null;
  let apache: Awaited<ReturnType<typeof startApache>>;

  beforeAll(async () => {
    if (!found) return;
    const [port = 0, upstreamPort] = await freePorts(2);
    upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${port}`;
    // what has less than a minute left is refreshed: here, at each request
    app = await startApp({ ACCESS_TOKEN_TTL: "60" });
    const addresses = {
      "https://app.example.com": url,
      "https://auth.example.com": app.url,
      "127.0.0.1:3000": `127.0.0.1:${upstreamPort}`,
    };
    const secret = await registerAsIn("apache", app, addresses);
    apache = await startApache(settingsOf("apache/app.conf", addresses), port, {
      OIDC_CLIENT_SECRET: secret,
      OIDC_CRYPTO_PASSPHRASE: randomBytes(16).toString("hex"),
    });
    browser = await launchChromium();
  }, 5 * minutes);
  afterAll(async () => {
    await browser?.close();
    await apache?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
    await app?.close();
  });

  /** In a browser of its own, signed in as a new account at the app behind Apache. */
  const signedIn = async (work: (page: Page, account: Awaited<ReturnType<typeof signUp>>) => Promise<void>) => {
    const account = await signUp(app.url);
    const profile = await openProfile(browser, { locale: "en-US" });
    try {
      const { page } = profile;
      await page.goto(`${url}/orders`);
      await page.getByLabel("E-mail address").fill(account.email);
      await page.getByLabel("Password").fill(account.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.waitForURL(`${url}/orders`);
      await work(page, account);
    } finally {
      await profile.close();
    }
  };
  /** What the app is told of the browser. */
  const forwarded = async (page: Page): Promise<IncomingHttpHeaders> => {
    await page.goto(`${url}/orders`);
    return JSON.parse((await page.textContent("body")) ?? "") as IncomingHttpHeaders;
  };
  const asksForLogin = async (page: Page) => {
    await page.goto(`${url}/orders`);
    await page.getByLabel("Password").waitFor();
    expect(new URL(page.url()).origin).toBe(app.url);
  };
  const tokenOf = (headers: IncomingHttpHeaders) => String(headers["oidc_access_token"]);

  withApache("signs in with PKCE, tells the app who it is, refreshes, and signs out of both", async () => {
    await signedIn(async (page, account) => {
      const first = await forwarded(page);
      expect(first).toMatchObject({
        oidc_claim_sub: account.uuid,
        oidc_claim_email: account.email,
        oidc_claim_roles: "ROLE_USER",
      });
      const second = await forwarded(page);
      expect(tokenOf(second)).not.toBe(tokenOf(first));
      expect(claimsOf(tokenOf(second))["sid"]).toBe(claimsOf(tokenOf(first))["sid"]);

      await page.goto(`${url}/oidc?logout=${encodeURIComponent(`${url}/signed-out`)}`);
      await page.waitForURL(`${url}/signed-out`);
      await asksForLogin(page);
    });
  });

  withApache("refreshes at its refresh hook, too", async () => {
    await signedIn(async (page) => {
      const access = tokenOf(await forwarded(page));
      await page.goto(`${url}/oidc?${new URLSearchParams({ refresh: `${url}/orders`, access_token: access })}`);
      expect(page.url()).toBe(`${url}/orders`);
      expect(await page.textContent("body")).not.toContain(access);
    });
  });

  withApache("ends its session once the service refuses the refresh", async () => {
    await signedIn(async (page) => {
      await page.goto(`${app.url}/connect/logout`);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("heading", { name: /signed out/i }).waitFor();
      await page.goto(`${url}/orders`);
      expect(await page.textContent("body")).toContain("Logged Out");
      await asksForLogin(page);
      expect(apache.output()).toContain("invalid_grant");
    });
  });

  withApache("shows the error of a login that failed, and begins none by itself", async () => {
    const profile = await openProfile(browser);
    try {
      const { page } = profile;
      await page.goto(`${url}/orders`);
      const [request] = await Promise.all([
        page.waitForRequest((each) => each.url().startsWith(`${app.url}/oauth2/authorize`)),
        page.goto(`${url}/orders`),
      ]);
      await page.goto(`${request.url()}&prompt=none`);
      expect(new URL(page.url()).origin).toBe(url);
      expect(await page.textContent("body")).toContain("login_required");
    } finally {
      await profile.close();
    }
  });
});

const withAnApi: (name: string, work: () => Promise<void>) => void = found
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Apache and mod_auth_openidc of Debian");

/** How each Apache is set up before the API. */
const apis = ["api", "api-introspection"] as const;
type Api = (typeof apis)[number];

describe("Apache with mod_auth_openidc before an API", () => {
  const audience = "https://orders.example.test";
  const redirectUri = "http://127.0.0.1/callback";
  let app: TestApp;
  let upstream: Server;
  let account: Awaited<ReturnType<typeof signUp>>;
  let upstreamPort: number;
  let secret: string;
  /** Apache takes keys and answers of https addresses alone. */
  let tls: TlsServer;
  let httpsUrl: string;
  const running = new Map<Api, Awaited<ReturnType<typeof startApache>> & { url: string }>();
  const addresses = () => ({
    "https://auth.example.com/oauth2": `${httpsUrl}/oauth2`,
    "https://auth.example.com": app.url,
    "https://orders.example.com": audience,
    "127.0.0.1:3000": `127.0.0.1:${upstreamPort}`,
  });
  const start = async (api: Api, change: Record<string, string> = {}) => {
    const [port = 0] = await freePorts(1);
    const settings = withAddresses(settingsOf(`apache/${api}.conf`, addresses()), change);
    const apache = await startApache(`OIDCOAuthSSLValidateServer Off\n${settings}`, port, {
      OIDC_OAUTH_CLIENT_SECRET: secret,
    });
    return { ...apache, url: `http://127.0.0.1:${port}` };
  };

  beforeAll(async () => {
    if (!found) return;
    [upstreamPort = 0] = await freePorts(1);
    upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, "127.0.0.1", resolve));
    const client = { redirect_uris: [redirectUri], scope: "openid read", first_party: true, resources: [audience] };
    app = await startApp({ ACCESS_TOKEN_TTL: "8" }, [
      { ...client, client_id: "caller" },
      { ...client, client_id: "rs256", access_token_signed_response_alg: "RS256" },
    ]);
    account = await signUp(app.url);
    const { hostname, port } = new URL(app.url);
    tls = createTlsServer({ cert: serverCertificate, key: serverKey }, (socket) => {
      const inner = connect({ host: hostname, port: Number(port) });
      for (const each of [socket, inner]) each.on("error", () => {});
      socket.pipe(inner).pipe(socket);
    });
    const [tlsPort = 0] = await freePorts(1);
    await new Promise<void>((resolve) => tls.listen(tlsPort, "127.0.0.1", resolve));
    httpsUrl = `https://127.0.0.1:${tlsPort}`;
    secret = await registerAsIn("spring-boot-api", app, addresses());
    for (const api of apis) running.set(api, await start(api));
  }, 5 * minutes);
  afterAll(async () => {
    for (const apache of running.values()) await apache.stop();
    tls?.close();
    upstream?.closeAllConnections();
    upstream?.close();
    await app?.close();
  });

  const tokensOf = (clientId = "caller", extra: Record<string, string> = { resource: audience }) =>
    getTokens(app.url, account, { clientId, redirectUri, scope: "openid read", extra });
  const call = (url = "", token?: string) =>
    fetch(`${url}/orders`, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  /** Apache takes a token in the second that it ends in. */
  const untilOver = async (token: string) => {
    const over = (Number(claimsOf(token)["exp"]) + 1) * 1_000;
    await until(() => (Date.now() > over ? true : undefined));
    return token;
  };
  const refusalOf = async (url = "", token?: string) => {
    const { status, headers } = await call(url, token);
    return `${status} ${headers.get("www-authenticate")}`;
  };
  const changed = (token: string) => {
    const [header, payload, signature = ""] = token.split(".");
    return `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
  };

  for (const api of apis) {
    withAnApi(`takes a token for the API, tells who calls, and refuses every other, as in ${api}.conf`, async () => {
      const url = running.get(api)?.url;
      for (const clientId of ["caller", "rs256"]) {
        const answer = await call(url, (await tokensOf(clientId)).access_token);
        expect([clientId, answer.status]).toEqual([clientId, 200]);
        expect(await answer.json()).toMatchObject({ oidc_claim_sub: account.uuid });
      }
      const { access_token, id_token } = await tokensOf();
      expect(await refusalOf(url)).toMatch(/^401 Bearer error="invalid_request"/);
      expect(await refusalOf(url, changed(access_token))).toMatch(/^401 Bearer error="invalid_token"/);
      expect(await refusalOf(url, (await tokensOf("caller", {})).access_token)).toMatch(/^401 /);
      expect(await refusalOf(url, id_token)).toMatch(/^401 /);
      expect(await refusalOf(url, await untilOver(access_token))).toMatch(/^401 Bearer error="invalid_token"/);
    });
  }

  withAnApi("refuses a token from its revocation on where it asks the service, and not where it does not", async () => {
    const { access_token, refresh_token } = await tokensOf();
    for (const api of apis) expect((await call(running.get(api)?.url, access_token)).status).toBe(200);
    await postForm(`${app.url}/oauth2/revoke`, { token: refresh_token, client_id: "caller" });
    expect(await refusalOf(running.get("api-introspection")?.url, access_token)).toMatch(/^401 Bearer/);
    expect((await call(running.get("api")?.url, access_token)).status).toBe(200);
  });

  withAnApi(
    "with a wrong secret refuses every token, and the service's log names the client and the reason",
    async () => {
      const apache = await start("api-introspection", { "${OIDC_OAUTH_CLIENT_SECRET}": "wrong" });
      try {
        expect(await refusalOf(apache.url, (await tokensOf()).access_token)).toMatch(/^401/);
        const line = app.logs.filter((each) => each.includes('"client_authentication_failed"')).at(-1);
        expect(JSON.parse(line ?? "{}")).toMatchObject({
          client_id: "orders-api",
          reason: "the secret is wrong or over",
        });
        expect(apache.output()).toContain("invalid_client");
      } finally {
        await apache.stop();
      }
    },
  );
});
