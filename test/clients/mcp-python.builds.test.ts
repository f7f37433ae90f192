import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { withdrawConsent } from "../../src/oauth/authorization/consents.ts";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, claimsOf, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { until } from "../support/resets.ts";
import { startMcpServer } from "./mcp-server.ts";
import { hasPython, programs, pythonWith } from "./toolchains.ts";

const minutes = 60_000;
const callback = "http://127.0.0.1:33419/callback";
const withPython: (name: string, work: () => Promise<void>) => void = hasPython()
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Python 3 with venv and pip");

/** What the assistant tells: an address to open in the browser, or the answer of the tool. */
interface Told {
  open?: string;
  who?: string;
  token?: string;
  client?: string;
}

/** One run of the program: it has registered nowhere and nobody has signed in. */
class Assistant {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  complaints = "";

  constructor(python: string, server: string) {
    this.#child = spawn(python, [join(programs, "mcp-python/app.py")], {
      env: { ...process.env, MCP_SERVER: server, CALLBACK: callback },
    });
    this.#child.stderr.setEncoding("utf8").on("data", (chunk) => {
      this.complaints += chunk;
    });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  call(): Promise<Told> {
    return this.write("call");
  }

  /** Writes a line. @returns what the assistant tells next */
  async write(line: string): Promise<Told> {
    this.#child.stdin.write(`${line}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the assistant ended: ${this.complaints}`);
    return JSON.parse(value) as Told;
  }

  async close(): Promise<void> {
    const ended = once(this.#child, "close");
    this.#child.kill();
    await ended;
  }
}

describe("the MCP SDK in Python as client", () => {
  let app: TestApp;
  let verifier: Verifier;
  let resource: string;
  let python: string;
  let closeServer: () => Promise<unknown>;
  const assistants: Assistant[] = [];

  beforeAll(async () => {
    if (!hasPython()) return;
    python = await pythonWith(join(programs, "mcp-python/requirements.txt"));
    const [port = 0] = await freePorts(1);
    resource = `http://127.0.0.1:${port}/mcp`;
    // the SDK refreshes what is over by its own clock
    app = await startApp({ RESOURCES: resource, OPEN_REGISTRATION: "1", ACCESS_TOKEN_TTL: "3" });
    verifier = createVerifier({
      issuer: app.url,
      audience: resource,
      onStreamLost: "accept-until-expiry",
      // as the page has it
      expiryToleranceSeconds: 2,
      protectedResource: { resource, scopes: ["openid", "profile"] },
    });
    await verifier.ready();
    closeServer = await startMcpServer(verifier, port);
  }, 10 * minutes);
  afterAll(async () => {
    for (const assistant of assistants) await assistant.close();
    await closeServer?.();
    await verifier?.close();
    await app?.close();
  });

  /** The user signs in where the assistant wants it, and allows what it asks for. @returns where the browser ends */
  const answerOf = async (address: string, account: Account, browser: TestBrowser): Promise<string> => {
    let next = new URL(address);
    while (next.href.split("?")[0] !== callback) {
      const page = await browser.get(next.href);
      const location = page.headers.get("location");
      if (location !== null) {
        next = new URL(location, next);
        continue;
      }
      const form = { ...hiddenFields(await page.text()), decision: "allow", ...account };
      const answer = await browser.post(new URL(next.pathname, next).href, form);
      next = new URL(answer.headers.get("location") ?? "about:blank", next);
    }
    return next.href;
  };
  const signedIn = async () => {
    const [assistant, account, browser] = [new Assistant(python, resource), await signUp(app.url), new TestBrowser()];
    assistants.push(assistant);
    const { open = "" } = await assistant.call();
    return { assistant, account, browser, open, first: await assistant.write(await answerOf(open, account, browser)) };
  };
  /** The SDK counts from when it got the token, which may be a second after the one that the token names. */
  const untilOver = ({ token = "" }: Told) => {
    const over = (Number(claimsOf(token)["exp"]) + 1) * 1_000;
    return until(() => (Date.now() > over + 500 ? true : undefined));
  };

  withPython(
    "finds the issuer by the refusal of a server, registers, signs in for that server, and calls it",
    async () => {
      const { account, open, first } = await signedIn();
      const { origin, searchParams } = new URL(open);
      expect([origin, searchParams.get("resource"), searchParams.get("code_challenge_method")]).toEqual([
        app.url,
        resource,
        "S256",
      ]);
      expect(first).toMatchObject({ who: account.uuid, client: searchParams.get("client_id") });
      expect(claimsOf(first.token ?? "")).toMatchObject({
        client_id: first.client,
        aud: expect.arrayContaining([resource]),
      });
    },
  );

  withPython("refreshes a token that is over for the same server, and asks for no login", async () => {
    const { assistant, account, first } = await signedIn();
    await untilOver(first);
    const second = await assistant.call();
    expect(second).toMatchObject({ who: account.uuid, client: first.client });
    expect(claimsOf(second.token ?? "")).toMatchObject({
      sid: claimsOf(first.token ?? "")["sid"],
      aud: claimsOf(first.token ?? "")["aud"],
    });
    expect(second.token).not.toBe(first.token);
  });

  withPython("signs in again once the service refuses the refresh, as the client that it is", async () => {
    const { assistant, account, browser, first } = await signedIn();
    // signing out is not enough: the SDK asks for offline_access
    await withdrawConsent(app.context, account.uuid, first.client ?? "");
    await untilOver(first);
    const { open = "" } = await assistant.call();
    const line = app.logs.filter((each) => each.includes('"token_refused"')).at(-1);
    expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: first.client, grant_type: "refresh_token" });
    expect(new URL(open).searchParams.get("client_id")).toBe(first.client);
    const again = await assistant.write(await answerOf(open, account, browser));
    expect(again).toMatchObject({ who: account.uuid, client: first.client });
    // and then goes on
    expect(await assistant.call()).toMatchObject({ who: account.uuid });
  });
});
