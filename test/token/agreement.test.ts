import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { claimsOf, getCode, internalBasic, postForm, signUp, type Tokens } from "../support/flow.ts";
import { hostileTokens, type Model, type Signer, signed, signersOf } from "../support/hostile.ts";
import { makeKey, proofOf } from "../support/keys.ts";
import { credentials, until } from "../verifier/issuer.ts";

/** The same tokens to the issuer (`Authorize`) and to a verifier that follows it: both must say the same about each. */

const client = { clientId: "app", redirectUri: "https://app.example/cb", scope: "openid profile" };
const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const clients = [
  {
    client_id: "app",
    client_secret: "the secret of app",
    redirect_uris: [client.redirectUri],
    grant_types: ["authorization_code", "refresh_token", "client_credentials", exchange],
    scope: "openid profile",
    first_party: true,
    token_exchange_audiences: ["https://orders.example"],
  },
  {
    client_id: "internal-service",
    client_secret: "internal-service-secret",
    grant_types: ["client_credentials"],
    scope: "auth.introspect auth.tokens",
    resource_server_for: ["https://orders.example"],
  },
];
const basic = { authorization: `Basic ${btoa("app:the+secret+of+app")}` };
const audience = ["app", "internal-service", "https://orders.example"];

let app: TestApp;
let verifiers: { binding: Verifier; plain: Verifier };
let signers: Record<"ES256" | "RS256" | "refresh", Signer>;
let others: Signer[];
let good: Record<"user" | "client" | "exchanged" | "bound" | "refresh" | "id", string>;

/** `allowed`, or `error` of the gateway's table. */
type Verdict = string;

/** @param bindingChecked whether each is told that the proof of a bound token was checked */
async function verdictsOn(token: string, bindingChecked: boolean): Promise<{ issuer: Verdict; verifier: Verdict }> {
  const service = createClient(IntrospectionService, transport());
  const [asked, decided] = await Promise.all([
    service.authorize({ token, bindingChecked, requiredScopes: [] }, { headers: { authorization: internalBasic } }),
    verifiers[bindingChecked ? "binding" : "plain"].verify(token),
  ]);
  return { issuer: asked.allowed ? "allowed" : asked.error, verifier: decided.allowed ? "allowed" : decided.error };
}
let shared: ReturnType<typeof createGrpcTransport> | undefined;
const transport = () => {
  shared ??= createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 });
  return shared;
};

/** @returns how many tokens each verdict was given to, and those on which the two differ */
async function compare(tokens: Iterable<[string, string]>, bindingChecked = true) {
  const verdicts: Record<Verdict, string[]> = {};
  const differences: Record<string, object> = {};
  for (const [name, token] of tokens) {
    const both = await verdictsOn(token, bindingChecked);
    if (both.issuer !== both.verifier) differences[name] = both;
    verdicts[both.issuer] = [...(verdicts[both.issuer] ?? []), name];
  }
  return { verdicts, differences };
}

const partsOf = (token: string) => token.split(".") as [string, string, string];
const headerOf = (token: string) => JSON.parse(Buffer.from(partsOf(token)[0], "base64url").toString()) as object;
const b64 = (text: string) => Buffer.from(text).toString("base64url");

beforeAll(async () => {
  app = await startApp({ ACCESS_TOKEN_TTL: "3600" }, clients);
  const connection = { baseUrl: `http://${app.grpc}`, credentials };
  const options = {
    issuer: app.url,
    audience,
    stream: connection,
    allowJwtTyp: true,
    maxStalenessMs: 60_000,
    onStreamLost: "fail-closed" as const,
  };
  verifiers = { binding: createVerifier({ ...options, checkBinding: () => true }), plain: createVerifier(options) };
  await Promise.all(Object.values(verifiers).map((verifier) => verifier.ready()));
  const all = await signersOf(app);
  const named = (use: string, alg: string) => {
    const found = all.find((each) => each.use === use && each.alg === alg);
    if (found === undefined) throw new Error(`no ${alg} key for ${use}`);
    return found;
  };
  signers = { ES256: named("access", "ES256"), RS256: named("access", "RS256"), refresh: named("refresh", "EdDSA") };
  others = all.filter(({ use }) => use !== "access");
  const ask = async (form: Record<string, string>, more: Record<string, string> = {}) => {
    const response = await postForm(`${app.url}/oauth2/token`, form, { ...basic, ...more });
    const answer = (await response.json()) as Partial<Tokens>;
    if (answer.access_token === undefined) throw new Error(`no token: ${JSON.stringify(answer)}`);
    return answer as Tokens;
  };
  const { code, verifier } = await getCode(app.url, await signUp(app.url, { nickname: "ada" }), client);
  const user = await ask({ grant_type: "authorization_code", code, code_verifier: verifier });
  const dpop = await proofOf(await makeKey(), "POST", `${app.url}/oauth2/token`);
  const subject_token_type = "urn:ietf:params:oauth:token-type:access_token";
  good = {
    user: user.access_token,
    client: (await ask({ grant_type: "client_credentials", scope: "profile" })).access_token,
    bound: (await ask({ grant_type: "client_credentials", scope: "profile" }, { dpop })).access_token,
    exchanged: (
      await ask({
        grant_type: exchange,
        subject_token: user.access_token,
        subject_token_type,
        audience: "https://orders.example",
      })
    ).access_token,
    refresh: user.refresh_token,
    id: user.id_token ?? "",
  };
});
afterAll(async () => {
  await Promise.all(Object.values(verifiers).map((verifier) => verifier.close()));
  await app.close();
});

/** A token that the issuer's own key signed, whatever it says. */
const forged = (claims: object, header: object = {}, by: Signer = signers.ES256) =>
  signed({ ...headerOf(good.user), kid: by.kid, alg: by.alg, ...header }, b64(JSON.stringify(claims)), by);
const withClaims = (more: object) => forged({ ...claimsOf(good.user), ...more });

describe("the issuer and the verifier library", () => {
  it("accept the issuer's access tokens, and no other kind", async () => {
    const { verdicts, differences } = await compare(Object.entries(good));
    expect(differences).toEqual({});
    expect(verdicts).toEqual({
      allowed: ["user", "client", "bound", "exchanged"],
      "Invalid Token": ["refresh", "id"],
    });
  });

  it("refuse a bound token where its proof is not checked", async () => {
    const { verdicts, differences } = await compare(Object.entries(good), false);
    expect(differences).toEqual({});
    expect(verdicts["Invalid Token"]).toEqual(["bound", "refresh", "id"]);
  });

  it("agree on more than 400 forged tokens", async () => {
    const sent = (["user", "client"] as const).flatMap((kind) => {
      const model: Model = {
        header: { ...headerOf(good[kind]) },
        claims: claimsOf(good[kind]),
        signer: signers.ES256,
        siblings: [signers.RS256],
        others,
        listener: app.url,
        ours: true,
      };
      return [...hostileTokens(model)].map(([name, token]): [string, string] => [`${kind}: ${name}`, token]);
    });
    expect(sent.length).toBeGreaterThan(400);
    const { verdicts, differences } = await compare(sent);
    expect(differences).toEqual({});
    expect(verdicts["allowed"] ?? []).toEqual([]);
  });

  it("agree on a token that is changed in each part", async () => {
    const sent = (["user", "bound", "exchanged"] as const).flatMap((kind) =>
      partsOf(good[kind]).flatMap((part, n) =>
        Array.from({ length: 24 }, (_, step): [string, string] => {
          const at = Math.floor((step * part.length) / 24);
          const changed = `${part.slice(0, at)}${part[at] === "A" ? "B" : "A"}${part.slice(at + 1)}`;
          return [`${kind}, part ${n} at ${at}`, partsOf(good[kind]).with(n, changed).join(".")];
        }),
      ),
    );
    const { verdicts, differences } = await compare(sent);
    expect(differences).toEqual({});
    expect(verdicts).toEqual({ "Invalid Token": sent.map(([name]) => name) });
  });

  it("agree on times", async () => {
    const now = app.context.clock.seconds();
    const { verdicts, differences } = await compare(
      Object.entries({
        expired: withClaims({ exp: now - 1 }),
        "expired long ago": withClaims({ exp: now - 100_000, iat: now - 200_000 }),
        "iat a little ahead": withClaims({ iat: now + 5 }),
        "iat far ahead": withClaims({ iat: now + 60 }),
        "iat zero": withClaims({ iat: 0 }),
        "iat with a fraction": withClaims({ iat: now - 0.5 }),
        "nbf in the past": withClaims({ nbf: now - 60 }),
        "nbf ahead": withClaims({ nbf: now + 60 }),
        "nbf negative": withClaims({ nbf: -1 }),
        "exp a text": withClaims({ exp: String(now + 60) }),
        "exp zero": withClaims({ exp: 0 }),
      }),
    );
    expect(differences).toEqual({});
    expect(verdicts["Token Expired"]).toEqual(["expired", "expired long ago"]);
    expect(verdicts["allowed"]).toEqual(["iat a little ahead", "nbf in the past"]);
  });

  it("agree on types, keys and algorithms", async () => {
    const claims = claimsOf(good.user);
    const { verdicts, differences } = await compare([
      ["typ JWT", forged(claims, { typ: "JWT" })],
      ["signed with RS256", forged(claims, {}, signers.RS256)],
      ...["at+JWT", "application/at+jwt", "logout+jwt", "rt+jwt", "dpop+jwt", ""].map((typ): [string, string] => [
        `typ ${typ}`,
        forged(claims, { typ }),
      ]),
      ["the refresh key", forged(claims, {}, signers.refresh)],
      ["an unknown kid", forged(claims, { kid: randomUUID() })],
      ["the kid of another key", forged(claims, { kid: signers.RS256.kid })],
      ["no text", "."],
      ["too long", forged({ ...claims, filler: "x".repeat(9000) })],
    ]);
    expect(differences).toEqual({});
    expect(verdicts["allowed"]).toEqual(["typ JWT", "signed with RS256"]);
  });

  it("agree on odd shapes of claims", async () => {
    const odd: unknown[] = [
      null,
      0,
      1,
      true,
      "",
      "text",
      [],
      [1],
      ["text"],
      {},
      { jkt: 1 },
      { jkt: "x" },
      { sub: "x" },
    ];
    const names = [
      "roles",
      "nickname",
      "cnf",
      "act",
      "exchanged_from",
      "sub",
      "jti",
      "aud",
      "client_id",
      "sid",
      "scope",
    ];
    const foreign = ["nonce", "at_hash", "c_hash", "events", "token_type", "gen"];
    const sent = [...names, ...foreign].flatMap((name) =>
      // the issuer alone knows which clients there are
      odd
        .filter((value) => name !== "client_id" || typeof value !== "string")
        .map((value): [string, string] => [`${name} ${JSON.stringify(value)}`, withClaims({ [name]: value })]),
    );
    const chain = { jti: randomUUID(), client_id: "app", kid: signers.ES256.kid };
    sent.push(
      ["a good chain", withClaims({ exchanged_from: [chain] })],
      ["a chain without kid", withClaims({ exchanged_from: [{ ...chain, kid: undefined }] })],
      ["a chain that is an object", withClaims({ exchanged_from: chain })],
      ["an actor behind an actor", withClaims({ act: { sub: "a", act: { sub: "b" } } })],
      ["an actor without sub", withClaims({ act: { sub: "a", act: {} } })],
      ["a claim that is not known", withClaims({ department: { name: "x" } })],
    );
    const { verdicts, differences } = await compare(sent);
    expect(differences).toEqual({});
    const allowed = verdicts["allowed"] ?? [];
    expect(allowed).toEqual(
      expect.arrayContaining([
        "a good chain",
        "an actor behind an actor",
        "a claim that is not known",
        'roles ["text"]',
      ]),
    );
    expect(allowed.filter((name) => foreign.includes(name.split(" ")[0] ?? ""))).toEqual([]);
    expect(allowed).not.toContain("an actor without sub");
  });

  it("agree on JSON that is not written as the issuer writes it", async () => {
    const claims = JSON.stringify(claimsOf(good.user));
    const inner = claims.slice(1, -1);
    const texts = {
      "as written": claims,
      "a duplicate name at the end": `{${inner},"sub":"admin"}`,
      "a duplicate name at the start": `{"sub":"admin",${inner}}`,
      "a duplicate name with an escape": `{${inner},"s\\u0075b":"admin"}`,
      "a duplicate name deeper": `{${inner},"act":{"sub":"a","sub":"b"}}`,
      "a space": `{ ${inner}}`,
      "a line feed at the end": `${claims}\n`,
      "an escape that is not needed": claims.replace('"ada"', '"\\u0061da"'),
      "a number with an exponent": claims.replace(/"exp":\d+/, '"exp":1e12'),
      "a byte order mark": `\ufeff${claims}`,
      "a list": `[${claims}]`,
      "text beyond ASCII": claims.replace('"ada"', '"Åda 에이다"'),
      "a lone surrogate": claims.replace('"ada"', '"\\ud800"'),
      __proto__: `{${inner},"__proto__":{"sub":"admin"}}`,
    };
    const { verdicts, differences } = await compare(
      Object.entries(texts).map(([name, text]): [string, string] => [
        name,
        signed(headerOf(good.user), b64(text), signers.ES256),
      ]),
    );
    expect(differences).toEqual({});
    expect(verdicts["allowed"]).toEqual(expect.arrayContaining(["as written", "text beyond ASCII"]));
    expect(verdicts["Invalid Token"]).toEqual(
      expect.arrayContaining(Object.keys(texts).filter((name) => name.startsWith("a duplicate"))),
    );
  });

  it("agree on audiences that are not this verifier's", async () => {
    const { verdicts, differences } = await compare(
      Object.entries({
        "another resource": withClaims({ aud: "https://other.example" }),
        "a list with a good one": withClaims({ aud: ["app"] }),
        "this resource": withClaims({ aud: "https://orders.example" }),
        "with a slash": withClaims({ aud: "https://orders.example/" }),
      }),
    );
    expect(differences).toEqual({});
    // the same by RFC 3986 section 6.2.3
    expect(verdicts["allowed"]).toEqual(["this resource", "with a slash"]);
  });

  it("agree on what a revocation concerns", async () => {
    const fresh = () => withClaims({ jti: randomUUID() });
    const { sub, sid } = claimsOf(good.user) as { sub: string; sid: string };
    const revoked = claimsOf(good.user)["jti"] as string;
    const elsewhere = { sub: randomUUID(), sid: randomUUID() };
    const chain = { jti: randomUUID(), client_id: "app", kid: signers.ES256.kid };
    const tokens: [string, string][] = [
      ["the revoked token", good.user],
      ["its exchange", good.exchanged],
      [
        "exchanged from it, for another subject",
        withClaims({ ...elsewhere, exchanged_from: [{ ...chain, jti: revoked }] }),
      ],
      ["exchanged from another one", withClaims({ jti: randomUUID(), ...elsewhere, exchanged_from: [chain] })],
      ["another one of its authorization", fresh()],
      ["revoked and expired", withClaims({ exp: app.context.clock.seconds() - 1 })],
    ];
    const knows = async (verifier: Verifier, token: string) => {
      const decision = await verifier.verify(token);
      return !decision.allowed && decision.error === "Invalid Token";
    };
    await postForm(`${app.url}/oauth2/revoke`, { token: good.user }, basic);
    await until(() => knows(verifiers.binding, good.user));
    const byToken = await compare(tokens);
    expect(byToken.differences).toEqual({});
    expect(byToken.verdicts["allowed"]).toEqual(["exchanged from another one", "another one of its authorization"]);

    const last = fresh();
    await app.context.store.authorizations.revoke(sid, "revoked_by_operator", app.context.clock.now());
    await until(() => knows(verifiers.binding, last));
    const ofSubject = withClaims({ sub, sid: randomUUID(), jti: randomUUID() });
    const byAuthorization = await compare([...tokens, ["another authorization of the user", ofSubject]]);
    expect(byAuthorization.differences).toEqual({});
    expect(byAuthorization.verdicts["allowed"]).toEqual([
      "exchanged from another one",
      "another authorization of the user",
    ]);
  });

  it("C-02 agree that a token of an earlier epoch of its user is revoked, and one without by its time of issue", async () => {
    const { sub } = claimsOf(good.user) as { sub: string };
    const now = app.context.clock.seconds();
    const of = (claims: object) => withClaims({ sub, sid: randomUUID(), jti: randomUUID(), ...claims });
    const tokens: [string, string][] = [
      ["epoch 0", of({ epoch: 0 })],
      ["epoch 1", of({ epoch: 1 })],
      ["epoch 2", of({ epoch: 2 })],
      ["no epoch, issued before", of({ epoch: undefined, iat: now - 5 })],
      ["no epoch, issued after", of({ epoch: undefined, iat: now + 8 })],
      ["another user at epoch 0", of({ epoch: 0, sub: randomUUID() })],
      ["an epoch that is no number", of({ epoch: "1" })],
    ];
    const last = of({ epoch: 0 });
    await app.context.store.sessions.endAllOf(sub, app.context.clock.now());
    await until(async () => !(await verifiers.binding.verify(last)).allowed);
    const { differences, verdicts } = await compare(tokens);
    expect(differences).toEqual({});
    expect(verdicts["allowed"]).toEqual(["epoch 1", "epoch 2", "no epoch, issued after", "another user at epoch 0"]);
  });

  it("agree that a token of an earlier epoch of its client is revoked, whatever the clocks say", async () => {
    const now = app.context.clock.seconds();
    const of = (claims: object) =>
      withClaims({ sub: randomUUID(), sid: randomUUID(), jti: randomUUID(), client_id: "app", ...claims });
    const from = { jti: randomUUID(), client_id: "app", kid: signers.ES256.kid };
    const exchanged = (exchanged_from: object) =>
      of({ aud: "internal-service", client_id: "internal-service", client_epoch: 0, exchanged_from });
    const tokens: [string, string][] = [
      ["epoch 0", of({ client_epoch: 0 })],
      ["epoch 0, issued after", of({ client_epoch: 0, iat: now + 8 })],
      ["epoch 1, issued before", of({ client_epoch: 1, iat: now - 60 })],
      ["no epoch, issued before", of({ client_epoch: undefined, iat: now - 60 })],
      ["no epoch, issued after", of({ client_epoch: undefined, iat: now + 8 })],
      ["an epoch that is no number", of({ client_epoch: "1" })],
      ["exchanged from epoch 0", exchanged([{ ...from, client_epoch: 0 }])],
      ["exchanged from epoch 1", exchanged([{ ...from, client_epoch: 1 }])],
      ["exchanged from an epoch that is no number", exchanged([{ ...from, client_epoch: "1" }])],
    ];
    const last = of({ client_epoch: 0 });
    const { clients } = app.context.store;
    await clients.disable("app", "command", app.context.clock.now());
    await clients.enable("app", "command", app.context.clock.now());
    await until(async () => !(await verifiers.binding.verify(last)).allowed);
    const { differences, verdicts } = await compare(tokens);
    expect(differences).toEqual({});
    expect(verdicts["allowed"]).toEqual(["epoch 1, issued before", "no epoch, issued after", "exchanged from epoch 1"]);
  });
});
