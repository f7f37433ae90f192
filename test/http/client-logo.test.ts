import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, getCode, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { listen } from "../support/keys.ts";
import { freePorts } from "../support/ports.ts";
import { until } from "../support/resets.ts";

const redirectUri = "https://app.example/cb";
const png = Buffer.from("89504e470d0a1a0a0000000d49484452", "hex");
const svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>Photo Album</title></svg>';

describe("the logo of a client", () => {
  let app: TestApp;
  let host: Awaited<ReturnType<typeof listen>>;
  /** Hosts that the service may not call. */
  let inside: Awaited<ReturnType<typeof listen>>;
  const requests: string[] = [];
  const held: ServerResponse[] = [];
  let stored: Buffer | string | null = png;
  /** Without `stored`. */
  let answered = 404;

  beforeAll(async () => {
    host = await listen((request, response) => {
      requests.push(request.url ?? "");
      const path = request.url ?? "";
      // whatever it is called, and whatever it says that it is
      response.setHeader("content-type", "image/png");
      if (path === "/slow.png") held.push(response);
      else if (path === "/large.png") response.end(Buffer.concat([png, Buffer.alloc(64 * 1024)]));
      else if (path === "/page.png") response.end("<!doctype html><script>alert(1)</script>");
      else if (path === "/script.png") response.end(svg.replace("<title>", "<script>alert(1)</script><title>"));
      else if (path === "/moved.png") response.writeHead(302, { location: "/good.png" }).end();
      else if (path === "/drawing") response.end(svg);
      else if (stored === null) response.writeHead(answered).end();
      else response.end(stored);
    });
    inside = await listen((_request, response) => response.end(png));
    const [closed = 0] = await freePorts(1);
    const client = (client_id: string, logo_uri: string, more: object = {}) => ({
      client_id,
      client_name: `Client ${client_id}`,
      logo_uri,
      redirect_uris: [redirectUri],
      scope: "openid",
      ...more,
    });
    app = await startApp({ OPEN_REGISTRATION: "1", OUTBOUND_ALLOWED_HOSTS: `${host.host},127.0.0.1:${closed}` }, [
      client("good", `${host.url}/good.png`, {
        policy_uri: "https://app.example/privacy",
        tos_uri: "https://app.example/terms",
      }),
      client("drawing", `${host.url}/drawing`),
      client("slow", `${host.url}/slow.png`),
      client("changing", `${host.url}/changing.png`),
      ...["large", "page", "script", "moved"].map((name) => client(name, `${host.url}/${name}.png`)),
      client("unreachable", `http://127.0.0.1:${closed}/logo.png`),
      client("inside", `https://${inside.host}/logo.png`),
    ]);
  });
  afterAll(async () => {
    for (const response of held) response.destroy();
    await app?.close();
    host?.close();
    inside?.close();
  });

  interface Shown {
    readonly policy: string;
    readonly html: string;
    /** Of the logo. */
    readonly path: string | undefined;
  }

  async function read(answering: Promise<Response>): Promise<Shown> {
    const response = await answering;
    expect(response.status).toBe(200);
    const html = await response.text();
    const path = /<img class="client-logo" src="([^"]+)"/.exec(html)?.[1]?.replaceAll("&amp;", "&");
    return { policy: response.headers.get("content-security-policy") ?? "", html, path };
  }

  async function loginOf(clientId: string, page = "/login"): Promise<Shown> {
    const browser = new TestBrowser();
    const answer = await browser.get(authorizeUrl(app.url, { clientId, redirectUri, scope: "openid" }));
    const url = new URL(answer.headers.get("location") ?? "", app.url);
    url.pathname = page;
    return read(browser.get(url.href));
  }

  /** The login page once the logo is on it. */
  async function loginWithLogo(
    clientId: string,
    isNew: (path: string) => boolean = () => true,
  ): Promise<Shown & { path: string }> {
    for (;;) {
      const shown = await loginOf(clientId);
      if (shown.path !== undefined && isNew(shown.path)) return { ...shown, path: shown.path };
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  it("is beside its name on login, sign-up and consent, from this service, and on no page before it is there", async () => {
    const first = await loginOf("good");
    expect([first.path, first.policy]).toEqual([undefined, expect.stringContaining("img-src data:;")]);
    const { path, policy } = await loginWithLogo("good");
    expect(policy).toContain("img-src data: 'self';");
    const { browser, location } = await getCode(app.url, await signUp(app.url), {
      clientId: "good",
      redirectUri,
      scope: "openid",
    });
    const pages = [
      await loginOf("good", "/login"),
      await loginOf("good", "/signup"),
      await read(browser.get(location.href)),
    ];
    for (const page of pages) {
      expect(page.path).toBe(path);
      expect(page.html).toMatch(/alt=""> Client good<\/strong>/);
      for (const link of ["privacy", "terms"]) {
        expect(page.html).toMatch(
          new RegExp(`<a href="https://app.example/${link}" target="_blank" rel="noopener">[^<]* Client good</a>`),
        );
      }
    }
    const image = await fetch(app.url + path);
    expect(Buffer.from(await image.arrayBuffer())).toEqual(png);
    expect(Object.fromEntries(image.headers)).toMatchObject({
      "content-type": "image/png",
      "x-content-type-options": "nosniff",
      "content-security-policy": expect.stringContaining("sandbox"),
      "cache-control": "public, max-age=31536000, immutable",
    });
    expect(requests.filter((url) => url === "/good.png").length).toBe(1);
  });

  it("has the type that its bytes have, whatever its host calls it", async () => {
    const { path } = await loginWithLogo("drawing");
    const image = await fetch(app.url + path);
    expect([image.headers.get("content-type"), await image.text()]).toEqual(["image/svg+xml", svg]);
  });

  it("is served by a replica that no page of its own made fetch it", async () => {
    stored = png;
    const image = await fetch(`${app.url}/client-logo/${"0".repeat(16)}?client_id=changing`);
    // the version that was asked for is another one: the answer is not kept under its name
    expect([image.status, image.headers.get("cache-control")]).toEqual([200, "no-store"]);
    for (const id of ["nobody", "portal-client", ""]) {
      expect((await fetch(`${app.url}/client-logo/${"0".repeat(16)}?client_id=${id}`)).status).toBe(404);
    }
  });

  it("that changes is fetched again after an hour, and is removed when its host no longer has it", async () => {
    const before = await loginWithLogo("changing");
    stored = svg;
    app.clock.shift = 3_600_001;
    try {
      const after = await loginWithLogo("changing", (path) => path !== before.path);
      expect((await fetch(app.url + after.path)).headers.get("content-type")).toBe("image/svg+xml");
      stored = null;
      // a host that is busy or broken still has it
      for (const status of [503, 429]) {
        answered = status;
        app.clock.shift += 3_600_001;
        await loginOf("changing");
        await failed("changing", status);
        expect((await loginOf("changing")).path).toBe(after.path);
      }
      answered = 404;
      app.clock.shift += 3_600_001;
      await loginOf("changing");
      await failed("changing", 404);
      expect((await loginOf("changing")).path).toBeUndefined();
    } finally {
      app.clock.shift = 0;
      stored = png;
    }
  });

  it("that its host is slow with delays no page, and is shown once it came", async () => {
    // the host answers only when this test lets it
    expect((await loginOf("slow")).path).toBeUndefined();
    const response = await until(() => held[0]);
    expect((await loginOf("slow")).path).toBeUndefined();
    expect(requests.filter((url) => url === "/slow.png").length).toBe(1);
    response.end(png);
    expect((await loginWithLogo("slow")).path).toContain("/client-logo/");
  });

  /** Until the log says that this client's logo was not to be had. */
  const failed = (clientId: string, status: number | "" = "") =>
    until(() =>
      app.logs.find((line) =>
        ["logo was not fetched", `"${clientId}"`, String(status)].every((part) => line.includes(part)),
      ),
    );

  it.each([
    ["large", "longer than 65536 bytes"],
    ["page", "is neither SVG, PNG, WebP nor JPEG"],
    ["script", "is an SVG that has a script"],
    ["moved", "the host answered 302"],
    ["unreachable", "could not be called"],
    ["inside", "the host is not on the public network"],
  ])("that cannot be used is none: %s", async (clientId, reason) => {
    await loginOf(clientId);
    expect(await failed(clientId)).toContain(reason);
    const { path, policy } = await loginOf(clientId);
    expect([path, policy]).toEqual([undefined, expect.stringContaining("img-src data:;")]);
    expect((await fetch(`${app.url}/client-logo/${"0".repeat(16)}?client_id=${clientId}`)).status).toBe(404);
    expect(inside.connections()).toBe(0);
  });

  it("of a client that registered itself is not fetched, and its links lead only where its answers go", async () => {
    const registered = await postJson(`${app.url}/oauth2/register`, {
      client_name: "Stranger",
      redirect_uris: [redirectUri],
      logo_uri: `${host.url}/stranger.png`,
      policy_uri: "https://app.example/own-privacy",
      tos_uri: "https://elsewhere.example/terms",
      token_endpoint_auth_method: "none",
    });
    const { client_id: clientId } = (await registered.json()) as { client_id: string };
    const { html, path } = await loginOf(clientId);
    expect([html.includes("own-privacy"), html.includes("elsewhere.example"), path]).toEqual([true, false, undefined]);
    expect((await fetch(`${app.url}/client-logo/${"0".repeat(16)}?client_id=${clientId}`)).status).toBe(404);
    expect(requests).not.toContain("/stranger.png");
  });
});
