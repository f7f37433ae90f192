import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@jest/globals";
import { freePorts, startApp } from "../support/app.ts";
import { authorizeUrl, pkce, redeem, signUp, TestBrowser, unescapeHtml } from "../support/flow.ts";
import { itWithNginx, startNginx } from "../support/nginx.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/how-to/operate.md"), "utf8");
const settings = /```nginx\n(.*?)```/s.exec(page)?.[1] ?? "";

itWithNginx(
  "C-62 an issuer with a path is found and works behind nginx with the settings of docs/how-to/operate.md",
  async () => {
    const [port = 0] = await freePorts(1);
    const host = `http://localhost:${port}`;
    const issuer = `${host}/id`;
    const app = await startApp({ ISSUER: issuer, TRUST_PROXY: "loopback" });
    const servers = settings
      .replace("listen 8080;", `listen 127.0.0.1:${port};`)
      .replaceAll("127.0.0.1:8081", `127.0.0.1:${app.env["HTTP_PORT"]}`);
    const nginx = await startNginx(servers, port);
    try {
      for (const name of ["oauth-authorization-server", "openid-configuration"]) {
        for (const url of [`${issuer}/.well-known/${name}`, `${host}/.well-known/${name}/id`]) {
          expect([url, await (await fetch(url)).json()]).toMatchObject([url, { issuer }]);
        }
      }
      const login = await (await fetch(`${issuer}/login`)).text();
      const links = [...login.matchAll(/ (?:href|src|action)="(\/[^"]*)"/g)].map(([, link = ""]) => unescapeHtml(link));
      expect(links.length).toBeGreaterThan(3);
      for (const link of links) {
        const { status } = await fetch(host + link);
        expect([link, status]).toEqual([link, 200]);
      }
      const { email, password } = await signUp(issuer);
      const browser = new TestBrowser();
      const { verifier, challenge } = pkce();
      const asked = await browser.get(authorizeUrl(issuer, { challenge }));
      const back = await browser.submit(host + asked.headers.get("location"), { email, password });
      const code = new URL(back.headers.get("location") ?? "").searchParams.get("code") ?? "";
      const { access_token: token } = (await (await redeem(issuer, code, verifier)).json()) as { access_token: string };
      const authorization = `Bearer ${token}`;
      expect((await fetch(`${issuer}/userinfo`, { headers: { authorization } })).status).toBe(200);
      const moved = await fetch(`${host}/.well-known/change-password`, { redirect: "manual" });
      expect(moved.headers.get("location")).toBe("/id/account/password");
    } finally {
      await nginx.stop();
      await app.close();
    }
  },
);
