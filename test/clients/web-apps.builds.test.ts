import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { claimsOf, refresh, signUp, TestBrowser } from "../support/flow.ts";
import { answerOf, asksForLogin } from "./sign-in.ts";
import { cache, hasGo, hasPython, make, programs, pythonWith, startProgram } from "./toolchains.ts";

const minutes = 60_000;

interface Library {
  readonly name: string;
  readonly needs: string;
  readonly present: boolean;
  /** @returns the command that runs the web app */
  build(): Promise<string[]>;
}

const libraries: readonly Library[] = [
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
const registrations = [
  { client_id: "public", token_endpoint_auth_method: "none" },
  {
    client_id: "confidential",
    token_endpoint_auth_method: "client_secret_basic",
    client_secret: "a secret of this client",
    id_token_signed_response_alg: "ES256",
  },
];

/** What the web app answers after a login and after a refresh. */
interface SignedIn {
  claims: Record<string, unknown>;
  userinfo: Record<string, unknown>;
  accessToken: string;
  refreshToken: string;
}

const whole = "signs in, refreshes, signs out and has to sign in again";
const forged = "refuses the answer to a login that it did not begin";

for (const { name, needs, present, build } of libraries) {
  const who = `a web app that signs in with ${name}`;
  if (present) describe(who, () => testWebApp(build));
  else for (const title of [whole, forged]) skip(`${who} ${title}`, needs);
}

function testWebApp(build: Library["build"]): void {
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

  const startWebApp = ({ client_id, client_secret }: (typeof registrations)[number]) =>
    startProgram(command, `http://127.0.0.1:${port}`, {
      PORT: String(port),
      ISSUER: app.url,
      CLIENT_ID: client_id,
      ...(client_secret === undefined ? {} : { CLIENT_SECRET: client_secret }),
    });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  const signedIn = async (response: Response): Promise<SignedIn> => {
    const text = await response.text();
    expect([response.status, text]).toEqual([200, text]);
    return JSON.parse(text) as SignedIn;
  };

  it.each(registrations)(
    `${whole}, as the client $client_id`,
    async (registration) => {
      const webApp = await startWebApp(registration);
      try {
        const account = await signUp(app.url, { nickname: "Zoë 🦊" });
        const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
        const authorizationUrl = locationOf(await atApp.get(`${webApp.url}/login`));
        expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
        const callback = await answerOf(authorizationUrl, account, atService);
        const login = await signedIn(await atApp.get(callback.href));
        const user = { sub: account.uuid, email: account.email, nickname: "Zoë 🦊" };
        expect(login.claims).toMatchObject({ sub: account.uuid, iss: app.url, aud: registration.client_id });
        expect(login.userinfo).toMatchObject(user);

        const refreshed = await signedIn(await atApp.post(`${webApp.url}/refresh`, {}));
        expect(refreshed.claims).toMatchObject({ sub: account.uuid, sid: claimsOf(login.accessToken)["sid"] });
        expect(refreshed.userinfo).toMatchObject(user);
        expect(refreshed.accessToken).not.toBe(login.accessToken);
        expect(refreshed.refreshToken).not.toBe(login.refreshToken);

        const endSession = locationOf(await atApp.get(`${webApp.url}/logout`));
        const back = locationOf(await atService.get(endSession.href));
        expect(back.href).toMatch(`${webApp.url}/signed-out?state=`);
        const home = locationOf(await atApp.get(back.href));
        expect(await (await atApp.get(home.href)).json()).toEqual({ signedIn: false });

        expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
        const own = { client_id: registration.client_id, client_secret: registration.client_secret ?? "" };
        expect((await refresh(app.url, refreshed.refreshToken, own)).status).toBe(401);
      } finally {
        await webApp.close();
      }
    },
    minutes,
  );

  it(
    forged,
    async () => {
      const webApp = await startWebApp(registrations[0]!);
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
