import { readFileSync } from "node:fs";
import path from "node:path";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { Program } from "../commands/program.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { getCode, internalBasic, postForm, signUp, TestBrowser } from "../support/flow.ts";

type Line = Record<string, unknown>;

const from = "198.51.100.7";
const given = "proxy-0123456789.abc";
const headers = { "x-forwarded-for": from, "x-request-id": given, "user-agent": "browser of the test" };

describe("what the log says of security events", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ TRUST_PROXY: "loopback" });
  });
  afterAll(() => app?.close());

  /** The lines of one event that `work` led to. */
  const linesOf = async (event: string, work: () => Promise<unknown>): Promise<Line[]> => {
    const before = app.logs.length;
    await work();
    return app.logs
      .slice(before)
      .map((line) => JSON.parse(line) as Line)
      .filter((line) => line["event"] === event);
  };
  const logIn = (email: string, password: string) =>
    new TestBrowser(headers).submit(`${app.url}/login`, { email, password });
  const ofRequest = { request_id: given, address: from, agent: headers["user-agent"] };

  it("C-85 a login that succeeded says who, from where, with what and for which application", async () => {
    const user = await signUp(app.url);
    const browser = new TestBrowser(headers);
    const lines = await linesOf("login", () => getCode(app.url, user, { browser }));
    expect(lines).toMatchObject([{ ...ofRequest, sub: user.uuid, client_id: "portal-client" }]);
  });

  it("C-85 a login that failed says why, and one that was throttled is logged too", async () => {
    const user = await signUp(app.url);
    const wrong = () => logIn(user.email, "not the password");
    expect(await linesOf("login_failed", wrong)).toMatchObject([
      { ...ofRequest, sub: user.uuid, reason: "wrong_password" },
    ]);
    const unknown = await linesOf("login_failed", () => logIn("nobody@example.test", "not the password"));
    expect(unknown).toMatchObject([{ ...ofRequest, reason: "unknown_account" }]);
    for (let n = 0; n < 9; n++) await wrong();
    const throttled = await linesOf("login_throttled", wrong);
    expect(throttled).toMatchObject([
      { ...ofRequest, level: "warn", account: expect.stringMatching(/^[0-9a-f]{16}$/) },
    ]);
    expect(throttled.some((line) => JSON.stringify(line).includes(user.email))).toBe(false);
  });

  it("C-85 a client authentication that failed says which client, how and why", async () => {
    const authorization = `Basic ${Buffer.from("internal-service:a-wrong-secret").toString("base64")}`;
    const ask = () =>
      postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, { ...headers, authorization });
    expect(await linesOf("client_authentication_failed", ask)).toMatchObject([
      { ...ofRequest, client_id: "internal-service", method: "client_secret_basic", reason: expect.any(String) },
    ]);
    expect(app.logs.join("")).not.toContain("a-wrong-secret");
  });

  it("C-85 answers have the id of their log lines: a trusted proxy's, and a new one in place of what is no id", async () => {
    const idOf = async (id: Record<string, string>) =>
      (await fetch(`${app.url}/login`, { headers: id })).headers.get("x-request-id");
    expect(await idOf(headers)).toBe(given);
    for (const wrong of [
      { "x-request-id": given },
      { ...headers, "x-request-id": "a b" },
      { ...headers, "x-request-id": "x".repeat(129) },
    ]) {
      expect(await idOf(wrong)).toMatch(/^[\w-]{12}-[0-9a-z]+$/);
    }
    expect(await idOf({})).not.toBe(await idOf({}));
  });

  it("C-85 a call over gRPC or Connect has an id in its log lines and its answer, and says which service called", async () => {
    const transports = [
      createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 }),
      createConnectTransport({ baseUrl: app.internalUrl, httpVersion: "1.1" }),
    ];
    for (const transport of transports) {
      const user = await signUp(app.url);
      let answered: string | null = null;
      const lines = await linesOf("user_disabled", () =>
        createClient(UserService, transport).disableUser(
          { uuid: user.uuid },
          {
            headers: { authorization: internalBasic, "x-request-id": "call-1" },
            onHeader: (header) => {
              answered = header.get("x-request-id");
            },
          },
        ),
      );
      expect(lines).toMatchObject([{ request_id: "call-1", caller: "internal-service", sub: user.uuid }]);
      expect(answered).toBe("call-1");
    }
  });

  it("C-85 a change by the command line is logged as one", async () => {
    const program = await Program.empty({ ...app.env, LOG_LEVEL: "info" });
    const user = await signUp(app.url);
    const { stderr } = await program.run(["user", "grant", user.uuid, "ROLE_ADMIN"]);
    const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
    expect(lines.map((line) => JSON.parse(line) as Line)).toContainEqual(
      expect.objectContaining({ event: "user_changed", by: "command", sub: user.uuid, members: ["roles"] }),
    );
  });

  it("C-85 the reference names every event", () => {
    const root = path.resolve(import.meta.dirname, "../..");
    const source = readFileSync(path.join(root, "src/telemetry/security-events.ts"), "utf8");
    const page = readFileSync(path.join(root, "docs/reference/log.md"), "utf8");
    const events = [...source.matchAll(/^ {2}(\w+): "(?:info|warn)",$/gm)].map(([, event]) => event ?? "");
    expect(events.length).toBeGreaterThan(30);
    expect(events.filter((event) => !page.includes(`\`${event}\``))).toEqual([]);
  });
});
