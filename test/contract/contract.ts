import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { inOneMoment } from "../support/clocks.ts";
import type { Deployment, SeenEvent } from "../support/deployment.ts";
import { waitForEvent } from "../support/deployment.ts";
import {
  authorizeUrl,
  claimsOf,
  getCode,
  getTokens,
  hiddenFields,
  internalBasic,
  introspect,
  introspectSettled,
  patiently,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
  uniqueEmail,
} from "../support/flow.ts";

/** A client that is asked for consent and whose refresh tokens are rotated. */
const thirdParty = { clientId: "third-party", redirectUri: "http://localhost:4000/callback" };
const rotating = { clientId: "rotating", redirectUri: "http://localhost:4100/callback" };

export const contractClients = [
  {
    client_id: thirdParty.clientId,
    client_name: "Third Party",
    redirect_uris: [thirdParty.redirectUri],
    scope: "openid profile email",
  },
  { client_id: rotating.clientId, redirect_uris: [rotating.redirectUri], first_party: true, scope: "openid profile" },
  {
    client_id: "with-resource",
    redirect_uris: ["http://localhost:4200/callback"],
    first_party: true,
    scope: "openid profile",
    resources: ["https://orders.example"],
  },
  {
    client_id: "orders",
    client_secret: "orders-secret",
    grant_types: ["client_credentials"],
    scope: "auth.introspect",
    resource_server_for: ["https://orders.example"],
  },
];

const ordersBasic = `Basic ${Buffer.from("orders:orders-secret").toString("base64")}`;
const signInPassword = "correct horse battery";

async function json(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** What SPEC promises to a browser, a portal and a gateway, on any deployment. With replicas every step hits another one. */
export function describeContract(name: string, start: () => Promise<Deployment>): void {
  describe(name, () => {
    let d: Deployment;
    let turn = 0;
    const next = () => d.bases[turn++ % d.bases.length] ?? "";

    beforeAll(async () => {
      d = await start();
    });
    afterEach(() => {
      d.shift(0);
      jest.restoreAllMocks();
    });
    afterAll(() => d.close());

    const rotatingTokens = async () =>
      getTokens(d.bases, await signUp(next()), { ...rotating, scope: "openid profile" });
    const refreshRotating = (token: string) => refresh(next(), token, { client_id: rotating.clientId });

    describe("flow 1, authorization code with PKCE", () => {
      it("sends an unknown browser to the login and back to the client with code, state and iss", async () => {
        const account = await signUp(next());
        const { location } = await getCode(d.bases, account, { state: "s t+a&te" });
        expect(`${location.origin}${location.pathname}`).toBe(portal.redirectUri);
        expect(location.searchParams.get("state")).toBe("s t+a&te");
        expect(location.searchParams.get("iss")).toBe(d.url);
        expect(location.searchParams.get("code")).toMatch(/^[\w-]{43}$/);
      });

      it("S-014 returns a state whole, however long and whatever is in it, also when it waited for the login", async () => {
        const account = await signUp(next());
        const special = "%+&\"'<>é한글😀 %0d%0a\r\nSet-Cookie: a=b;";
        for (const length of [1_000, 2_000]) {
          const state = special.repeat(15).padEnd(length, "x");
          const { location, browser } = await getCode(d.bases, account, { state });
          expect([location.searchParams.has("code"), location.searchParams.get("state")]).toEqual([true, state]);
          const again = await browser.get(authorizeUrl(next(), { state }));
          expect(new URL(again.headers.get("location") ?? "").searchParams.get("state")).toBe(state);
          expect([again.headers.get("set-cookie"), browser.cookies.has("a")]).toEqual([null, false]);
          const refused = await browser.get(authorizeUrl(next(), { state, scope: "nothing" }));
          expect(new URL(refused.headers.get("location") ?? "").searchParams.get("state")).toBe(state);
        }
      });

      it("answers the authorization request with 302 to /login and the login with 303 to the client", async () => {
        const account = await signUp(next());
        const browser = new TestBrowser();
        const first = await browser.get(authorizeUrl(next()));
        expect(first.status).toBe(302);
        expect(new URL(first.headers.get("location") ?? "", d.url).pathname).toBe("/login");
        const answer = await browser.submit(`${next()}/login`, { email: account.email, password: account.password });
        expect(answer.status).toBe(303);
        expect(answer.headers.get("location")).toContain(`${portal.redirectUri}?code=`);
      });

      it("gives a signed-in browser its code at once", async () => {
        const { browser } = await getCode(d.bases, await signUp(next()));
        const again = await browser.get(authorizeUrl(next(), { state: "second" }));
        expect(again.headers.get("location")).toMatch(
          /^http:\/\/localhost:3000\/callback\?code=[\w-]+&state=second&iss=/,
        );
      });

      it("keeps several tabs apart by the page's hidden reference and takes the latest request without it", async () => {
        const account = await signUp(next());
        const browser = new TestBrowser();
        const tabs = [];
        for (const state of ["first", "second"]) {
          const step = await browser.get(authorizeUrl(next(), { state }));
          const page = await browser.get(new URL(step.headers.get("location") ?? "", next()).href);
          tabs.push(hiddenFields(await page.text()));
        }
        const login = { email: account.email, password: account.password };
        const first = await browser.post(`${next()}/login`, { ...tabs[0], ...login });
        expect(first.headers.get("location")).toContain("state=first");

        const other = new TestBrowser();
        for (const state of ["older", "latest"]) await other.get(authorizeUrl(next(), { state }));
        const latest = await other.submit(`${next()}/login`, login);
        expect(latest.headers.get("location")).toContain("state=latest");
      });

      it("shows the login again with 401 and one message, whichever part was wrong", async () => {
        const account = await signUp(next());
        const pages = [];
        for (const wrong of [
          { email: account.email, password: "wrong password" },
          { email: uniqueEmail(), password: account.password },
        ]) {
          const browser = new TestBrowser();
          await browser.get(authorizeUrl(next()));
          const answer = await browser.submit(`${next()}/login`, wrong);
          expect(answer.status).toBe(401);
          const html = await answer.text();
          pages.push(
            html.replaceAll(/(value|data-options|data-renew)="[^"]*"/g, "").replaceAll(/request=[\w.-]+/g, ""),
          );
        }
        expect(pages[0]).toBe(pages[1]);
      });

      it("sets a session cookie that scripts and other sites cannot use, a new one at each login", async () => {
        const account = await signUp(next());
        const browser = new TestBrowser();
        const login = { email: account.email, password: account.password };
        const first = await browser.submit(`${next()}/login`, login);
        const cookie = first.headers.getSetCookie().find((each) => each.startsWith("auth_session="));
        expect(cookie).toMatch(/^auth_session=[\w-]{43}; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax$/);
        const before = browser.cookies.get("auth_session");
        await browser.submit(`${next()}/login`, login);
        expect(browser.cookies.get("auth_session")).not.toBe(before);
        const old = new TestBrowser();
        old.cookies.set("auth_session", before ?? "");
        const answer = await old.get(authorizeUrl(next()));
        expect(new URL(answer.headers.get("location") ?? "", d.url).pathname).toBe("/login");
      });

      it("continues a cross-site POST of the request by 303 to a GET", async () => {
        const { browser } = await getCode(d.bases, await signUp(next()));
        const url = new URL(authorizeUrl(next()));
        const form = Object.fromEntries(url.searchParams);
        const answer = await new TestBrowser().post(`${url.origin}${url.pathname}`, form, {
          "sec-fetch-site": "cross-site",
        });
        expect(answer.status).toBe(303);
        const followed = await browser.get(new URL(answer.headers.get("location") ?? "", next()).href);
        expect(followed.headers.get("location")).toContain(`${portal.redirectUri}?code=`);
      });

      it("asks for consent to a client that is not first-party, once for each set of scopes", async () => {
        const account = await signUp(next());
        const browser = new TestBrowser();
        const options = { ...thirdParty, scope: "openid profile" };
        await browser.get(authorizeUrl(next(), options));
        const login = await browser.submit(`${next()}/login`, { email: account.email, password: account.password });
        const consent = new URL(login.headers.get("location") ?? "", next());
        expect(consent.pathname).toBe("/consent");
        const allowed = await browser.submit(consent.href, { decision: "allow" });
        expect(allowed.headers.get("location")).toContain(`${thirdParty.redirectUri}?code=`);
        const again = await browser.get(authorizeUrl(next(), options));
        expect(again.headers.get("location")).toContain(`${thirdParty.redirectUri}?code=`);
        const more = await browser.get(authorizeUrl(next(), { ...options, scope: "openid profile email" }));
        const asked = new URL(more.headers.get("location") ?? "", next());
        expect(asked.pathname).toBe("/consent");
        const denied = await browser.submit(asked.href, { decision: "deny" });
        expect(denied.headers.get("location")).toMatch(/error=access_denied.*state=a-state.*iss=/);
      });

      it("answers a code with the promised body", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        expect(
          Object.keys(tokens)
            .filter((key) => key !== "browser")
            .sort(),
        ).toEqual(["access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type"].sort());
        expect(tokens).toMatchObject({ expires_in: 120, token_type: "Bearer", scope: "openid profile read write" });
        const { code, verifier } = await getCode(d.bases, await signUp(next()), { scope: "profile" });
        expect(await json(await redeem(next(), code, verifier))).not.toHaveProperty("id_token");
      });

      it("S-020 takes a code 59 seconds after it was made, and not 61", async () => {
        const account = await signUp(next());
        const { browser } = await getCode(d.bases, account);
        const made = Date.now();
        const clocks = d.apps.map(({ clock }) => jest.spyOn(clock, "now").mockReturnValue(made));
        const [early, late] = [
          await getCode(d.bases, account, { browser }),
          await getCode(d.bases, account, { browser }),
        ];
        for (const clock of clocks) clock.mockReturnValue(made + 59_000);
        expect((await redeem(next(), early.code, early.verifier)).status).toBe(200);
        for (const clock of clocks) clock.mockReturnValue(made + 61_000);
        const refused = await redeem(next(), late.code, late.verifier);
        expect([refused.status, (await json(refused))["error"]]).toEqual([400, "invalid_grant"]);
      });

      it("S-062 refuses a second use of a code, and after two seconds takes back what the first gave", async () => {
        const { code, verifier } = await getCode(d.bases, await signUp(next()));
        const tokens = await inOneMoment(d.apps, async () => {
          const first = (await json(await redeem(next(), code, verifier))) as unknown as Tokens;
          expect((await redeem(next(), code, verifier)).status).toBe(400);
          return first;
        });
        expect(await introspect(next(), tokens.access_token)).toMatchObject({ active: true });
        d.shift(3_000);
        expect((await redeem(next(), code, verifier)).status).toBe(400);
        expect(await introspectSettled(next(), tokens.access_token)).toEqual({ active: false });
        expect((await refresh(next(), tokens.refresh_token)).status).toBe(401);
      });

      it("S-064 leaves the user's tokens alone when a used code comes with a wrong verifier, a wrong client or none", async () => {
        const { code, verifier } = await getCode(d.bases, await signUp(next()));
        const tokens = (await json(await redeem(next(), code, verifier))) as unknown as Tokens;
        d.shift(3_000);
        for (const wrong of [
          { code_verifier: pkce().verifier },
          { client_id: rotating.clientId },
          { client_id: "" },
        ] as Record<string, string>[]) {
          expect((await redeem(next(), code, verifier, wrong)).status).toBe(400);
        }
        expect(await introspect(next(), tokens.access_token)).toMatchObject({ active: true });
        expect((await refresh(next(), tokens.refresh_token)).status).toBe(200);
      });

      it("S-065 burns a code at the third wrong verifier, not before", async () => {
        const { code, verifier } = await getCode(d.bases, await signUp(next()));
        for (const _ of [1, 2]) expect((await redeem(next(), code, pkce().verifier)).status).toBe(400);
        const spare = await getCode(d.bases, await signUp(next()));
        for (const _ of [1, 2, 3]) await redeem(next(), spare.code, pkce().verifier);
        expect((await redeem(next(), code, verifier)).status).toBe(200);
        expect((await redeem(next(), spare.code, spare.verifier)).status).toBe(400);
      });

      it("S-005 S-006 shows a page and redirects nowhere while client or redirect URI are in doubt", async () => {
        for (const options of [
          { clientId: "nobody" },
          { redirectUri: "http://localhost:3000/callback/" },
          { redirectUri: "http://localhost:3001/callback" },
          { redirectUri: "https://evil.example/callback" },
        ]) {
          const answer = await new TestBrowser().get(authorizeUrl(next(), options));
          expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
          expect(answer.headers.get("content-type")).toContain("text/html");
        }
        const missing = authorizeUrl(next()).replace(/&redirect_uri=[^&]+/, "");
        expect((await new TestBrowser().get(missing)).status).toBe(400);
      });

      it("tells the client what is wrong with its request, with state and iss", async () => {
        const cases = [
          [{ response_type: "token" }, "unsupported_response_type"],
          [{ response_type: "" }, "invalid_request"],
          [{ code_challenge: "" }, "invalid_request"],
          [{ code_challenge_method: "plain" }, "invalid_request"],
          [{ code_challenge: "short" }, "invalid_request"],
          [{ scope: "openid admin" }, "invalid_scope"],
          [{ scope: "auth.introspect" }, "invalid_scope"],
          [{ prompt: "none" }, "login_required"],
          [{ prompt: "none login" }, "invalid_request"],
          [{ request: "x" }, "request_not_supported"],
          [{ request_uri: "http://127.0.0.1:9/x" }, "request_uri_not_supported"],
          [{ response_mode: "fragment" }, "invalid_request"],
          [{ resource: "https://orders.example" }, "invalid_target"],
        ] as const;
        for (const [extra, error] of cases) {
          const answer = await new TestBrowser().get(authorizeUrl(next(), { extra: extra as Record<string, string> }));
          const location = new URL(answer.headers.get("location") ?? "");
          expect([extra, location.searchParams.get("error")]).toEqual([extra, error]);
          expect(location.searchParams.get("state")).toBe("a-state");
          expect(location.searchParams.get("iss")).toBe(d.url);
        }
      });

      it("S-051 asks again for the password at prompt=login and when max_age is over", async () => {
        const account = await signUp(next());
        const { browser } = await getCode(d.bases, account);
        d.shift(10_000);
        for (const extra of [{ prompt: "login" }, { max_age: "5" }]) {
          const step = await browser.get(authorizeUrl(next(), { extra: extra as unknown as Record<string, string> }));
          expect(new URL(step.headers.get("location") ?? "", d.url).pathname).toBe("/login");
        }
        const recent = await browser.get(authorizeUrl(next(), { extra: { max_age: "10000" } }));
        expect(recent.headers.get("location")).toContain("code=");
        const before = Math.floor(Date.now() / 1000);
        const tokens = await getTokens(d.bases, account, { browser, extra: { prompt: "login" } });
        expect(Number(claimsOf(tokens.id_token)["auth_time"])).toBeGreaterThanOrEqual(before + 9);
      });

      it("publishes one login event for each exchange, with the browser that signed in", async () => {
        const account = await signUp(next());
        const browser = new TestBrowser({ "user-agent": "the signing-in browser" });
        const tokens = await getTokens(d.bases, account, { browser });
        const { key, event } = await waitForEvent(
          d,
          ({ topic, key }) => topic === "user-login" && key === account.uuid,
        );
        expect(key).toBe(account.uuid);
        expect(event).toMatchObject({
          eventType: "USER_LOGIN",
          payload: {
            uuid: account.uuid,
            email: account.email,
            loginMethod: "OAUTH2",
            ipAddress: expect.stringMatching(/127\.0\.0\.1|::1/),
            userAgent: "the signing-in browser",
          },
        });
        await refresh(next(), tokens.refresh_token);
        const all = (await d.events()).filter(({ topic, key }) => topic === "user-login" && key === account.uuid);
        expect(all).toHaveLength(1);
      });
    });

    describe("flow 2, sign-up and the account", () => {
      it("answers 201 with the account and publishes the event", async () => {
        const email = uniqueEmail();
        const response = await postJson(`${next()}/api/users/signup`, {
          email: `  ${email.toUpperCase()} `,
          password: signInPassword,
          nickname: "  닉네임 ",
          role: "ROLE_ADMIN",
          roles: ["ROLE_ADMIN"],
        });
        expect(response.status).toBe(201);
        const body = await json(response);
        const data = body["data"] as { uuid: string; createdAt: string };
        expect(body).toEqual({
          success: true,
          data: {
            uuid: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
            email,
            nickname: "닉네임",
            roles: ["ROLE_USER"],
            createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
          },
        });
        const isSignUp = (seen: SeenEvent) => seen.topic === "user-signup" && seen.key === data.uuid;
        const { event } = await waitForEvent(d, isSignUp);
        expect(event.eventId).toMatch(/^evt-\d{8}-.+/);
        expect(event).toMatchObject({
          eventType: "USER_SIGNUP",
          payload: { uuid: data.uuid, email, nickname: "닉네임", signupMethod: "EMAIL", createdAt: data.createdAt },
        });
      });

      it("answers 409 for a taken address, however it is written", async () => {
        const { email } = await signUp(next());
        for (const spelling of [email, email.toUpperCase(), ` ${email} `, email.replace("u", "ｕ")]) {
          const body = { email: spelling, password: signInPassword, nickname: "n" };
          const response = await postJson(`${next()}/api/users/signup`, body);
          expect([spelling, response.status]).toEqual([spelling, 409]);
          expect(await json(response)).toEqual({
            success: false,
            error: { code: "AUTH_EMAIL_DUPLICATE", message: expect.any(String) },
          });
        }
      });

      it("S-163 names every wrong field", async () => {
        const cases: [unknown, string[]][] = [
          [{}, ["email", "nickname", "password"]],
          [{ email: "no address", password: "short", nickname: " " }, ["email", "nickname", "password"]],
          [{ email: ["a@example.test"], password: { a: 1 }, nickname: 3 }, ["email", "nickname", "password"]],
          [{ email: uniqueEmail(), password: "x".repeat(129), nickname: "n" }, ["password"]],
          [{ email: uniqueEmail(), password: "1234567", nickname: "n" }, ["password"]],
          [{ email: `${"a".repeat(250)}@example.test`, password: signInPassword, nickname: "n" }, ["email"]],
          [{ email: uniqueEmail(), password: signInPassword, nickname: "n".repeat(51) }, ["nickname"]],
        ];
        for (const [body, fields] of cases) {
          const response = await postJson(`${next()}/api/users/signup`, body);
          const { error } = (await json(response)) as { error: { code: string; details: { field: string }[] } };
          expect([response.status, error.code]).toEqual([400, "AUTH_INVALID_REQUEST"]);
          expect(error.details.map(({ field }) => field).sort()).toEqual(fields);
        }
      });

      it("shows the account to a token with scope profile", async () => {
        const account = await signUp(next());
        const { access_token } = await getTokens(d.bases, account);
        const me = await fetch(`${next()}/api/users/me`, { headers: { authorization: `Bearer ${access_token}` } });
        expect(me.status).toBe(200);
        expect(await json(me)).toMatchObject({
          success: true,
          data: { uuid: account.uuid, email: account.email, roles: ["ROLE_USER"] },
        });
      });

      it("answers 202 to a reset for any address, and publishes an event only where there is an account", async () => {
        const account = await signUp(next());
        const nobody = uniqueEmail();
        const answers = [];
        for (const email of [account.email, nobody]) {
          const response = await postJson(`${next()}/api/users/password-reset`, { email });
          answers.push([response.status, await response.text()]);
        }
        expect(answers[0]).toEqual([202, expect.any(String)]);
        expect(answers[1]).toEqual(answers[0]);
        const { event } = await waitForEvent(d, ({ topic, key }) => topic === "password-reset" && key === account.uuid);
        expect(event.payload).toEqual({
          uuid: account.uuid,
          email: account.email,
          resetToken: expect.stringMatching(/^[\w-]{43}$/),
          resetUrl: `${d.url}/password-reset?token=${event.payload["resetToken"]}`,
          expiresAt: expect.any(String),
          ipAddress: expect.any(String),
        });
        expect((await d.events()).filter(({ event }) => event.payload["email"] === nobody)).toEqual([]);
      });

      it("S-169 takes a reset token once, the newest only, for ten minutes", async () => {
        const account = await signUp(next());
        const askFor = async (number: number) => {
          await postJson(`${next()}/api/users/password-reset`, { email: account.email });
          let tokens: string[] = [];
          await waitForEvent(d, () => true);
          for (let tries = 0; tries < 300 && tokens.length < number; tries++) {
            const mine = (await d.events()).filter((e) => e.topic === "password-reset" && e.key === account.uuid);
            tokens = mine.map(({ event }) => event.payload["resetToken"] ?? "");
            if (tokens.length < number) await new Promise((resolve) => setTimeout(resolve, 200));
          }
          return tokens[number - 1] ?? "";
        };
        const confirm = async (token: unknown, newPassword = "another good password") => {
          const response = await postJson(`${next()}/api/users/password-reset/confirm`, { token, newPassword });
          const body = response.status === 204 ? null : ((await json(response))["error"] as { code: string });
          return [response.status, body?.code];
        };
        const older = await askFor(1);
        const newest = await askFor(2);
        expect(await confirm(older)).toEqual([400, "AUTH_RESET_TOKEN_INVALID"]);
        expect(await confirm(["x"])).toEqual([400, "AUTH_INVALID_REQUEST"]);
        expect(await confirm("x".repeat(43))).toEqual([400, "AUTH_RESET_TOKEN_INVALID"]);
        expect(await confirm(newest, "short")).toEqual([400, "AUTH_INVALID_REQUEST"]);
        expect(await confirm(newest)).toEqual([204, undefined]);
        expect(await confirm(newest)).toEqual([400, "AUTH_RESET_TOKEN_INVALID"]);
        const late = await askFor(3);
        d.shift(601_000);
        expect(await confirm(late)).toEqual([400, "AUTH_RESET_TOKEN_INVALID"]);
        d.shift(0);
        await getCode(d.bases, { ...account, password: "another good password" });
      });

      it("changes a password for a first-party client that knows the current one", async () => {
        const account = await signUp(next());
        const tokens = await getTokens(d.bases, account);
        const change = (currentPassword: unknown, newPassword: unknown, token = tokens.access_token) =>
          postJson(
            `${next()}/api/users/me/password`,
            { currentPassword, newPassword },
            { authorization: `Bearer ${token}` },
          );
        const wrong = await change("not this one", "a new good password");
        expect([wrong.status, (await json(wrong))["error"]]).toEqual([
          400,
          expect.objectContaining({ code: "AUTH_INVALID_CREDENTIALS" }),
        ]);
        expect((await change(account.password, "short")).status).toBe(400);
        expect((await change(account.password, "a new good password")).status).toBe(204);
        // everything is over: the token that changed it too
        for (const base of d.bases) await introspectSettled(base, tokens.access_token);
        expect((await change("a new good password", "x".repeat(20))).status).toBe(401);
      });

      it("S-041 ends session, code, refresh token and access token when the password changes", async () => {
        const account = await signUp(next());
        const tokens = await getTokens(d.bases, account);
        const pending = await getCode(d.bases, account, { browser: tokens.browser });
        const response = await postJson(
          `${next()}/api/users/me/password`,
          { currentPassword: account.password, newPassword: "a new good password" },
          { authorization: `Bearer ${tokens.access_token}` },
        );
        expect(response.status).toBe(204);
        expect(await introspectSettled(next(), tokens.access_token)).toEqual({ active: false });
        expect((await refresh(next(), tokens.refresh_token)).status).toBe(401);
        expect((await redeem(next(), pending.code, pending.verifier)).status).toBe(400);
        const step = await tokens.browser.get(authorizeUrl(next()));
        expect(new URL(step.headers.get("location") ?? "", d.url).pathname).toBe("/login");
      });

      it("S-045 evaluates ten wrong passwords in a quarter of an hour, then refuses the right one too", async () => {
        const account = await signUp(next());
        const attempt = async (password: string) => {
          const browser = new TestBrowser();
          await browser.get(authorizeUrl(next()));
          return patiently(() => browser.submit(`${next()}/login`, { email: account.email, password }));
        };
        const statuses = await Promise.all(
          Array.from({ length: 14 }, async () => (await attempt("wrong password")).status),
        );
        const evaluated = statuses.filter((status) => status === 401).length;
        // one more at each replica may be in flight when the ten are used up
        expect(evaluated).toBeGreaterThanOrEqual(10);
        expect(evaluated).toBeLessThanOrEqual(10 + d.bases.length);
        const refused = await attempt(account.password);
        expect(refused.status).toBe(429);
        expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(600);
        d.shift(16 * 60_000);
        expect((await attempt(account.password)).status).toBe(303);
      });

      it("S-172 publishes at most five resets an hour for an account, and answers 202 all the same", async () => {
        const account = await signUp(next());
        for (let n = 0; n < 8; n++) {
          expect((await postJson(`${next()}/api/users/password-reset`, { email: account.email })).status).toBe(202);
        }
        const told = async () =>
          (await d.events()).filter(({ topic, key }) => topic === "password-reset" && key === account.uuid).length;
        const wait = () => new Promise((resolve) => setTimeout(resolve, 500));
        for (let tries = 0; tries < 60 && (await told()) < 5; tries++) await wait();
        await wait();
        expect(await told()).toBe(5);
      });
    });

    describe("flow 3, refresh", () => {
      it("refreshes by form and by JSON with the same body as flow 1", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        const parameters = {
          grant_type: "refresh_token",
          refresh_token: tokens.refresh_token,
          client_id: portal.clientId,
        };
        for (const response of [
          await postForm(`${next()}/oauth2/token`, parameters),
          await postJson(`${next()}/oauth2/token`, parameters),
        ]) {
          expect(response.status).toBe(200);
          const body = await json(response);
          expect(body).toMatchObject({ expires_in: 120, token_type: "Bearer", scope: "openid profile read write" });
          expect(body["access_token"]).not.toBe(tokens.access_token);
          expect(claimsOf(String(body["id_token"]))).not.toHaveProperty("nonce");
        }
      });

      it("S-089 refuses with 401 and no challenge, and the third time within a minute with 429", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        await postForm(`${next()}/oauth2/revoke`, { token: tokens.refresh_token, client_id: portal.clientId });
        const base = next();
        for (const status of [401, 401, 429, 429]) {
          const response = await refresh(base, tokens.refresh_token);
          expect(response.status).toBe(status);
          expect(response.headers.get("www-authenticate")).toBeNull();
          expect(response.headers.has("retry-after")).toBe(status === 429);
          expect((await json(response))["error"]).toBe("invalid_grant");
        }
      });

      it("ignores the expired Bearer that comes along", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        const parameters = {
          grant_type: "refresh_token",
          refresh_token: tokens.refresh_token,
          client_id: portal.clientId,
        };
        const headers = { authorization: `Bearer ${tokens.access_token}x` };
        expect((await postJson(`${next()}/oauth2/token`, parameters, headers)).status).toBe(200);
      });

      it("returns the presented token to the portal, and a new one to every other client", async () => {
        const portalTokens = await getTokens(d.bases, await signUp(next()));
        const body = await json(await refresh(next(), portalTokens.refresh_token));
        expect(body["refresh_token"]).toBe(portalTokens.refresh_token);
        const tokens = await rotatingTokens();
        const rotated = await json(await refreshRotating(tokens.refresh_token));
        expect(rotated["refresh_token"]).not.toBe(tokens.refresh_token);
      });

      it("S-078 answers a token replaced a moment ago with the current one, byte for byte", async () => {
        const tokens = await rotatingTokens();
        const first = await json(await refreshRotating(tokens.refresh_token));
        const again = await json(await refreshRotating(tokens.refresh_token));
        expect(again["refresh_token"]).toBe(first["refresh_token"]);
        const second = await json(await refreshRotating(String(first["refresh_token"])));
        const older = await json(await refreshRotating(tokens.refresh_token));
        expect(older["refresh_token"]).toBe(second["refresh_token"]);
      });

      it("S-075 takes an older token for theft and ends that authorization, and only that one", async () => {
        const account = await signUp(next());
        const options = { ...rotating, scope: "openid profile" };
        const stolen = await getTokens(d.bases, account, options);
        const other = await getTokens(d.bases, account, options);
        const rotated = (await json(await refreshRotating(stolen.refresh_token))) as unknown as Tokens;
        d.shift(11_000);
        const refused = await refreshRotating(stolen.refresh_token);
        expect([refused.status, (await json(refused))["error"]]).toEqual([401, "invalid_grant"]);
        expect((await refreshRotating(rotated.refresh_token)).status).toBe(401);
        expect(await introspectSettled(next(), rotated.access_token)).toEqual({ active: false });
        expect((await refreshRotating(other.refresh_token)).status).toBe(200);
      });

      it("S-082 never extends the thirty days from the first token", async () => {
        const tokens = await rotatingTokens();
        const first = claimsOf(tokens.refresh_token);
        d.shift(29 * 86_400_000);
        const response = await refreshRotating(tokens.refresh_token);
        expect(response.status).toBe(200);
        const rotated = (await json(response)) as unknown as Tokens;
        const { exp } = claimsOf(rotated.refresh_token);
        expect(exp).toBe(first["exp"]);
        expect(Number(exp)).toBeLessThanOrEqual(Number(first["iat"]) + 30 * 86_400);
        d.shift(31 * 86_400_000);
        expect((await refreshRotating(rotated.refresh_token)).status).toBe(401);
      });

      it("S-080 refuses another client's refresh token and leaves it unharmed", async () => {
        const tokens = await rotatingTokens();
        const refused = await refresh(next(), tokens.refresh_token, { client_id: thirdParty.clientId });
        expect([refused.status, (await json(refused))["error"]]).toEqual([401, "invalid_grant"]);
        expect((await refreshRotating(tokens.refresh_token)).status).toBe(200);
      });

      it("S-081 narrows the scope when asked and never widens it", async () => {
        const tokens = await rotatingTokens();
        const narrow = await refresh(next(), tokens.refresh_token, { client_id: rotating.clientId, scope: "profile" });
        const body = (await json(narrow)) as unknown as Tokens;
        expect(body.scope).toBe("profile");
        const wide = await refresh(next(), body.refresh_token, {
          client_id: rotating.clientId,
          scope: "profile write",
        });
        expect([wide.status, (await json(wide))["error"]]).toEqual([400, "invalid_scope"]);
        const whole = await json(await refreshRotating(body.refresh_token));
        expect(whole["scope"]).toBe("openid profile");
      });
    });

    describe("tokens", () => {
      it("S-114 never lets one kind of token pass for another", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        const me = (token: string) => fetch(`${next()}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
        for (const wrong of [tokens.refresh_token, tokens.id_token]) {
          const response = await me(wrong);
          expect([response.status, await json(response)]).toEqual([401, { error: "Invalid Token" }]);
          expect(await introspectSettled(next(), wrong)).toEqual({ active: false });
        }
        for (const wrong of [tokens.access_token, tokens.id_token]) {
          expect((await refresh(next(), wrong)).status).toBe(401);
        }
        expect((await me(tokens.access_token)).status).toBe(200);
      });

      it("names its audience: the client, or the resource that was asked for", async () => {
        const account = await signUp(next());
        const own = await getTokens(d.bases, account);
        expect(claimsOf(own.access_token)["aud"]).toBe(portal.clientId);
        const tokens = await getTokens(d.bases, account, {
          clientId: "with-resource",
          redirectUri: "http://localhost:4200/callback",
          scope: "openid profile",
          extra: { resource: "https://orders.example" },
        });
        const { issuer } = await json(await fetch(`${next()}/.well-known/openid-configuration`));
        expect(claimsOf(tokens.access_token)["aud"]).toEqual(["https://orders.example", `${issuer}/userinfo`]);
        expect(await introspect(next(), tokens.access_token, ordersBasic)).toMatchObject({ active: true });
        // S-132: a caller that is not that resource's server learns nothing; nor is the token good for the account
        expect(await introspect(next(), tokens.access_token, internalBasic)).toEqual({ active: false });
        const me = await fetch(`${next()}/api/users/me`, {
          headers: { authorization: `Bearer ${tokens.access_token}` },
        });
        expect([me.status, await json(me)]).toEqual([401, { error: "Invalid Token" }]);
      });

      it("gives a client its own tokens with one standing sid", async () => {
        const ask = async () => {
          const response = await postForm(
            `${next()}/oauth2/token`,
            { grant_type: "client_credentials", scope: "auth.introspect" },
            { authorization: internalBasic },
          );
          return claimsOf(String((await json(response))["access_token"]));
        };
        const [first, second] = [await ask(), await ask()];
        expect(first).toMatchObject({ sub: "internal-service", aud: "internal-service", scope: "auth.introspect" });
        expect(first).not.toHaveProperty("roles");
        expect(second["sid"]).toBe(first["sid"]);
        expect(second["jti"]).not.toBe(first["jti"]);
      });

      it("S-134 revokes by RFC 7009: an access token alone, a refresh token with its authorization", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        const revoke = (token: string, extra: Record<string, string> = {}) =>
          postForm(`${next()}/oauth2/revoke`, { token, client_id: portal.clientId, ...extra });
        expect((await revoke(tokens.access_token, { token_type_hint: "refresh_token" })).status).toBe(200);
        expect(await introspectSettled(next(), tokens.access_token)).toEqual({ active: false });
        const fresh = (await json(await refresh(next(), tokens.refresh_token))) as unknown as Tokens;
        expect(await introspect(next(), fresh.access_token)).toMatchObject({ active: true });
        expect((await revoke(fresh.access_token, { client_id: rotating.clientId })).status).toBe(200);
        expect(await introspect(next(), fresh.access_token)).toMatchObject({ active: true });
        expect((await revoke("nonsense")).status).toBe(200);
        expect((await revoke(tokens.refresh_token)).status).toBe(200);
        expect(await introspectSettled(next(), fresh.access_token)).toEqual({ active: false });
        expect((await refresh(next(), tokens.refresh_token)).status).toBe(401);
      });
    });

    describe("the gateway's table", () => {
      const ask = (path: string, headers: Record<string, string>) => fetch(`${next()}${path}`, { headers });
      const surfaces = ["/userinfo", "/api/users/me"];

      it("S-137 answers a request without a token with 401 Unauthorized", async () => {
        for (const path of surfaces) {
          const response = await ask(path, {});
          expect([response.status, await json(response)]).toEqual([401, { error: "Unauthorized" }]);
          expect(response.headers.get("www-authenticate")).toBe("Bearer");
        }
      });

      it("answers what is not a token of ours, or was changed or revoked, with 401 Invalid Token", async () => {
        const tokens = await getTokens(d.bases, await signUp(next()));
        const [head, body, signature = ""] = tokens.access_token.split(".");
        const changed = `${head}.${body}.${signature[0] === "A" ? "B" : "A"}${signature.slice(1)}`;
        const none = Buffer.from('{"alg":"none","typ":"at+jwt","kid":"x"}').toString("base64url");
        const revoked = await getTokens(d.bases, await signUp(next()));
        await postForm(`${next()}/oauth2/revoke`, { token: revoked.refresh_token, client_id: portal.clientId });
        for (const base of d.bases) await introspectSettled(base, revoked.access_token);
        const wrong = [
          "nonsense",
          changed,
          `${none}.${body}.`,
          tokens.refresh_token,
          tokens.id_token,
          revoked.access_token,
        ];
        for (const path of surfaces) {
          for (const token of wrong) {
            const response = await ask(path, { authorization: `Bearer ${token}` });
            expect([response.status, await json(response)]).toEqual([401, { error: "Invalid Token" }]);
            expect(response.headers.get("www-authenticate")).toContain('error="invalid_token"');
          }
          const basic = await ask(path, { authorization: internalBasic });
          expect([basic.status, await json(basic)]).toEqual([401, { error: "Invalid Token" }]);
        }
      });

      it("answers an expired token with 401 Token Expired, one that was revoked too with Invalid Token", async () => {
        const expired = await getTokens(d.bases, await signUp(next()));
        const both = await getTokens(d.bases, await signUp(next()));
        await postForm(`${next()}/oauth2/revoke`, { token: both.refresh_token, client_id: portal.clientId });
        for (const base of d.bases) await introspectSettled(base, both.access_token);
        d.shift(121_000);
        for (const path of surfaces) {
          const first = await ask(path, { authorization: `Bearer ${expired.access_token}` });
          expect([first.status, await json(first)]).toEqual([401, { error: "Token Expired" }]);
          const second = await ask(path, { authorization: `Bearer ${both.access_token}` });
          expect([second.status, await json(second)]).toEqual([401, { error: "Invalid Token" }]);
        }
      });

      it("answers a missing scope with 403 Forbidden", async () => {
        const account = await signUp(next());
        for (const [path, scope] of [
          ["/userinfo", "profile"],
          ["/api/users/me", "openid"],
        ] as const) {
          const { access_token } = await getTokens(d.bases, account, { scope });
          const response = await ask(path, { authorization: `bearer ${access_token}` });
          expect([response.status, await json(response)]).toEqual([403, { error: "Forbidden" }]);
          expect(response.headers.get("www-authenticate")).toContain('error="insufficient_scope"');
        }
      });
    });

    describe("logout", () => {
      it("S-126 ends the session and its tokens, and sends the browser to the registered URI with state", async () => {
        const account = await signUp(next());
        const { id_token, access_token, refresh_token, browser } = await getTokens(d.bases, account);
        const query = new URLSearchParams({
          id_token_hint: id_token,
          post_logout_redirect_uri: "http://localhost:3000/",
          state: "bye",
        });
        const response = await browser.get(`${next()}/connect/logout?${query}`);
        expect([response.status, response.headers.get("location")]).toEqual([303, "http://localhost:3000/?state=bye"]);
        const step = await browser.get(authorizeUrl(next()));
        expect(new URL(step.headers.get("location") ?? "", d.url).pathname).toBe("/login");
        expect(await introspectSettled(next(), access_token)).toEqual({ active: false });
        expect((await refresh(next(), refresh_token)).status).toBe(401);
      });

      it("S-127 goes nowhere that is not registered, and asks first without a hint", async () => {
        const { id_token, browser } = await getTokens(d.bases, await signUp(next()));
        for (const wrong of [
          { id_token_hint: id_token, post_logout_redirect_uri: "https://evil.example/" },
          { id_token_hint: `${id_token}x`, post_logout_redirect_uri: "http://localhost:3000/" },
          { id_token_hint: id_token, client_id: rotating.clientId },
        ]) {
          const response = await browser.get(`${next()}/connect/logout?${new URLSearchParams(wrong)}`);
          expect([response.status, response.headers.get("location")]).toEqual([400, null]);
        }
        const asked = await browser.get(`${next()}/connect/logout`);
        expect(asked.status).toBe(200);
        expect((await browser.get(authorizeUrl(next()))).headers.get("location")).toContain("code=");
        const confirmed = await browser.submit(`${next()}/connect/logout`, {});
        expect(confirmed.status).toBe(200);
        const step = await browser.get(authorizeUrl(next()));
        expect(new URL(step.headers.get("location") ?? "", d.url).pathname).toBe("/login");
      });
    });

    it("S-053 logs nothing that could be replayed", async () => {
      const account = await signUp(next(), { password: "a-password-to-look-for" });
      const { code, verifier, browser } = await getCode(d.bases, account);
      const tokens = (await json(await redeem(next(), code, verifier))) as unknown as Tokens;
      await refresh(next(), tokens.refresh_token);
      await introspect(next(), tokens.access_token);
      await postJson(`${next()}/api/users/password-reset`, { email: account.email });
      const { event } = await waitForEvent(d, ({ topic, key }) => topic === "password-reset" && key === account.uuid);
      const lines = d.apps.flatMap((app) => app.logs).join("\n");
      expect(lines).toContain(`"event":"sign_up"`);
      for (const secret of [
        account.password,
        code,
        verifier,
        tokens.access_token,
        tokens.refresh_token,
        tokens.id_token,
        browser.cookies.get("auth_session"),
        event.payload["resetToken"],
        "internal-service-secret",
      ]) {
        expect(secret).toBeTruthy();
        expect(lines.includes(String(secret))).toBe(false);
      }
    });
  });
}
