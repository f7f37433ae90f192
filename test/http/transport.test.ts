import { mkdtempSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { rotateSigningKeys } from "../../src/oauth/keys/rotation.ts";
import { serverCertificate, serverKey } from "../rpc/certificates.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  claimsOf,
  getCode,
  getTokens,
  internalBasic,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { resetEvents, until } from "../support/resets.ts";

const clients = [
  { client_id: "rotating", redirect_uris: ["https://rotating.example/cb"], scope: "openid", first_party: true },
];

describe("the public listener", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, clients);
  });
  afterEach(() => {
    app.clock.shift = 0;
  });
  afterAll(() => app.close());

  /** What comes back for these bytes, and whether the connection was closed afterwards: within `waitMs` of the last byte. */
  function send(bytes: string, waitMs = 2_000, url = app.url) {
    const { port } = new URL(url);
    return new Promise<{ status: number; closed: boolean; answers: number }>((resolve) => {
      let text = "";
      let closed = false;
      const socket: Socket = connect(Number(port), "127.0.0.1", () => socket.write(bytes, "latin1"));
      const done = () => {
        clearTimeout(timer);
        socket.destroy();
        const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
        resolve({ status: statuses[0] ?? 0, closed, answers: statuses.length });
      };
      let timer = setTimeout(done, 15_000);
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1");
        clearTimeout(timer);
        timer = setTimeout(done, waitMs);
      });
      socket.on("error", () => {});
      socket.on("close", () => {
        closed = true;
        done();
      });
    });
  }

  const head = "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
  const chunked = `${head}Transfer-Encoding: chunked\r\n`;
  const get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";

  it.each([
    ["a length and a transfer encoding", `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["a transfer encoding and a length", `${chunked}Content-Length: 5\r\n\r\n0\r\n\r\n`],
    ["two lengths", `${head}Content-Length: 0\r\nContent-Length: 5\r\n\r\n`],
    ["the same length twice", `${head}Content-Length: 0\r\nContent-Length: 0\r\n\r\n`],
    ["a list of lengths", `${head}Content-Length: 0, 5\r\n\r\n`],
    ["a signed length", `${head}Content-Length: +5\r\n\r\n`],
    ["an unknown transfer encoding", `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["another transfer encoding after chunked", `${chunked}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n`],
    ["a folded header", `${head}X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
    ["a space before a colon", `${get}X-Spaced : a\r\n\r\n`],
    ["chunks that end in a bare line feed", `${chunked}\r\n1\nZ\n0\n\n`],
    ["a header that ends in a bare line feed", `${get}X-One: a\nX-Two: b\r\n\r\n`],
    ["a header that ends in a bare carriage return", `${get}X-One: a\rX-Two: b\r\n\r\n`],
    ["headers that end in a bare line feed", `${get}\n`],
    ["nothing but bare line feeds", "GET /healthz HTTP/1.1\nHost: localhost\n\n"],
    ["a chunk extension of 64 KiB", `${chunked}\r\n1;${"x".repeat(65_536)}\r\nZ\r\n0\r\n\r\n`],
    ["two hosts", `${get}Host: evil.example\r\n\r\n`],
    ["two Authorization headers", `${get}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`],
    ["no host", "GET /healthz HTTP/1.1\r\n\r\n"],
  ])("S-176 refuses %s with 400 and closes the connection, so that nothing is smuggled behind it", async (_, bytes) => {
    for (const url of [app.url, app.internalUrl]) {
      expect(await send(`${bytes}${get}\r\n`, 2_000, url)).toEqual({ status: 400, closed: true, answers: 1 });
    }
  });

  it("S-176 refuses an unknown expectation, and two Authorization headers of which one is good", async () => {
    const expecting = await send(`${head}Expect: magic\r\nContent-Length: 0\r\n\r\n`);
    expect(expecting.status).toBe(400);
    const { access_token: token } = await getTokens(app.url, await signUp(app.url));
    const userinfo = "GET /userinfo HTTP/1.1\r\nHost: localhost\r\n";
    const good = `Authorization: Bearer ${token}\r\n`;
    expect((await send(`${userinfo}${good}Connection: close\r\n\r\n`)).status).toBe(200);
    const bad = `Authorization: Bearer ${token}x\r\n`;
    for (const both of [good + bad, bad + good, good + good]) {
      expect(await send(`${userinfo}${both}\r\n${get}\r\n`)).toEqual({ status: 400, closed: true, answers: 1 });
    }
  });

  it("S-179 writes one line for each security event, with its name and ids and nothing secret", async () => {
    const account = await signUp(app.url);
    const from = app.logs.length;
    await new TestBrowser().submit(`${app.url}/login`, { email: account.email, password: "wrong" });
    const { code, verifier, browser } = await getCode(app.url, account);
    const tokens = (await (await redeem(app.url, code, verifier)).json()) as Record<string, string>;
    app.clock.shift += 3_000;
    await redeem(app.url, code, verifier);
    await postForm(`${app.url}/oauth2/revoke`, { token: tokens["refresh_token"] ?? "", client_id: portal.clientId });

    const rotating = { clientId: "rotating", redirectUri: "https://rotating.example/cb", scope: "openid" };
    const first = await getTokens(app.url, account, { ...rotating, browser });
    await refresh(app.url, first.refresh_token, { client_id: "rotating" });
    app.clock.shift += 11_000;
    await refresh(app.url, first.refresh_token, { client_id: "rotating" });
    await postForm(
      `${app.url}/oauth2/introspect`,
      { token: "x" },
      { authorization: `${internalBasic.slice(0, -4)}AAAA` },
    );
    await postJson(`${app.url}/api/users/password-reset`, { email: account.email });
    const token = (await until(() => resetEvents(app, account.email)[0])).payload["resetToken"] ?? "";
    const confirm = { token, newPassword: "another good password" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, confirm)).status).toBe(204);
    const [key] = await rotateSigningKeys(app.context, "ES256");
    const lines = app.logs.slice(from).filter((line) => line.includes('"event":"'));
    const events = lines.map((line) => {
      const { level, time, msg, request_id, address, agent, ...fields } = JSON.parse(line) as Record<string, unknown>;
      return fields;
    });
    const sub = account.uuid;
    const [sid, rotatingSid] = [tokens["access_token"], first.access_token].map((each) => claimsOf(each ?? "")["sid"]);
    expect(events).toEqual([
      { event: "login_failed", sub, reason: "wrong_password" },
      { event: "login", sub, client_id: portal.clientId },
      { event: "code_replayed", client_id: portal.clientId, sid },
      expect.objectContaining({ event: "token_refused", client_id: portal.clientId, error: "invalid_grant" }),
      { event: "authorization_revoked", client_id: portal.clientId, sid },
      { event: "refresh_token_reused", client_id: "rotating", sid: rotatingSid },
      expect.objectContaining({ event: "token_refused", client_id: "rotating", error: "refresh_rejected" }),
      {
        event: "client_authentication_failed",
        client_id: "internal-service",
        method: "client_secret_basic",
        registered_method: "client_secret_basic or client_secret_post",
        reason: "the secret is wrong or over",
        network: "127.0.0.1",
      },
      { event: "password_reset_requested", sub },
      { event: "password_reset", sub },
      { event: "signing_key_added", kid: key?.kid, alg: "ES256" },
    ]);
    for (const secret of [
      account.password,
      confirm.newPassword,
      token,
      code,
      verifier,
      tokens["refresh_token"],
      first.refresh_token,
    ]) {
      expect(lines.join("\n")).not.toContain(secret);
    }
  });

  it("S-180 forbids caching of tokens, codes, introspection answers and claims", async () => {
    const account = await signUp(app.url);
    const { code, verifier, browser } = await getCode(app.url, account);
    const answer = await redeem(app.url, code, verifier);
    const { access_token: token, refresh_token: refreshToken } = (await answer.clone().json()) as Record<
      string,
      string
    >;
    const authorization = { authorization: internalBasic };
    const answers = [
      answer,
      await refresh(app.url, refreshToken ?? ""),
      await browser.get(
        `${app.url}/oauth2/authorize?${new URLSearchParams({
          response_type: "code",
          client_id: portal.clientId,
          redirect_uri: portal.redirectUri,
          code_challenge: pkce().challenge,
          code_challenge_method: "S256",
        })}`,
      ),
      await postForm(`${app.url}/oauth2/introspect`, { token: token ?? "" }, authorization),
      await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } }),
      await fetch(`${app.url}/api/users/me`, { headers: { authorization: `Bearer ${token}` } }),
      await redeem(app.url, code, verifier),
    ];
    for (const response of answers) {
      expect([response.url.replace(app.url, "").split("?")[0], response.headers.get("cache-control")]).toEqual([
        expect.any(String),
        "no-store",
      ]);
    }
  });
});

describe("TLS", () => {
  it("S-177 speaks TLS 1.2 and later on the internal listeners, and sends HSTS under an https issuer", async () => {
    const folder = mkdtempSync(join(tmpdir(), "auth-tls-"));
    const [cert, key] = [join(folder, "tls.crt"), join(folder, "tls.key")];
    writeFileSync(cert, serverCertificate);
    writeFileSync(key, serverKey);
    const app = await startApp({ ISSUER: "https://localhost:9443", GRPC_TLS_CERT: cert, GRPC_TLS_KEY: key });
    const versionOf = (port: number, version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
      new Promise<string>((resolve) => {
        const socket = connectTls({
          port,
          host: "127.0.0.1",
          minVersion: version,
          maxVersion: version,
          rejectUnauthorized: false,
          ALPNProtocols: ["h2", "http/1.1"],
        });
        socket.once("secureConnect", () => {
          resolve(socket.getProtocol() ?? "");
          socket.destroy();
        });
        socket.once("error", () => resolve("refused"));
      });
    try {
      for (const port of [app.config.grpc.port, app.config.internalHttp.port]) {
        expect(await versionOf(port, "TLSv1.1")).toBe("refused");
        expect(await versionOf(port, "TLSv1.2")).toBe("TLSv1.2");
        expect(await versionOf(port, "TLSv1.3")).toBe("TLSv1.3");
      }
      for (const path of ["/login", "/oauth2/jwks", "/oauth2/token"]) {
        const response = await fetch(`http://127.0.0.1:${app.config.http.port}${path}`);
        await response.arrayBuffer();
        expect([path, response.headers.get("strict-transport-security")]).toEqual([
          path,
          expect.stringMatching(/^max-age=31536000/),
        ]);
        expect(response.headers.get("content-encoding")).toBeNull();
      }
      expect(app.config.http.host).toBe("127.0.0.1");
    } finally {
      await app.close();
    }
  });
});
