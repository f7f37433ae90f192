import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { postForm } from "../support/flow.ts";
import { itWithNginx, startNginx } from "../support/nginx.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/how-to/forward-auth.md"), "utf8");
const settings = /```nginx\n(.*?)```/s.exec(page)?.[1] ?? "";
const orders = "https://orders.example.com";
const secret = "a secret of at least thirty-two characters";
const basic = `Basic ${Buffer.from(`shop:${encodeURIComponent(secret)}`).toString("base64")}`;

describe("nginx with the settings of docs/how-to/forward-auth.md", () => {
  let app: TestApp;
  let service: Server;
  let ports: [service: number, good: number, wrong: number];
  /** What the service behind the proxy got. */
  let received: IncomingHttpHeaders[] = [];
  beforeAll(async () => {
    const shop = { client_id: "shop", client_secret: secret, grant_types: ["client_credentials"], resources: [orders] };
    app = await startApp({}, [{ ...shop, scope: "orders.read orders.write" }]);
    const [behind = 0, good = 0, wrong = 0] = await freePorts(3);
    ports = [behind, good, wrong];
    service = createServer((request, response) => {
      received.push(request.headers);
      request.resume().on("end", () => response.end("behind"));
    }).listen(behind, "127.0.0.1");
    await once(service, "listening");
  });
  afterAll(async () => {
    service.close();
    await app.close();
  });

  const settingsOf = (port: number) =>
    settings
      .replace("listen 8080;", `listen 127.0.0.1:${port};`)
      .replace("127.0.0.1:9092", new URL(app.internalUrl).host)
      .replace("127.0.0.1:3000", `127.0.0.1:${ports[0]}`);

  async function tokenOf(scope: string, more: Record<string, string> = { resource: orders }): Promise<string> {
    const form = { grant_type: "client_credentials", scope, ...more };
    const answer = await postForm(`${app.url}/oauth2/token`, form, { authorization: basic });
    return ((await answer.json()) as { access_token: string }).access_token;
  }

  async function ask(port: number, token: string | null, init: RequestInit = {}) {
    received = [];
    const authorization = token === null ? {} : { authorization: `Bearer ${token}` };
    const headers = { "x-auth-subject": "somebody-else", "x-auth-roles": "ROLE_ADMIN", ...authorization };
    const answer = await fetch(`http://127.0.0.1:${port}/carts/7?page=2`, { ...init, headers });
    await answer.arrayBuffer();
    return { status: answer.status, challenge: answer.headers.get("www-authenticate") };
  }

  itWithNginx(
    "lets good tokens through with whose they are, whatever their sender claims, and refuses all others",
    async () => {
      const nginx = await startNginx(settingsOf(ports[1]), ports[1]);
      try {
        const good = await tokenOf("orders.read");
        for (const init of [{}, { method: "POST", body: "a=1" }]) {
          expect(await ask(ports[1], good, init)).toEqual({ status: 200, challenge: null });
          expect(received[0]).toMatchObject({ "x-auth-subject": "shop", "x-auth-client": "shop" });
          expect([received[0]?.["x-auth-scope"], received[0]?.["x-auth-roles"]]).toEqual(["orders.read", undefined]);
        }
        expect(await ask(ports[1], null)).toEqual({ status: 401, challenge: "Bearer" });
        expect(await ask(ports[1], "nonsense")).toMatchObject({ status: 401 });
        expect((await ask(ports[1], await tokenOf("orders.write"))).status).toBe(403);
        const own = await tokenOf("orders.read", {});
        expect((await ask(ports[1], own)).challenge).toContain("invalid_token");
        await postForm(`${app.url}/oauth2/revoke`, { token: good }, { authorization: basic });
        expect((await ask(ports[1], good)).status).toBe(401);
        expect(received).toEqual([]);
      } finally {
        await nginx.stop();
      }
    },
  );

  itWithNginx("with a misspelt parameter lets nothing through, and the service's log names the remedy", async () => {
    const misspelt = settingsOf(ports[2]).replace("?scope=", "?scopes=");
    const nginx = await startNginx(misspelt, ports[2]);
    try {
      expect((await ask(ports[2], await tokenOf("orders.read"))).status).toBe(500);
      expect(received).toEqual([]);
      expect(app.logs.some((line) => line.includes("another parameter than scope and audience"))).toBe(true);
    } finally {
      await nginx.stop();
    }
  });
});
