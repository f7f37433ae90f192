import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { endSessions } from "../../../src/users/users.ts";
import { startApp, type TestApp, testEnvironment } from "../../support/app.ts";
import {
  type Account,
  claimsOf,
  getTokens,
  hiddenFields,
  introspect,
  postForm,
  signUp,
  type Tokens,
} from "../../support/flow.ts";

interface Received {
  readonly path: string;
  readonly type: string | undefined;
  readonly token: string;
}

/** Two relying parties that want to hear of logouts, one that does not. */
describe("back-channel logout", () => {
  let parties: Server;
  let received: Received[] = [];
  let statuses: number[] = [];
  let port: number;
  let app: TestApp;
  let user: Account & { uuid: string };
  beforeAll(async () => {
    parties = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        const token = new URLSearchParams(body).get("logout_token") ?? "";
        received.push({ path: request.url ?? "", type: request.headers["content-type"], token });
        if (request.url === "/silent") return;
        response.writeHead(statuses.shift() ?? 200, { location: `http://localhost:${port}/redirected` }).end();
      });
    });
    await new Promise<void>((resolve) => parties.listen(0, "127.0.0.1", resolve));
    ({ port } = parties.address() as AddressInfo);
    app = await startApp({ OUTBOUND_ALLOWED_HOSTS: `localhost:${port}` }, clientsAt(port));
    user = await signUp(app.url);
  });
  beforeEach(() => {
    received = [];
    statuses = [];
  });
  afterAll(async () => {
    await app.close();
    await new Promise((resolve) => parties.close(resolve));
  });

  function clientsAt(rp: number): object[] {
    const client = (id: string, more: object) => ({
      client_id: id,
      redirect_uris: [`https://${id}.example/cb`],
      scope: "openid",
      first_party: true,
      ...more,
    });
    const uri = (path: string) => `http://localhost:${rp}${path}`;
    return [
      client("shop", { backchannel_logout_uri: uri("/shop"), backchannel_logout_session_required: true }),
      client("blog", { backchannel_logout_uri: uri("/blog"), id_token_signed_response_alg: "ES256" }),
      client("quiet", {}),
      client("brief", { backchannel_logout_uri: uri("/brief"), grant_types: ["authorization_code"] }),
      client("silent", { backchannel_logout_uri: uri("/silent") }),
      client("keeper", { backchannel_logout_uri: uri("/keeper"), scope: "openid offline_access" }),
      client("inside", { backchannel_logout_uri: `http://127.0.0.1:${rp}/inside` }),
    ];
  }

  const at = (clientId: string) => ({ clientId, redirectUri: `https://${clientId}.example/cb`, scope: "openid" });
  const sidOf = (tokens: Tokens) => claimsOf(tokens.id_token)["sid"];

  async function until<T>(find: () => T | undefined | false, ms = 25_000): Promise<T> {
    const from = performance.now();
    for (;;) {
      const found = find();
      if (found) return found;
      if (performance.now() - from > ms) throw new Error("it did not come");
      await sleep(20);
    }
  }

  it("S-128 tells every client of the session, one logout token for each authorization, and no one else", async () => {
    const { browser, ...first } = await getTokens(app.url, user, at("shop"));
    const second = await getTokens(app.url, user, { ...at("shop"), browser });
    const blog = await getTokens(app.url, user, { ...at("blog"), browser });
    await getTokens(app.url, user, { ...at("quiet"), browser });
    const elsewhere = await getTokens(app.url, user, at("shop"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${first.id_token}`);

    await until(() => received.length >= 3);
    await sleep(300);
    expect(received.map(({ path }) => path).sort()).toEqual(["/blog", "/shop", "/shop"]);
    const jwks = createRemoteJWKSet(new URL(`${app.url}/oauth2/jwks`));
    const sids = new Set<unknown>();
    for (const { path, type, token } of received) {
      expect(type).toBe("application/x-www-form-urlencoded");
      const audience = path.slice(1);
      const { payload, protectedHeader } = await jwtVerify(token, jwks, {
        issuer: app.url,
        audience,
        typ: "logout+jwt",
      });
      expect(protectedHeader.alg).toBe(audience === "blog" ? "ES256" : "RS256");
      expect(payload).toMatchObject({
        sub: user.uuid,
        events: { "http://schemas.openid.net/event/backchannel-logout": {} },
        jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      });
      expect(payload).not.toHaveProperty("nonce");
      expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBeLessThanOrEqual(120);
      sids.add(payload["sid"]);
    }
    expect(sids).toEqual(new Set([sidOf(first as Tokens), sidOf(second), sidOf(blog)]));
    expect((await introspect(app.url, elsewhere.access_token))["active"]).toBe(true);
  });

  it("S-128 tries again until the client takes it, with the same jti and a token that is not old", async () => {
    statuses = [503, 302, 204];
    const { browser, ...tokens } = await getTokens(app.url, user, at("shop"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${tokens.id_token}`);
    await until(() => received.length >= 3);
    await sleep(1_500);
    expect(received.map(({ path }) => path)).toEqual(["/shop", "/shop", "/shop"]);
    const ids = received.map(({ token }) => decodeJwt(token).jti);
    expect(new Set(ids).size).toBe(1);
    const [first, , last] = received.map(({ token }) => decodeJwt(token).iat ?? 0);
    expect(last).toBeGreaterThan(first ?? 0);
  });

  it("S-128 does not call a host that resolves into this network unless the configuration allows it", async () => {
    const { browser, ...tokens } = await getTokens(app.url, user, at("inside"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${tokens.id_token}`);
    await until(() => app.logs.find((line) => line.includes("back-channel logout not delivered")));
    expect(received).toEqual([]);
  });

  it("S-128 tells clients too when a user is logged out everywhere, and after a restart what could not be told before", async () => {
    const env = await testEnvironment({ OUTBOUND_ALLOWED_HOSTS: `localhost:${port}` }, clientsAt(port));
    const before = await startApp(env);
    const someone = await signUp(before.url);
    await getTokens(before.url, someone, at("blog"));
    await new Promise((resolve) => parties.close(resolve));
    await endSessions(before.context, someone.uuid);
    await until(() => before.logs.find((line) => line.includes("back-channel logout not delivered")));
    await before.close();
    expect(received).toEqual([]);

    await new Promise<void>((resolve) => parties.listen(port, "127.0.0.1", resolve));
    const after = await startApp(env);
    try {
      const { token } = await until(() => received[0]);
      expect(decodeJwt(token)).toMatchObject({ sub: someone.uuid, aud: "blog" });
    } finally {
      await after.close();
    }
  });

  it("C-15 tells each application of the session, also one whose authorization is over or was revoked before", async () => {
    const { browser, ...brief } = await getTokens(app.url, user, at("brief"));
    const shop = await getTokens(app.url, user, { ...at("shop"), browser });
    await app.context.store.authorizations.revoke(String(sidOf(shop)), "test", app.clock.now());
    app.clock.shift = 2 * 3_600_000 + 60_000;
    try {
      await app.context.store.cleanUp(app.clock.now(), 10_000);
      expect(await app.context.store.authorizations.find(String(sidOf(brief as Tokens)))).toBeNull();
      await browser.get(`${app.url}/connect/logout?id_token_hint=${brief.id_token}`);
      await until(() => received.length >= 2);
    } finally {
      app.clock.shift = 0;
    }
    expect(received.map(({ path, token }) => [path, decodeJwt(token)["sid"]]).sort()).toEqual([
      ["/brief", sidOf(brief as Tokens)],
      ["/shop", sidOf(shop)],
    ]);
  });

  it("C-17 leaves offline access alone when the user signs out, tells its client, and lets the account page end it", async () => {
    const keeper = { ...at("keeper"), scope: "openid offline_access" };
    const { browser, ...kept } = await getTokens(app.url, user, keeper);
    const online = await getTokens(app.url, user, { ...at("keeper"), browser });
    await browser.get(`${app.url}/connect/logout?id_token_hint=${kept.id_token}`);
    await until(() => received.length >= 2);
    const form = { grant_type: "refresh_token", client_id: "keeper" };
    const refreshOnline = { ...form, refresh_token: online.refresh_token ?? "" };
    expect((await postForm(`${app.url}/oauth2/token`, refreshOnline)).status).toBe(401);
    const refreshed = await postForm(`${app.url}/oauth2/token`, { ...form, refresh_token: kept.refresh_token ?? "" });
    expect(refreshed.status).toBe(200);
    const { access_token, refresh_token } = (await refreshed.json()) as Tokens;
    expect((await introspect(app.url, access_token))["active"]).toBe(true);

    const again = await getTokens(app.url, user, at("shop"));
    const page = await (await again.browser.get(`${app.url}/`)).text();
    const path = "/account/applications/remove";
    const forms = page.split("<form").filter((form) => form.includes(path));
    const remove = forms.map((form) => hiddenFields(form)).find(({ client_id }) => client_id === "keeper");
    expect(remove).toBeDefined();
    expect((await again.browser.post(`${app.url}${path}`, remove ?? {})).status).toBe(303);
    const refused = await postForm(`${app.url}/oauth2/token`, { ...form, refresh_token: refresh_token ?? "" });
    expect(refused.status).toBe(401);
  });

  it("C-18 keeps nobody waiting for a client that does not answer", async () => {
    const { browser, ...first } = await getTokens(app.url, user, at("silent"));
    for (let n = 0; n < 39; n++) await getTokens(app.url, user, { ...at("silent"), browser });
    const shop = await getTokens(app.url, user, at("shop"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${first.id_token}`);
    await until(() => received.some(({ path }) => path === "/silent"));
    await shop.browser.get(`${app.url}/connect/logout?id_token_hint=${shop.id_token}`);
    await until(() => received.some(({ path }) => path === "/shop"));
    // some of the 40 were tried, each takes the client 3 seconds
    expect(received.filter(({ path }) => path === "/silent").length).toBeLessThan(20);
  });

  it("C-18 does not try again what the client says it will never take", async () => {
    statuses = [400];
    const { browser, ...tokens } = await getTokens(app.url, user, at("shop"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${tokens.id_token}`);
    const sid = String(sidOf(tokens as Tokens));
    await until(() => app.logs.find((line) => line.includes("back-channel logout given up") && line.includes(sid)));
    expect(received.filter(({ path }) => path === "/shop")).toHaveLength(1);
  });

  it("S-114 takes a logout token for nothing else: not as an access, refresh or ID token", async () => {
    const { browser, ...tokens } = await getTokens(app.url, user, at("blog"));
    await browser.get(`${app.url}/connect/logout?id_token_hint=${tokens.id_token}`);
    const { token } = await until(() => received[0]);
    expect(await introspect(app.url, token)).toEqual({ active: false });
    const userinfo = await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    expect(userinfo.status).toBe(401);
    const form = { grant_type: "refresh_token", refresh_token: token, client_id: "blog" };
    expect((await postForm(`${app.url}/oauth2/token`, form)).status).toBe(401);
    const logout = await fetch(
      `${app.url}/connect/logout?id_token_hint=${token}&post_logout_redirect_uri=https://a.example/`,
    );
    expect(logout.status).toBe(400);
  });
});
