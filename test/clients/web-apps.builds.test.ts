import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { claimsOf, refresh, signUp, TestBrowser } from "../support/flow.ts";
import { answerOf, asksForLogin } from "./sign-in.ts";
import { cache, hasGo, hasPython, make, nodeProgram, programs, pythonWith, startProgram } from "./toolchains.ts";

const minutes = 60_000;

interface Library {
  readonly name: string;
  readonly needs: string;
  readonly present: boolean;
  /** It signs in by clients with a secret alone. */
  readonly needsSecret?: boolean;
  /** @returns the command that runs the web app */
  build(): Promise<string[]>;
}

const libraries: readonly Library[] = [
  ...["express-openid-connect", "passport-oauth2"].map((name) => ({
    name,
    needs: "npm",
    present: true,
    needsSecret: name === "express-openid-connect",
    build: () => nodeProgram(join(programs, name)),
  })),
  {
    name: "requests-oauthlib",
    needs: "Python 3 with venv and pip",
    present: hasPython(),
    async build() {
      const folder = join(programs, "requests-oauthlib");
      return [await pythonWith(join(folder, "requirements.txt")), join(folder, "app.py")];
    },
  },
  {
    name: "Authlib",
    needs: "Python 3 with venv and pip",
    present: hasPython(),
    async build() {
      const folder = join(programs, "authlib");
      return [await pythonWith(join(folder, "requirements.txt")), join(folder, "app.py")];
    },
  },
  {
    name: "go-oidc",
    needs: "Go",
    present: hasGo(),
    async build() {
      const program = join(cache, "go-oidc");
      await make(join(programs, "go-oidc"), "go", "build", "-o", program, ".");
      return [program];
    },
  },
];

/** How a client may be registered: without a secret, and with one and the other signature. */
const registrations: readonly {
  client_id: string;
  token_endpoint_auth_method?: string;
  client_secret?: string;
  id_token_signed_response_alg?: string;
}[] = [
  { client_id: "public", token_endpoint_auth_method: "none" },
  {
    // takes the secret by Basic and in the body
    client_id: "confidential",
    client_secret: "a secret of this client",
    id_token_signed_response_alg: "ES256",
  },
];

/** What the web app answers after a login and after a refresh. */
interface SignedIn {
  /** Of the ID token, where the library reads one. */
  claims?: Record<string, unknown>;
  userinfo: Record<string, unknown>;
  accessToken: string;
  refreshToken: string;
}

type Registration = (typeof registrations)[number];

const whole = "signs in, refreshes, signs out and has to sign in again";
const refused = "says so once the service refuses the refresh, and signs in again when it is asked to";
const forged = "refuses the answer to a login that it did not begin";
const wrong = "with a wrong secret says so, and the service's log names the client and the reason";

for (const library of libraries) {
  const { name, needs, present } = library;
  const who = `a web app that signs in with ${name}`;
  if (present) describe(who, () => testWebApp(library));
  else for (const title of [whole, refused, forged, wrong]) skip(`${who} ${title}`, needs);
}

function testWebApp({ build, needsSecret = false }: Library): void {
  const usable = registrations.filter(({ client_secret: secret }) => secret !== undefined || !needsSecret);
  let port: number;
  let app: TestApp;
  let command: string[];
  beforeAll(async () => {
    command = await build();
    [port = 0] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    app = await startApp(
      {},
      registrations.map((registration) => ({
        ...registration,
        redirect_uris: [`${url}/callback`],
        post_logout_redirect_uris: [`${url}/signed-out`],
        first_party: true,
      })),
    );
  }, 10 * minutes);
  afterAll(() => app?.close());

  const startWebApp = ({ client_id, client_secret, id_token_signed_response_alg }: Registration) =>
    startProgram(command, `http://127.0.0.1:${port}`, {
      PORT: String(port),
      ISSUER: app.url,
      CLIENT_ID: client_id,
      ...(id_token_signed_response_alg === undefined ? {} : { ID_TOKEN_ALG: id_token_signed_response_alg }),
      ...(client_secret === undefined ? {} : { CLIENT_SECRET: client_secret }),
    });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** Some libraries send the browser on before they show who signed in. */
  const signedIn = async (first: Response, browser: TestBrowser): Promise<SignedIn> => {
    const goesOn = [302, 303].includes(first.status);
    const response = goesOn ? await browser.get(locationOf(first).href) : first;
    const text = await response.text();
    expect([response.status, text]).toEqual([200, text]);
    return JSON.parse(text) as SignedIn;
  };

  it.each(usable)(
    `${whole}, as the client $client_id`,
    async (registration) => {
      const webApp = await startWebApp(registration);
      try {
        const account = await signUp(app.url, { nickname: "Zoë 🦊" });
        const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
        const authorizationUrl = locationOf(await atApp.get(`${webApp.url}/login`));
        expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
        const callback = await answerOf(authorizationUrl, account, atService);
        const login = await signedIn(await atApp.get(callback.href), atApp);
        const user = { sub: account.uuid, email: account.email, nickname: "Zoë 🦊" };
        if (login.claims !== undefined) {
          expect(login.claims).toMatchObject({ sub: account.uuid, iss: app.url, aud: registration.client_id });
        }
        expect(login.userinfo).toMatchObject(user);

        const refreshed = await signedIn(await atApp.post(`${webApp.url}/refresh`, {}), atApp);
        expect(claimsOf(refreshed.accessToken)).toMatchObject({
          sub: account.uuid,
          sid: claimsOf(login.accessToken)["sid"],
        });
        expect(refreshed.userinfo).toMatchObject(user);
        expect(refreshed.accessToken).not.toBe(login.accessToken);
        expect(refreshed.refreshToken).not.toBe(login.refreshToken);

        const endSession = locationOf(await atApp.get(`${webApp.url}/logout`));
        const back = locationOf(await atService.get(endSession.href));
        expect(back.origin + back.pathname).toBe(`${webApp.url}/signed-out`);
        const home = locationOf(await atApp.get(back.href));
        expect(await (await atApp.get(home.href)).json()).toEqual({ signedIn: false });

        expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
        const own = { client_id: registration.client_id, client_secret: registration.client_secret ?? "" };
        expect((await refresh(app.url, refreshed.refreshToken, own)).status).toBe(
          registration.client_secret === undefined ? 401 : 400,
        );
      } finally {
        await webApp.close();
      }
    },
    minutes,
  );

  it.each(usable)(
    `${refused}, as the client $client_id`,
    async (registration) => {
      const webApp = await startWebApp(registration);
      try {
        const account = await signUp(app.url);
        const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
        const begin = async () => locationOf(await atApp.get(`${webApp.url}/login`));
        await signedIn(await atApp.get((await answerOf(await begin(), account, atService)).href), atApp);
        await atService.submit(`${app.url}/connect/logout`, {});

        const answer = await atApp.post(`${webApp.url}/refresh`, {});
        expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("invalid_grant")]);
        const lines = app.logs.filter((line) => line.includes('"token_refused"'));
        expect(JSON.parse(lines.at(-1) ?? "{}")).toMatchObject({
          client_id: registration.client_id,
          grant_type: "refresh_token",
        });
        // the app goes on, and does not go round by itself
        expect(await (await atApp.get(webApp.url)).json()).toEqual({ signedIn: true });
        const authorizationUrl = await begin();
        expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
        const callback = await answerOf(authorizationUrl, account, atService);
        expect(await signedIn(await atApp.get(callback.href), atApp)).toMatchObject({
          userinfo: { sub: account.uuid },
        });
      } finally {
        await webApp.close();
      }
    },
    minutes,
  );

  it(
    wrong,
    async () => {
      const webApp = await startWebApp({ client_id: "confidential", client_secret: "not its secret" });
      try {
        const [atApp, account] = [new TestBrowser(), await signUp(app.url)];
        const authorizationUrl = locationOf(await atApp.get(`${webApp.url}/login`));
        const answer = await atApp.get((await answerOf(authorizationUrl, account)).href);
        expect(answer.status).toBeGreaterThanOrEqual(400);
        expect(await (await atApp.get(webApp.url)).json()).toEqual({ signedIn: false });
        const lines = app.logs.filter((line) => line.includes('"client_authentication_failed"'));
        expect(JSON.parse(lines.at(-1) ?? "{}")).toMatchObject({
          client_id: "confidential",
          reason: "the secret is wrong or over",
        });
      } finally {
        await webApp.close();
      }
    },
    minutes,
  );

  it(
    forged,
    async () => {
      const webApp = await startWebApp(usable[0]!);
      try {
        const attacker = new TestBrowser();
        const theirs = locationOf(await attacker.get(`${webApp.url}/login`));
        const answer = await answerOf(theirs, await signUp(app.url));
        const victim = new TestBrowser();
        await victim.get(`${webApp.url}/login`);
        expect((await victim.get(answer.href)).status).toBe(400);
        expect(await (await victim.get(webApp.url)).json()).toEqual({ signedIn: false });
      } finally {
        await webApp.close();
      }
    },
    minutes,
  );
}
