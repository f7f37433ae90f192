import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { giveApp } from "../support/factors.ts";
import {
  type AuthorizeOptions,
  getCode,
  getTokens,
  introspect,
  postForm,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "../support/flow.ts";
import { signUpWithPasskey } from "../support/passkeys.ts";
import { Program } from "./program.ts";

// each test starts the program several times
jest.setTimeout(180_000);

interface Shown {
  client: { client_id: string; disabled_at: string | null; [name: string]: unknown };
  client_secret?: string;
}

const callback = "https://shop.example/cb";
const fileClient = {
  client_id: "from-file",
  client_secret: "a-secret-of-the-file",
  grant_types: ["client_credentials"],
};

describe("administration by the command line beside a running service", () => {
  let app: TestApp;
  let program: Program;
  beforeAll(async () => {
    app = await startApp({}, [fileClient]);
    program = await Program.empty({ ...app.env });
  });
  afterAll(() => app?.close());

  const run = async (line: string, input = "") => program.run(line.split(" "), { input });
  const shown = async (line: string) => {
    const outcome = await run(`${line} --json`);
    expect([line, outcome.status, outcome.stderr]).toEqual([line, 0, ""]);
    return outcome.json<Shown>();
  };
  const refused = async (line: string, status = 1) => {
    const outcome = await run(`${line} --json`);
    expect([line, outcome.status]).toEqual([line, status]);
    return outcome.json<{ error: { code: string; message: string } }>().error.message;
  };
  const portalOf = (clientId: string): AuthorizeOptions => ({ clientId, redirectUri: callback, scope: "openid" });
  const addShop = (clientId: string) =>
    shown(`client add ${clientId} --public --first-party --no-rotation --redirect-uri ${callback}`);
  /** A running service knows a change once it has read the feed of changes. */
  const eventually = async <T>(ask: () => Promise<T>, expected: T) => {
    const from = performance.now();
    let answer = await ask();
    while (JSON.stringify(answer) !== JSON.stringify(expected) && performance.now() - from < 20_000) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      answer = await ask();
    }
    expect(answer).toEqual(expected);
  };

  it("C-84 client update mends a redirect URI, and leaves what it does not name", async () => {
    const before = (await addShop("mended")).client;
    const { client } = await shown("client update mended --redirect-uri https://shop.example/other --name Shop");
    const { redirect_uris: _, ...others } = before;
    expect(client).toEqual({ ...others, client_name: "Shop", redirect_uris: ["https://shop.example/other"] });
    const user = await signUp(app.url);
    const other = { ...portalOf("mended"), redirectUri: "https://shop.example/other" };
    await eventually(async () => (await getCode(app.url, user, other)).location.origin, "https://shop.example");
  });

  it("C-84 client update sets and unsets every member, each checked as at registration", async () => {
    await addShop("members");
    const set = ["contacts", '["ops@shop.example"]', "require_auth_time", "true", "default_max_age", "60"];
    const sets = [0, 2, 4].flatMap((at) => ["--set", `${set[at]}=${set[at + 1]}`]);
    const page = ["--set", "client_uri=https://shop.example/"];
    const changed = await program.run(["client", "update", "members", ...sets, ...page, "--first-party", "--json"]);
    expect(changed.json<Shown>().client).toMatchObject({
      contacts: ["ops@shop.example"],
      require_auth_time: true,
      default_max_age: 60,
      client_uri: "https://shop.example/",
      first_party: true,
    });
    const { client } = await shown("client update members --unset client_uri --unset contacts --no-first-party");
    expect(client).not.toHaveProperty("client_uri");
    expect(client).not.toHaveProperty("contacts");
    expect(client).toMatchObject({ first_party: false, default_max_age: 60 });
    expect(await refused("client update members --redirect-uri http://shop.example/cb --set profile=fapi3")).toMatch(
      /redirect_uris.*profile/,
    );
    // no value is dropped without a word
    for (const twice of [
      "--set scope=a --set scope=b",
      "--set scope=a --unset scope",
      "--name A --set client_name=B",
    ]) {
      expect(await refused(`client update members ${twice}`, 2)).toMatch(/^(scope|client_name) /);
    }
    const unknown = await refused("client update members --set contact=x --set colour=red --unset profiles", 2);
    for (const said of ["'contact': did you mean contacts?", "'colour'", "'profiles': did you mean profile?"]) {
      expect(unknown).toContain(said);
    }
    const wrong = await refused("client update members --set default_max_age=soon --set require_auth_time=1");
    expect(wrong).toContain("default_max_age: is a text; must be a number");
    expect(wrong).toContain("require_auth_time: is a number; must be true or false");
    expect(await refused("client update members", 2)).toContain("--help");
    expect(await refused("client update nobody --name x")).toContain("nobody");
  });

  it("client show names every member that a client has, as text too", async () => {
    await addShop("whole");
    const sets = ["require_acr=urn:auth-service:acr:two-factor", "require_verified_email=true", "default_max_age=60"];
    await program.run(["client", "update", "whole", ...sets.flatMap((set) => ["--set", set])]);
    const text = (await program.run(["client", "show", "whole"])).stdout;
    for (const set of sets) {
      const [member, value] = set.split("=");
      expect(text).toMatch(new RegExp(`^${member} +${value}$`, "m"));
    }
    const { client } = await shown("client show whole");
    const inWords = ["client_name", "token_endpoint_auth_method", "grant_types", "refresh_token_rotation"];
    const others = ["refresh_token_reuse_window", "access_token_typ", "access_token_signed_response_alg"];
    const ofState = ["created_at", "disabled_at", "disabled_by", "secrets"];
    const spoken = new Set([...inWords, ...others, ...ofState]);
    const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
    for (const [member, value] of Object.entries(client)) {
      if (!spoken.has(member) && !isEmpty(value)) expect(text).toMatch(new RegExp(`^${member} `, "m"));
    }
  });

  it("C-84 client update gives a secret to a client that needs one from now on, and shows it once", async () => {
    await addShop("grown");
    const { client_secret: secret = "" } = await shown("client update grown --auth-method client_secret_basic");
    expect(secret).toMatch(/^[\w-]{43}$/);
    // it goes on sending its secret as it does
    const input = JSON.stringify({ client_id: "either", client_secret: "s".repeat(40) });
    await program.run(["client", "add", "--from-file", "-"], { input });
    await shown("client update either --name Either");
    expect((await app.context.store.clients.find("either"))?.metadata.any_secret_method).toBe(true);
    const again = await shown("client update grown --name Grown");
    expect(again).not.toHaveProperty("client_secret");
    const authorization = `Basic ${Buffer.from(`grown:${secret}`).toString("base64")}`;
    const form = { grant_type: "refresh_token", refresh_token: "unknown" };
    await eventually(async () => {
      const answer = await postForm(`${app.url}/oauth2/token`, form, { authorization });
      return ((await answer.json()) as { error: string }).error;
    }, "invalid_grant");
  });

  it("C-84 clients of the clients file are changed only there, but may be disabled and enabled again", async () => {
    for (const line of ["client update from-file --name Other", "client remove from-file --yes"]) {
      expect(await refused(line)).toContain("change it there");
    }
    expect(await refused("client update portal-client --name Other")).toContain("development client");
    await shown("client disable from-file");
    const { client } = await shown("client enable from-file");
    expect(client.disabled_at).toBeNull();
    expect(await refused("client enable from-file")).toContain("is not disabled");
  });

  it("C-84 client enable gives a client back what disabling it by mistake had stopped", async () => {
    await addShop("paused");
    const user = await signUp(app.url);
    const tokens = await getTokens(app.url, user, portalOf("paused"));
    const statusOfRefresh = async () => (await refresh(app.url, tokens.refresh_token, { client_id: "paused" })).status;
    await shown("client disable paused");
    await eventually(statusOfRefresh, 401);
    await shown("client enable paused");
    await eventually(statusOfRefresh, 200);
  });

  it("an access token stays revoked when its client is enabled again, and a new one is good though it looks older", async () => {
    await addShop("stopped");
    const user = await signUp(app.url);
    const isActive = async (token: string) => (await introspect(app.url, token))["active"];
    const first = await getTokens(app.url, user, portalOf("stopped"));
    await shown("client disable stopped");
    await eventually(() => isActive(first.access_token), false);
    await shown("client enable stopped");
    // the service's clock is behind that of the command
    app.clock.shift = -8_000;
    try {
      let second = "";
      await eventually(async () => {
        const response = await refresh(app.url, first.refresh_token, { client_id: "stopped" });
        second = ((await response.json()) as Partial<Tokens>).access_token ?? "";
        return response.status;
      }, 200);
      expect([await isActive(first.access_token), await isActive(second)]).toEqual([false, true]);
    } finally {
      app.clock.shift = 0;
    }
  });

  it("C-84 client remove asks, ends everything of the client, and leaves nothing to a later one of the same id", async () => {
    await addShop("leaving");
    const user = await signUp(app.url);
    const tokens = await getTokens(app.url, user, portalOf("leaving"));
    const { code, verifier } = await getCode(app.url, user, portalOf("leaving"));
    expect(await refused("client remove leaving", 2)).toMatch(/tokens.*--yes/);
    expect((await introspect(app.url, tokens.access_token))["active"]).toBe(true);
    await shown("client remove leaving --yes");
    expect(await refused("client show leaving")).toContain("leaving");
    await eventually(async () => (await introspect(app.url, tokens.access_token))["active"], false);
    await addShop("leaving");
    const extra = { client_id: "leaving", redirect_uri: callback };
    await eventually(async () => (await refresh(app.url, tokens.refresh_token, extra)).status, 401);
    expect((await redeem(app.url, code, verifier, extra)).status).toBe(400);
    expect((await introspect(app.url, tokens.access_token))["active"]).toBe(false);
    await getTokens(app.url, user, portalOf("leaving"));
  });

  it("C-84 user list goes through all accounts page by page, and finds parts of addresses", async () => {
    const emails = ["anna@list.example", "bert@list.example", "cleo@list.example"];
    for (const email of emails) await signUp(app.url, { email });
    const list = async (line: string) =>
      (await run(`user list --json ${line}`)).json<{ users: { email: string }[]; nextPage: string | null }>();
    const first = await list("--email @LIST.example --limit 2");
    const second = await list(`--email @list.example --limit 2 --page ${first.nextPage}`);
    expect([...first.users, ...second.users].map(({ email }) => email)).toEqual(emails);
    expect(second.nextPage).toBeNull();
    expect((await list("--email 100%")).users).toEqual([]);
    expect((await list("--limit 1000")).users.length).toBeGreaterThan(3);
    expect((await run("user list --limit 2")).stdout).toMatch(/^UUID +EMAIL.*\n[\s\S]*--page /);
    expect((await run("user list --limit 0x")).status).toBe(2);
  });

  it("C-84 user set-password takes it from standard input, ends every session, and the login takes it at once", async () => {
    const user = await signUp(app.url);
    const { access_token: token } = await getTokens(app.url, user);
    for (let n = 0; n < 10; n++) {
      await new TestBrowser().submit(`${app.url}/login`, { email: user.email, password: "wrong" });
    }
    const changed = await run(`user set-password ${user.email}`, "a quite different horse\n");
    expect([changed.status, changed.stderr, changed.stdout.includes("horse")]).toEqual([0, "", false]);
    await eventually(async () => (await introspect(app.url, token))["active"], false);
    const other = { ...user, password: "a quite different horse" };
    // a service that refused the login a moment ago remembers that for a second
    await eventually(async () => {
      const login = await new TestBrowser().submit(`${app.url}/login`, other);
      return login.status;
    }, 303);
    expect((await run(`user set-password ${user.email} --json`, "short\n")).status).toBe(1);
    expect((await run(`user set-password ${user.email} --password secret`)).status).toBe(2);
  });

  it("C-84 user sessions shows where an account is signed in, and user sign-out ends it", async () => {
    const user = await signUp(app.url);
    const { access_token: token } = await getTokens(app.url, user);
    const sessions = async () =>
      (await run(`user sessions ${user.email} --json`)).json<{ sessions: { userAgent: string; ipAddress: string }[] }>()
        .sessions;
    expect(await sessions()).toMatchObject([{ userAgent: "test browser", ipAddress: expect.stringMatching(/./) }]);
    expect((await run(`user sign-out ${user.email}`)).stdout).toBe(`${user.email} is signed out everywhere\n`);
    expect(await sessions()).toEqual([]);
    await eventually(async () => (await introspect(app.url, token))["active"], false);
  });

  it("user show names the ways in, and user reset-factors asks and says what is left", async () => {
    const user = await signUp(app.url);
    await giveApp(app, user.uuid);
    const { email } = await signUpWithPasskey([app.url, app.url], new Authenticator(app.url));
    const ways = async (who: string) => /signs in +(.+)/.exec((await run(`user show ${who}`)).stdout)?.[1];
    expect([await ways(user.email), await ways(email)]).toEqual([
      "password, authenticator app",
      "no password, 1 passkey",
    ]);
    expect(await refused(`user reset-factors ${email}`, 2)).toMatch(/no password: the reset mail sets one.*--yes/);
    expect(await ways(email)).toBe("no password, 1 passkey");
    // RFC 9562 section 4: a UUID is read in any case, as over gRPC
    expect(await ways(user.uuid.toUpperCase())).toBe("password, authenticator app");
    expect((await run(`user reset-factors ${email} --yes`)).stdout).toBe(
      `${email} has no password: the reset mail sets one\n`,
    );
    expect((await run(`user reset-factors ${user.uuid} --yes`)).stdout).toBe(
      `${user.uuid} signs in with the password alone\n`,
    );
    expect([await ways(user.email), await ways(email)]).toEqual(["password", "no password"]);
  });

  it("C-84 user remove asks, and the address may sign up again", async () => {
    const user = await signUp(app.url);
    expect(await refused(`user remove ${user.email}`, 2)).toMatch(/gone.*user disable.*--yes/);
    expect((await run(`user remove ${user.email} --yes --json`)).json()).toEqual({
      removed: { uuid: user.uuid, email: user.email },
    });
    expect(await refused(`user show ${user.uuid}`)).toBe("no such user");
    expect((await signUp(app.url, { email: user.email })).uuid).not.toBe(user.uuid);
  });

  it("C-84 outbox discard says which events are lost, and deletes parked ones alone", async () => {
    const user = await signUp(app.url);
    const { store } = app.context;
    const [event] = (await store.outbox.list(null, 1_000)).filter(({ userId }) => userId === user.uuid);
    const id = event?.eventId ?? "";
    expect(await refused(`outbox discard ${id} --yes`)).toContain(`not parked: ${id}`);
    expect(await refused(`outbox retry ${id}`)).toContain(`not parked: ${id}`);
    expect((await run("outbox retry --all --json")).json()).toEqual({ retried: 0 });
    expect((await run("outbox discard")).status).toBe(2);
    expect((await run("outbox discard --all --yes --json")).json()).toEqual({ discarded: [] });
  });
});
