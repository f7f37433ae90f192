import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { claimsOf, getTokens, signUp } from "../support/flow.ts";
import { HAPROXY, itWithHaproxy, type RunningProxy, runHaproxy } from "../support/haproxy.ts";
import { settingsOf, withAddresses } from "./how-to.ts";

const run = promisify(execFile);
const minutes = 60_000;
const root = join(import.meta.dirname, "../..");
const [resource, elsewhere] = ["https://orders.example.com", "https://elsewhere.example.com"];
const redirectUri = "http://127.0.0.1/callback";

describe("HAProxy that verifies tokens itself", () => {
  let app: TestApp;
  let url: string;
  let upstream: Server;
  let proxy: RunningProxy;

  beforeAll(async () => {
    if (HAPROXY === null) return;
    const [port = 0, upstreamPort] = await freePorts(2);
    upstream = createServer((request, response) => response.end(String(request.headers["x-auth-subject"])));
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${port}`;
    app = await startApp({}, [
      {
        client_id: "shop",
        redirect_uris: [redirectUri],
        scope: "openid orders.read orders.write",
        resources: [resource, elsewhere],
        first_party: true,
      },
    ]);
    const folder = mkdtempSync(join(tmpdir(), "haproxy-key-"));
    const addresses = {
      "https://auth.example.com": app.url,
      "/etc/haproxy": folder,
      "127.0.0.1:8080": new URL(url).host,
      "127.0.0.1:3000": `127.0.0.1:${upstreamPort}`,
    };
    const page = readFileSync(join(root, "docs/how-to/forward-auth.md"), "utf8");
    const command = /^```sh\n(curl -s \S+\/oauth2\/jwks [\s\S]*?)\n```$/m.exec(page)?.[1] ?? "";
    await run("sh", ["-c", withAddresses(command, addresses)], { cwd: root });
    proxy = await runHaproxy(HAPROXY, settingsOf("haproxy/haproxy.cfg", addresses), port);
  }, 2 * minutes);
  afterAll(async () => {
    await proxy?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
    await app?.close();
  });

  const ask = async (token: string | null) => {
    const response = await fetch(url, {
      headers: { "x-auth-subject": "forged", ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    });
    return [response.status, response.headers.get("www-authenticate") ?? (await response.text())];
  };
  const refused = [401, 'Bearer error="invalid_token"'];

  itWithHaproxy(
    "lets a token in, and refuses a changed one, one for another API, an ID token, one that is over, and one without the scope",
    async () => {
      const account = await signUp(app.url);
      const tokensOf = (scope: string, resource: string) =>
        getTokens(app.url, account, { clientId: "shop", redirectUri, scope, extra: { resource } });
      const { access_token: token, id_token: idToken } = await tokensOf("openid orders.read", resource);
      expect(await ask(token)).toEqual([200, account.uuid]);

      const [header, payload, signature = ""] = token.split(".");
      const changed = `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
      const { access_token: forOthers } = await tokensOf("openid orders.read", elsewhere);
      const past = { ...claimsOf(token), exp: app.clock.seconds() - 1 };
      const { token: over } = app.context.keys.sign("access", "ES256", "at+jwt", past);
      for (const bad of [null, changed, forOthers, idToken, over]) expect(await ask(bad)).toEqual(refused);
      const { access_token: textual } = await tokensOf("orders.read", resource);
      expect(claimsOf(textual)["aud"]).toBe(resource);
      expect(await ask(textual)).toEqual([200, account.uuid]);
      const { access_token: writer } = await tokensOf("openid orders.write", resource);
      expect(await ask(writer)).toEqual([403, 'Bearer error="insufficient_scope"']);
    },
    minutes,
  );
});
