import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../../support/app.ts";
import { postForm, postJson } from "../../support/flow.ts";
import { assertionOf, assertionType, makeKey, type TestKey } from "../../support/keys.ts";

const device = "urn:ietf:params:oauth:grant-type:device_code";
const odd = { id: "a:b%41c+d", secret: "p:a%73s+w ord ü 비밀 100%" };
const secret = "the secret of this client";
const endpoints = ["token", "revoke", "introspect", "par", "device_authorization"] as const;
const methods = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"] as const;
type Method = (typeof methods)[number];

let app: TestApp;
let key: TestKey;
beforeAll(async () => {
  key = await makeKey();
  const registrations = methods.map((method) => ({
    client_id: method,
    token_endpoint_auth_method: method,
    redirect_uris: ["https://client.example/cb"],
    grant_types: ["authorization_code", "refresh_token", device, ...(method === "none" ? [] : ["client_credentials"])],
    scope: method === "none" ? "openid" : "openid auth.introspect",
    ...(method.startsWith("client_secret") ? { client_secret: secret } : {}),
    ...(method === "private_key_jwt" ? { jwks: { keys: [key.jwk] } } : {}),
  }));
  const own = { grant_types: ["client_credentials"], scope: "auth.introspect" };
  app = await startApp({ TRUST_PROXY: "loopback" }, [
    ...registrations,
    { client_id: odd.id, client_secret: odd.secret, ...own },
    { client_id: "guessed", client_secret: secret, ...own },
    { client_id: "shop+eu", client_secret: secret, ...own },
  ]);
});
afterAll(() => app.close());

let network = 0;
/** Each call comes from another network: what fails here is not to use up anybody's tries. */
function ask(
  endpoint: (typeof endpoints)[number],
  parameters: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  network++;
  const forwarded = { "x-forwarded-for": `10.${network >> 8}.${network & 255}.1` };
  const form = { grant_type: "client_credentials", scope: "auth.introspect", token: "x", ...parameters };
  return postForm(`${app.url}/oauth2/${endpoint}`, form, { ...forwarded, ...headers });
}
const basic = (id: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${id}:${password}`).toString("base64")}`,
});
const encoded = (text: string) => new URLSearchParams({ _: text }).toString().slice(2);
const outcome = async (answering: Promise<Response>) => {
  const response = await answering;
  const body = (await response.json().catch(() => ({}))) as { error?: string };
  return [response.status, body.error];
};

/** A request's parameters and headers by which this client says who it is, in this way. */
async function by(method: Method, clientId: string): Promise<[Record<string, string>, Record<string, string>]> {
  if (method === "client_secret_basic") return [{}, basic(clientId, encoded(secret))];
  if (method === "client_secret_post") return [{ client_id: clientId, client_secret: secret }, {}];
  if (method === "none") return [{ client_id: clientId }, {}];
  const assertion = await assertionOf(key, clientId, app.url);
  return [{ client_assertion_type: assertionType, client_assertion: assertion }, {}];
}

describe("client authentication", () => {
  it("S-092 C-65 reads the secret of Basic form-url-encoded and as it is, and refuses every other reading", async () => {
    const good = await ask("token", {}, basic(encoded(odd.id), encoded(odd.secret)));
    expect(good.status).toBe(200);
    const percent = basic(encodeURIComponent(odd.id), encodeURIComponent(odd.secret));
    expect((await ask("token", {}, percent)).status).toBe(200);
    expect((await ask("token", {}, basic(encoded(odd.id), odd.secret))).status).toBe(200);
    for (const [id, password] of [
      [odd.id, odd.secret],
      [odd.id, encoded(odd.secret)],
      [encoded(odd.id), encoded(encoded(odd.secret))],
      [encoded(odd.id), `${encoded(odd.secret)}%`],
      [encoded(odd.id), `${encoded(odd.secret)}%ff`],
    ] as const) {
      expect(await outcome(ask("token", {}, basic(id, password)))).toEqual([401, "invalid_client"]);
    }
    const latin = { authorization: `Basic ${Buffer.from(`${encoded(odd.id)}:ü`, "latin1").toString("base64")}` };
    expect(await outcome(ask("token", {}, latin))).toEqual([401, "invalid_client"]);
  });

  it("C-65 reads a client id with a plus sign as it is, as curl sends it, and form-url-encoded", async () => {
    for (const id of ["shop+eu", encoded("shop+eu")]) {
      expect([id, (await ask("token", {}, basic(id, encoded(secret)))).status]).toEqual([id, 200]);
      const url = `${app.internalUrl}/auth.v1.IntrospectionService/Introspect`;
      const headers = { "content-type": "application/json", ...basic(id, encoded(secret)) };
      expect([id, (await fetch(url, { method: "POST", headers, body: "{}" })).status]).toEqual([id, 200]);
    }
  });

  it("S-093 answers a wrong secret with 401 invalid_client, and a challenge where it came by Basic", async () => {
    for (const endpoint of endpoints) {
      const byHeader = await ask(endpoint, {}, basic("client_secret_basic", "wrong"));
      expect([endpoint, byHeader.status, await byHeader.json()]).toMatchObject([
        endpoint,
        401,
        { error: "invalid_client" },
      ]);
      expect(byHeader.headers.get("www-authenticate")).toBe('Basic realm="client", charset="UTF-8"');
      const byBody = await ask(endpoint, { client_id: "client_secret_post", client_secret: "wrong" });
      expect([endpoint, byBody.status, await byBody.json()]).toMatchObject([
        endpoint,
        401,
        { error: "invalid_client" },
      ]);
      expect(byBody.headers.get("www-authenticate")).toBeNull();
    }
  });

  it("S-094 refuses two ways at once, at every endpoint, though each of them were right", async () => {
    const ways = methods.filter((method) => method !== "none");
    for (const endpoint of endpoints) {
      for (const [one, two] of [
        [0, 1],
        [0, 2],
        [1, 2],
      ] as const) {
        const clientId = ways[one] ?? "none";
        const [form, headers] = await by(ways[one] ?? "none", clientId);
        const [moreForm, moreHeaders] = await by(ways[two] ?? "none", clientId);
        const answer = await outcome(ask(endpoint, { ...form, ...moreForm }, { ...headers, ...moreHeaders }));
        expect([endpoint, one, two, ...answer]).toEqual([endpoint, one, two, 400, "invalid_request"]);
      }
      const elsewhere = ask(endpoint, { client_id: "guessed" }, basic("client_secret_basic", encoded(secret)));
      expect(await outcome(elsewhere)).toEqual([400, "invalid_request"]);
    }
  });

  it("S-095 asks every confidential client for it at every endpoint", async () => {
    for (const endpoint of endpoints) {
      for (const client_id of ["client_secret_basic", "client_secret_post", "private_key_jwt"]) {
        for (const form of [{ client_id }, { client_id, client_secret: "" }]) {
          const answer = await outcome(ask(endpoint, form));
          expect([endpoint, client_id, ...answer]).toEqual([endpoint, client_id, 401, "invalid_client"]);
        }
        const answer = await outcome(ask(endpoint, {}, basic(client_id, "")));
        expect([endpoint, client_id, ...answer]).toEqual([endpoint, client_id, 401, "invalid_client"]);
      }
    }
  });

  it.each(methods)("S-096 takes a client registered for %s by that and by no other", async (registered) => {
    for (const method of methods) {
      const answer = await outcome(ask("token", ...(await by(method, registered))));
      const right = registered === "none" ? [400, "unauthorized_client"] : [200, undefined];
      expect([method, ...answer]).toEqual([method, ...(method === registered ? right : [401, "invalid_client"])]);
    }
  });

  it("C-58 takes an empty secret for none: a public client that sends one is served, a confidential one is not", async () => {
    for (const [form, headers] of [
      [{}, basic("none", "")],
      [{ client_id: "none", client_secret: "" }, {}],
    ] as const) {
      expect(await outcome(ask("token", form, headers))).toEqual([400, "unauthorized_client"]);
    }
    expect(await outcome(ask("token", {}, basic("client_secret_basic", "")))).toEqual([401, "invalid_client"]);
  });

  it("C-58 takes an empty Basic secret beside another way for none, at every endpoint, and remembers nothing of that header", async () => {
    for (const endpoint of endpoints) {
      for (const method of ["client_secret_post", "private_key_jwt"] as const) {
        const alone = await outcome(ask(endpoint, ...(await by(method, method))));
        const [form, headers] = await by(method, method);
        const beside = await outcome(ask(endpoint, form, { ...headers, ...basic(method, "") }));
        expect([endpoint, method, ...beside]).toEqual([endpoint, method, ...alone]);
        expect(beside).not.toContain("invalid_client");
        // without an id either, as a program sends it whose settings are empty
        const [again, more] = await by(method, method);
        const wholly = await outcome(ask(endpoint, again, { ...more, ...basic("", "") }));
        expect([endpoint, method, ...wholly]).toEqual([endpoint, method, ...alone]);
      }
      const empty = { client_id: "client_secret_basic", client_secret: "" };
      const answer = await outcome(ask(endpoint, empty, basic("client_secret_basic", encoded(secret))));
      expect([endpoint, ...answer]).not.toContain("invalid_client");
      const unproved = await outcome(ask(endpoint, {}, basic("client_secret_post", "")));
      expect([endpoint, ...unproved]).toEqual([endpoint, 401, "invalid_client"]);
    }
    // one that may use both ways: its header is remembered where it brought the secret
    expect(await outcome(ask("introspect", { client_secret: secret }, basic("guessed", "")))).toEqual([200, undefined]);
    expect(await outcome(ask("introspect", {}, basic("guessed", "")))).toEqual([401, "invalid_client"]);
    const elsewhere = ask("token", { client_id: "guessed", client_secret: secret }, basic("client_secret_post", ""));
    expect(await outcome(elsewhere)).toEqual([400, "invalid_request"]);
    const from = app.logs.length;
    await ask("token", { client_secret: "wrong" }, basic("client_secret_post", ""));
    expect(app.logs.slice(from).join()).toContain('"method":"client_secret_post"');
  });

  it("C-58 counts wrong secrets alone: neither a right one by another method nor one for a client without any", async () => {
    const from = { "x-forwarded-for": "192.0.2.200" };
    const form = { client_id: "client_secret_basic", client_secret: secret };
    const misread = [
      ["client_secret_basic", { "x-forwarded-for": "192.0.2.200" }, form],
      ["none", { ...from, ...basic("none", "made up") }, {}],
    ] as const;
    for (const [clientId, headers, parameters] of misread) {
      const statuses = new Set<number>();
      for (let n = 0; n < 210; n++) statuses.add((await ask("token", parameters, headers)).status);
      expect([clientId, [...statuses]]).toEqual([clientId, [401]]);
    }
    expect((await ask("token", {}, { ...basic("client_secret_basic", encoded(secret)), ...from })).status).toBe(200);
  });

  it("C-58 takes a client that was registered without a method by Basic and with its secret in the body", async () => {
    for (const endpoint of ["token", "revoke", "introspect"] as const) {
      const inBody = await ask(endpoint, { client_id: "guessed", client_secret: secret });
      const byHeader = await ask(endpoint, {}, basic("guessed", encoded(secret)));
      expect([endpoint, inBody.status, byHeader.status]).toEqual([endpoint, 200, 200]);
    }
  });

  it("tells its method to a client whose secret proved right, and to no other, at every endpoint", async () => {
    for (const endpoint of endpoints) {
      const described = async (answering: Promise<Response>) => (await (await answering).json()) as object;
      const form = { client_id: "client_secret_basic", client_secret: secret };
      expect([endpoint, await described(ask(endpoint, form))]).toEqual([
        endpoint,
        { error: "invalid_client", error_description: "this client is registered for client_secret_basic" },
      ]);
      const silent = { error: "invalid_client", error_description: "client authentication failed" };
      for (const [id, password] of [
        ["client_secret_basic", "wrong"],
        ["private_key_jwt", secret],
        ["none", secret],
        ["nobody", secret],
      ] as const) {
        const answer = await described(ask(endpoint, { client_id: id, client_secret: password }));
        expect([endpoint, id, answer]).toEqual([endpoint, id, silent]);
      }
    }
  });

  it("logs of each failure the client, the method tried, the method registered and the reason", async () => {
    const failureOf = async (answering: Promise<unknown>) => {
      const from = app.logs.length;
      await answering;
      const lines = app.logs.slice(from).filter((line) => line.includes('"client_authentication_failed"'));
      return lines.map((line) => {
        const { client_id, method, registered_method, reason } = JSON.parse(line) as Record<string, string>;
        return [client_id, method, registered_method, reason];
      });
    };
    expect(await failureOf(ask("token", {}, basic("guessed", "wrong")))).toMatchObject([
      ["guessed", "client_secret_basic", "client_secret_basic or client_secret_post", "the secret is wrong or over"],
    ]);
    const [post, byBasic, keyed] = ["client_secret_post", "client_secret_basic", "private_key_jwt"] as const;
    const assertion = { client_assertion_type: assertionType, client_assertion: await assertionOf(key, "other", "x") };
    for (const endpoint of endpoints) {
      const body = (client_id: string, client_secret: string) => ask(endpoint, { client_id, client_secret });
      expect(await failureOf(body(byBasic, secret))).toEqual([
        [byBasic, post, byBasic, "the secret is right, but not sent by the method the client is registered for"],
      ]);
      expect(await failureOf(body(byBasic, "wrong"))).toEqual([
        [byBasic, post, byBasic, "the secret is wrong or over"],
      ]);
      expect(await failureOf(body("none", "made up"))).toMatchObject([
        ["none", post, "none", expect.stringContaining("public")],
      ]);
      expect(await failureOf(body("nobody", "made up"))).toMatchObject([
        ["nobody", post, null, expect.stringContaining("no such client")],
      ]);
      expect(await failureOf(body(keyed, "made up"))).toMatchObject([
        [keyed, post, keyed, expect.stringContaining("with its key")],
      ]);
      expect(await failureOf(ask(endpoint, { client_id: byBasic }))).toMatchObject([
        [byBasic, "none", byBasic, expect.stringContaining("no secret")],
      ]);
      expect(await failureOf(ask(endpoint, { client_id: keyed, ...assertion }))).toMatchObject([
        [keyed, keyed, keyed, "the client assertion must have the client's id as iss and as sub"],
      ]);
      expect(
        await failureOf(ask(endpoint, { client_id: byBasic, client_secret: secret }, basic(byBasic, secret))),
      ).toEqual([[byBasic, null, byBasic, expect.stringContaining("send one of")]]);
      expect(await failureOf(ask(endpoint, { client_id: "other" }, basic(byBasic, secret)))).toEqual([
        [byBasic, null, byBasic, expect.stringContaining("differs")],
      ]);
      const unreadable = { client_assertion_type: assertionType, client_assertion: "a.b.c" };
      expect(await failureOf(ask(endpoint, unreadable))).toEqual([
        ["", keyed, null, expect.stringContaining("assertion cannot be read")],
      ]);
      const garbage = { authorization: "Basic !" };
      expect(await failureOf(ask(endpoint, {}, garbage))).toMatchObject([
        ["", byBasic, null, expect.stringContaining("cannot be read")],
      ]);
    }
    const now = Math.floor(app.clock.now() / 1000);
    const bad: [Record<string, unknown>, string][] = [
      [{ exp: now - 600, iat: now - 660 }, "ended 600 s ago: look at the clock of the client"],
      [{ exp: now + 660, iat: now + 600 }, "begins in 600 s: look at the clock of the client"],
      [{ exp: now + 3_600 }, "is good for more than 300 s, or the clock of the client is ahead"],
      [{ aud: "https://other.example" }, `must have ${app.url} as aud, and nothing else`],
      [{ aud: [app.url, "https://other.example"] }, `must have ${app.url} as aud, and nothing else`],
      [{ jti: "" }, "needs a jti"],
    ];
    for (const [claims, problem] of bad) {
      const sent = {
        client_assertion_type: assertionType,
        client_assertion: await assertionOf(key, keyed, app.url, claims),
      };
      expect(await failureOf(ask("token", { grant_type: "client_credentials", ...sent }))).toEqual([
        [keyed, keyed, keyed, `the client assertion ${problem}`],
      ]);
    }
    const stranger = await assertionOf(await makeKey(), keyed, app.url);
    const byStranger = { client_assertion_type: assertionType, client_assertion: stranger };
    expect(await failureOf(ask("token", byStranger))).toMatchObject([
      [keyed, keyed, keyed, "the client assertion has a signature that none of the client's keys made"],
    ]);
    const rpc = postJson(`${app.internalUrl}/auth.v1.IntrospectionService/Introspect`, {}, basic(byBasic, "wrong"));
    expect(await failureOf(rpc)).toEqual([[byBasic, byBasic, byBasic, "the secret is wrong or over"]]);
  });

  it("S-097 refuses a network after 200 wrong secrets a minute for one client, known or not, with one and the same body", async () => {
    const thousand = async (clientId: string) => {
      const answers: string[] = [];
      const headers = { "x-forwarded-for": "192.0.2.1", ...basic(clientId, "wrong") };
      for (let n = 0; n < 1_000; n++) {
        const response = await postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, headers);
        answers.push(`${response.status} ${(await response.text()).replace(/\d+ seconds/, "n seconds")}`);
      }
      return answers;
    };
    const known = await thousand("guessed");
    expect(known.slice(0, 200).every((answer) => answer.startsWith("401 "))).toBe(true);
    expect(known.slice(200).every((answer) => answer.startsWith("429 "))).toBe(true);
    expect(await thousand("nobody")).toEqual(known);
    const right = (from: string) => ask("token", {}, { ...basic("guessed", encoded(secret)), "x-forwarded-for": from });
    const refused = await right("192.0.2.1");
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await right("192.0.2.2")).status).toBe(200);
    const other = basic("client_secret_basic", encoded(secret));
    expect((await ask("token", {}, { ...other, "x-forwarded-for": "192.0.2.1" })).status).toBe(200);
  });
});
