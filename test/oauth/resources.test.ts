import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getCode,
  hiddenFields,
  internalBasic,
  introspect,
  postJson,
  signUp,
  TestBrowser,
  type Tokens,
} from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";

const [orders, invoices, shared] = ["https://orders.example", "https://invoices.example/v1", "https://mcp.example/"];
const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const device = "urn:ietf:params:oauth:grant-type:device_code";
const redirectUri = "https://app.example/cb";
const confidential = {
  client_secret: "a secret of 32 characters or more",
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code", "refresh_token", "client_credentials", device, exchange],
  scope: "openid profile read",
  first_party: true,
};
const clients = [
  { ...confidential, client_id: "shop", resources: [orders, invoices] },
  { ...confidential, client_id: "kafka-app", default_resource: "https://kafka.example" },
  { ...confidential, client_id: "two-defaults", default_resource: [orders, invoices] },
  {
    ...confidential,
    client_id: "orders-api",
    resource_server_for: ["https://ORDERS.example:443/", "shop"],
    token_exchange_audiences: [invoices, "stock"],
  },
];

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({ RESOURCES: shared }, clients);
  account = await signUp(app.url);
});
afterAll(() => app.close());

type Pairs = [string, string][];
const basicOf = (clientId: string) => `Basic ${btoa(`${clientId}:${encodeURIComponent(confidential.client_secret)}`)}`;
const resourcesOf = (...resources: string[]): Pairs => resources.map((resource) => ["resource", resource]);
const audOf = ({ access_token }: Pick<Tokens, "access_token">) => claimsOf(access_token)["aud"];

function send(path: string, form: Record<string, string>, more: Pairs = [], clientId = "shop"): Promise<Response> {
  const body = new URLSearchParams([...Object.entries(form), ...more]);
  return fetch(`${app.url}/oauth2/${path}`, { method: "POST", headers: { authorization: basicOf(clientId) }, body });
}

async function outcome(answering: Promise<Response>): Promise<unknown> {
  const response = await answering;
  const body = (await response.json()) as { error?: string; access_token?: string };
  return body.access_token === undefined ? [response.status, body.error] : claimsOf(body.access_token)["aud"];
}

/** A code for these resources, and the form that redeems it. */
async function codeFor(resources: readonly string[], clientId = "shop", scope = "openid read") {
  const extra = resources.length === 0 ? {} : { resource: resources.join(" ") };
  const { code, verifier } = await getCode(app.url, account, { clientId, redirectUri, scope, extra });
  return { grant_type: "authorization_code", redirect_uri: redirectUri, code, code_verifier: verifier };
}

async function tokensFor(resources: readonly string[], clientId = "shop", scope = "openid read"): Promise<Tokens> {
  const response = await send("token", await codeFor(resources, clientId, scope), [], clientId);
  expect(response.status).toBe(200);
  return (await response.json()) as Tokens;
}

const userinfo = () => `${app.url}/userinfo`;

describe("C-51 resources", () => {
  it("C-51 are several where a request repeats the parameter, at the authorization, PAR and device endpoints", async () => {
    const both = resourcesOf(orders, invoices);
    const url = `${authorizeUrl(app.url, { clientId: "shop", redirectUri, scope: "read" })}&${new URLSearchParams(both)}`;
    const browser = new TestBrowser();
    const first = await browser.get(url);
    const { email, password } = account;
    const signedIn = await browser.submit(new URL(first.headers.get("location") ?? "", app.url).href, {
      email,
      password,
    });
    expect(new URL(signedIn.headers.get("location") ?? "").searchParams.get("code")).toMatch(/./);
    const pushed = await send(
      "par",
      {
        response_type: "code",
        redirect_uri: redirectUri,
        code_challenge: "x".repeat(43),
        code_challenge_method: "S256",
      },
      both,
    );
    expect(pushed.status).toBe(201);

    const asked = (await (await send("device_authorization", { scope: "read" }, both)).json()) as Record<
      string,
      string
    >;
    const page = await browser.submit(`${app.url}/device`, { user_code: asked["user_code"] ?? "" });
    await browser.post(`${app.url}/device/decision`, { ...hiddenFields(await page.text()), decision: "allow" });
    const form = { grant_type: device, device_code: asked["device_code"] ?? "" };
    expect(await outcome(send("token", form, resourcesOf(shared)))).toEqual([400, "invalid_target"]);
    expect(await outcome(send("token", form, resourcesOf(invoices)))).toBe(invoices);
  });

  it("C-51 at the code exchange are those of the authorization or some of them, and the code outlives a wrong one", async () => {
    const form = await codeFor([orders, invoices], "shop", "read");
    for (const wrong of [[shared], [orders, shared], ["https://evil.example"], ["nonsense"]]) {
      expect(await outcome(send("token", form, resourcesOf(...wrong)))).toEqual([400, "invalid_target"]);
    }
    expect(await outcome(send("token", form, resourcesOf(invoices)))).toBe(invoices);
    expect(await outcome(send("token", await codeFor([], "shop", "read"), resourcesOf(orders)))).toEqual([
      400,
      "invalid_target",
    ]);
  });

  it("C-51 at a refresh are those of the authorization or some of them, as a form and as JSON", async () => {
    const { refresh_token } = await tokensFor([orders, invoices], "shop", "read");
    const refresh = (more: Pairs, token = refresh_token) =>
      send("token", { grant_type: "refresh_token", refresh_token: token }, more);
    expect(await outcome(refresh(resourcesOf(shared)))).toEqual([400, "invalid_target"]);
    const narrowed = (await (await refresh(resourcesOf(orders))).json()) as Tokens;
    expect(audOf(narrowed)).toBe(orders);
    const json = { grant_type: "refresh_token", refresh_token: narrowed.refresh_token, resource: [orders, invoices] };
    const asJson = await postJson(`${app.url}/oauth2/token`, json, { authorization: basicOf("shop") });
    expect(audOf((await asJson.json()) as Tokens)).toEqual([orders, invoices]);
    const numbers = await postJson(
      `${app.url}/oauth2/token`,
      { ...json, resource: [1] },
      { authorization: basicOf("shop") },
    );
    expect(numbers.status).toBe(400);
    for (const other of ["scope", "audience", "grant_type"]) {
      const lists = await postJson(
        `${app.url}/oauth2/token`,
        { ...json, [other]: ["a"] },
        { authorization: basicOf("shop") },
      );
      expect([other, lists.status]).toEqual([other, other === "audience" ? 200 : 400]);
    }
  });

  it("C-51 no other parameter may be repeated", async () => {
    const own = { grant_type: "client_credentials", scope: "read" };
    expect(await outcome(send("token", own, [["scope", "read"]]))).toEqual([400, "invalid_request"]);
    expect(await outcome(send("token", own, resourcesOf(orders, invoices)))).toEqual([orders, invoices]);
    expect(await outcome(send("token", own, resourcesOf(orders, orders)))).toBe(orders);
    expect(
      await outcome(
        send("device_authorization", { scope: "read" }, [
          ["audience", "a"],
          ["audience", "b"],
        ]),
      ),
    ).toEqual([400, "invalid_request"]);
  });

  it("C-51 are compared by RFC 3986 section 6.2.3, and named as they are registered", async () => {
    const own = { grant_type: "client_credentials", scope: "read" };
    for (const [asked, registered] of [
      ["HTTPS://ORDERS.example", orders],
      ["https://orders.example:443/", orders],
      ["https://invoices.example/%76%31", invoices],
      ["https://invoices.example/x/../v1", invoices],
      ["https://MCP.example", shared],
    ] as const) {
      expect([asked, await outcome(send("token", own, resourcesOf(asked)))]).toEqual([asked, registered]);
    }
    for (const other of [
      "http://orders.example",
      "https://orders.example:8443",
      "https://invoices.example/V1",
      "https://invoices.example/v1/",
      "https://orders.example/?",
      "https://orders.example#f",
      "https://x@orders.example",
    ]) {
      expect([other, await outcome(send("token", own, resourcesOf(other)))]).toEqual([other, [400, "invalid_target"]]);
    }
  });

  it("C-51 a list of audiences is answered to who serves one of them, and to no one else", async () => {
    const { access_token } = await tokensFor([orders, invoices], "shop", "read");
    expect(await introspect(app.url, access_token, basicOf("orders-api"))).toMatchObject({
      active: true,
      aud: [orders, invoices],
    });
    expect(await introspect(app.url, access_token, internalBasic)).toEqual({ active: false });
    expect(await introspect(app.url, access_token, basicOf("kafka-app"))).toEqual({ active: false });
    // orders-api serves the client shop as well
    const own = await tokensFor([]);
    expect(await introspect(app.url, own.access_token, basicOf("orders-api"))).toMatchObject({
      active: true,
      aud: ["shop"],
    });
  });

  it("C-51 do not close userinfo to the access token of an openid request", async () => {
    const { access_token } = await tokensFor([orders]);
    expect(audOf({ access_token })).toEqual([orders, userinfo()]);
    const get = (path: string, token: string) =>
      fetch(app.url + path, { headers: { authorization: `Bearer ${token}` } });
    expect((await get("/userinfo", access_token)).status).toBe(200);
    expect((await get("/api/users/me", access_token)).status).toBe(401);
    const without = await tokensFor([orders], "shop", "read");
    expect(audOf(without)).toBe(orders);
    expect((await get("/userinfo", without.access_token)).status).toBe(401);
  });

  it("C-51 have the same outcome over gRPC, with spaces between several", async () => {
    const tokens = createClient(TokenService, internalTransport(app.grpc));
    const own = {
      grantType: "client_credentials",
      scope: "read",
      clientId: "shop",
      clientSecret: confidential.client_secret,
    };
    const issued = await tokens.issueToken({ ...own, resource: `${orders} ${invoices}` });
    expect(claimsOf(issued.accessToken)["aud"]).toEqual([orders, invoices]);
    await expect(tokens.issueToken({ ...own, resource: `${orders} https://evil.example` })).rejects.toThrow(/resource/);
  });
});

describe("C-66 default_resource", () => {
  it("C-66 is what a token is for where no resource is asked for, in each grant and at each refresh", async () => {
    const own = { grant_type: "client_credentials", scope: "read" };
    expect(await outcome(send("token", own, [], "kafka-app"))).toBe("https://kafka.example");
    expect(await outcome(send("token", own, [], "two-defaults"))).toEqual([orders, invoices]);
    expect(await outcome(send("token", own, resourcesOf(invoices), "two-defaults"))).toBe(invoices);
    expect(await outcome(send("token", own, resourcesOf(shared), "kafka-app"))).toBe(shared);
    expect(await outcome(send("token", own, resourcesOf(orders), "kafka-app"))).toEqual([400, "invalid_target"]);
    const first = await tokensFor([], "kafka-app");
    expect(audOf(first)).toEqual(["https://kafka.example", userinfo()]);
    const form = { grant_type: "refresh_token", refresh_token: first.refresh_token };
    expect(await outcome(send("token", form, [], "kafka-app"))).toEqual(["https://kafka.example", userinfo()]);
  });
});

describe("a token exchange", () => {
  it("takes an access token as a JWT, several audiences and resources, and a subject token for a client that it serves", async () => {
    const { access_token } = await tokensFor([]);
    const form = {
      grant_type: exchange,
      subject_token: access_token,
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    };
    const to = (...audiences: string[]): Pairs => audiences.map((audience) => ["audience", audience]);
    const exchanged = (more: Pairs) => outcome(send("token", form, more, "orders-api"));
    expect(await exchanged(to("stock"))).toBe("stock");
    expect(await exchanged([...to("stock"), ...resourcesOf("https://INVOICES.example/v1")])).toEqual([
      "stock",
      invoices,
    ]);
    expect(await exchanged(to("stock", invoices))).toEqual(["stock", invoices]);
    expect(await exchanged(to("stock", "evil"))).toEqual([400, "invalid_target"]);
    expect(await exchanged([])).toEqual([400, "invalid_request"]);
  });
});
