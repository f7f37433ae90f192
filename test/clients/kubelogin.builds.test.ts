import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { parse } from "yaml";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { cache, hasGo, make, programs } from "./toolchains.ts";

const minutes = 60_000;
const withGo: (name: string, work: () => Promise<void>) => void = hasGo()
  ? (name, work) => it(name, work, 2 * minutes)
  : (name) => skip(name, "Go");

const program = join(cache, "kubelogin");

/** One run of `kubectl oidc-login`. */
interface Run {
  /** The address that it tells the user to open; null where it ends without. */
  readonly address: Promise<URL | null>;
  /** What it hands to kubectl, once it has ended; null where it failed. */
  readonly credential: Promise<Credential | null>;
  readonly complaints: () => string;
}

interface Credential {
  kind: string;
  status: { token: string; expirationTimestamp: string };
}

/** Those that run still. */
const children = new Set<ChildProcess>();

function run(args: readonly string[]): Run {
  const child = spawn(program, [...args], { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  child.on("close", () => children.delete(child));
  let [output, complaints] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    output += chunk;
  });
  const closed = once(child, "close");
  const address = new Promise<URL | null>((resolve) => {
    child.stderr.setEncoding("utf8").on("data", (chunk) => {
      complaints += chunk;
      const [, url] = /Please visit the following URL in your browser: (\S+)/.exec(complaints) ?? [];
      if (url !== undefined) resolve(new URL(url));
    });
    closed.then(() => resolve(null));
  });
  const credential = closed.then(([code]) => (code === 0 ? (JSON.parse(output) as Credential) : null));
  return { address, credential, complaints: () => complaints };
}

describe("kubectl with kubelogin", () => {
  let app: TestApp;
  /** Its ID tokens live for three seconds. */
  let hasty: TestApp;
  let port: number;

  beforeAll(async () => {
    if (!hasGo()) return;
    await make(join(programs, "kubelogin"), "go", "build", "-o", program, "github.com/int128/kubelogin");
    [port = 0] = await freePorts(1);
    [app, hasty] = [await startApp(), await startApp({ ID_TOKEN_TTL: "3" })];
    for (const each of [app, hasty]) await registerAsIn("kubelogin", each, { "localhost:8000": `localhost:${port}` });
  }, 10 * minutes);
  afterAll(async () => {
    for (const child of children) child.kill();
    await app?.close();
    await hasty?.close();
  });

  /** The command that kubectl runs, for a user of its own: no cached token, no browser that would open by itself. */
  const commandFor = (at: TestApp, grantType: string) => {
    const settings = parse(settingsOf("kubelogin/kubeconfig.yaml", { "https://auth.example.com": at.url }));
    const [plugin, ...args] = settings.users[0].user.exec.args as string[];
    expect(plugin).toBe("oidc-login");
    const folder = mkdtempSync(join(tmpdir(), "kubelogin-"));
    const own = [`--grant-type=${grantType}`, `--token-cache-dir=${folder}`, "--skip-open-browser"];
    return [...args, ...own, `--listen-address=127.0.0.1:${port}`];
  };
  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** The page of kubelogin on this machine sends the browser to the service. */
  const authorizationUrlOf = async ({ address, complaints }: Run) => {
    const page = await address;
    if (page === null) throw new Error(`kubelogin asks for no login: ${complaints()}`);
    return locationOf(await new TestBrowser().get(page.href));
  };
  const logIn = async (at: TestApp, command: readonly string[]) => {
    const account = await signUp(at.url);
    const atService = new TestBrowser();
    const started = run(command);
    const authorizationUrl = await authorizationUrlOf(started);
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const page = await new TestBrowser().get((await answerOf(authorizationUrl, account, atService)).href);
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining("Authenticated")]);
    return { account, atService, token: (await started.credential)?.status.token ?? "" };
  };
  /** As the API server does with the settings of the page. */
  const claimsAtApiServer = async (at: TestApp, token: string) => {
    const keys = createRemoteJWKSet(new URL(`${at.url}/oauth2/jwks`));
    return (await jwtVerify(token, keys, { issuer: at.url, audience: "kubernetes", algorithms: ["RS256"] })).payload;
  };
  /** Runs until the cached token is over: the first run that does not answer with it. */
  const untilOver = async (command: readonly string[], token: string): Promise<Run> => {
    for (;;) {
      const next = run(command);
      if ((await next.address) !== null) return next;
      if ((await next.credential)?.status.token !== token) return next;
      await sleep(200);
    }
  };

  withGo("signs in with PKCE, and keeps the token for the next command", async () => {
    const command = commandFor(app, "authcode");
    const { account, token } = await logIn(app, command);
    expect(await claimsAtApiServer(app, token)).toMatchObject({ sub: account.uuid, roles: ["ROLE_USER"] });
    const next = run(command);
    expect(await next.address).toBeNull();
    expect((await next.credential)?.status.token).toBe(token);
  });

  withGo("refreshes a token that is over, and asks for a login once the service refuses that", async () => {
    const command = commandFor(hasty, "authcode");
    const { account, atService, token } = await logIn(hasty, command);
    const refreshed = await untilOver(command, token);
    expect(await refreshed.address).toBeNull();
    const second = (await refreshed.credential)?.status.token ?? "";
    expect(await claimsAtApiServer(hasty, second)).toMatchObject({ sub: account.uuid, roles: ["ROLE_USER"] });

    await atService.submit(`${hasty.url}/connect/logout`, {});
    const refused = await untilOver(command, second);
    const authorizationUrl = await authorizationUrlOf(refused);
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
    await new TestBrowser().get((await answerOf(authorizationUrl, account)).href);
    expect((await refused.credential)?.kind).toBe("ExecCredential");
  });

  withGo("signs in from a machine without a browser, by a code", async () => {
    const account = await signUp(app.url);
    const started = run(commandFor(app, "device-code"));
    const address = (await started.address)?.href ?? "";
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
    // the code is in the address that kubelogin shows
    const code = new URL(address).searchParams.get("user_code") ?? "";
    const question = await (await browser.submit(address, { user_code: code })).text();
    const allowed = await browser.post(`${app.url}/device/decision`, { ...hiddenFields(question), decision: "allow" });
    expect(allowed.status).toBe(200);
    const token = (await started.credential)?.status.token ?? "";
    const claims = await claimsAtApiServer(app, token);
    expect(claims.sub).toBe(account.uuid);
    // as the page says
    expect(claims).not.toHaveProperty("roles");
  });

  withGo("at a port that is not registered, the service shows a page that says so", async () => {
    const [other] = await freePorts(1);
    const command = commandFor(app, "authcode").map((arg) => arg.replace(`127.0.0.1:${port}`, `127.0.0.1:${other}`));
    const started = run([...command, "--authentication-timeout-sec=3"]);
    const page = await new TestBrowser().get((await authorizationUrlOf(started)).href);
    expect([page.status, await page.text()]).toEqual([400, expect.stringContaining("redirect_uri is not registered")]);
    expect(await started.credential).toBeNull();
    expect(started.complaints()).toContain("context deadline exceeded");
    expect(loggedOf(app, "authorization_refused")).toMatchObject({
      client_id: "kubernetes",
      redirect_uri: expect.stringContaining(`:${other}`),
      registered: [expect.stringContaining(`:${port}`)],
    });
  });

  withGo("with a wrong client id says so, and the service's log names the client and the reason", async () => {
    const wrong = commandFor(app, "device-code").map((arg) => arg.replace("id=kubernetes", "id=kubernets"));
    const started = run(wrong);
    expect(await started.credential).toBeNull();
    expect(started.complaints()).toContain("invalid_client");
    const line = app.logs.filter((each) => each.includes('"client_authentication_failed"')).at(-1);
    const reason = "no such client, or it is disabled";
    expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: "kubernets", reason });
  });
});
