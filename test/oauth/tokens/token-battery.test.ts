import { KeyObject, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../../support/app.ts";
import { type Account, claimsOf, getCode, introspect, postForm, signUp, TestBrowser } from "../../support/flow.ts";
import { hostileTokens, type Model, type Signer, signed, signersOf } from "../../support/hostile.ts";
import { assertionOf, inSeconds, listen, makeKey, proofOf, type TestKey } from "../../support/keys.ts";
import { resetTokenFor } from "../../support/resets.ts";
import { appClient, app as client, type Kind, kinds, type Verifier, verifiersOf } from "../../support/verifiers.ts";

const basic = { authorization: `Basic ${btoa("app:the+secret+of+app")}` };
const modelled = ["access", "own access", "refresh", "id", "client assertion"] as const;
type Modelled = (typeof modelled)[number];

let app: TestApp;
let key: TestKey;
let account: Account & { uuid: string };
let listener: Awaited<ReturnType<typeof listen>>;
let verifiers: Map<string, Verifier>;
let models: Record<Modelled, Model>;
/** One good token of each kind. */
let good: Record<Kind, string>;

beforeAll(async () => {
  key = await makeKey("ES256", "of keyed");
  const keyed = { client_id: "keyed", token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [key.jwk] } };
  // what is good stays so to the end, and a refresh that is refused again and again is refused alike
  const env = { TRUST_PROXY: "loopback", ACCESS_TOKEN_TTL: "3600", REFRESH_REJECTED_STATUS: "400" };
  app = await startApp(env, [appClient, { ...keyed, grant_types: ["client_credentials"], scope: "profile" }]);
  listener = await listen((_, response) => response.end("{}"));
  account = await signUp(app.url);
  const browser = new TestBrowser();
  await getCode(app.url, account, { ...client, scope: "openid", browser });
  verifiers = new Map(verifiersOf(app, browser).map((each) => [each.name, each]));
  good = Object.fromEntries(await Promise.all(kinds.map(async (kind) => [kind, await make[kind]()]))) as Record<
    Kind,
    string
  >;
  const signers = await signersOf(app);
  const inUse = (use: string) => signers.filter((each) => each.use === use);
  const ofClient: Signer = { kid: "of keyed", alg: "ES256", privateKey: KeyObject.from(key.privateKey) };
  const modelOf = (kind: Modelled): Model => {
    const use = kind === "refresh" ? "refresh" : "access";
    const all = kind === "client assertion" ? [ofClient] : inUse(use);
    const [signer = ofClient, ...siblings] = all.sort((a, b) => a.alg.localeCompare(b.alg));
    const header = JSON.parse(Buffer.from(good[kind].split(".")[0] ?? "", "base64url").toString()) as object;
    const others = kind === "client assertion" ? signers : inUse(use === "access" ? "refresh" : "access");
    const ours = kind !== "client assertion";
    return {
      header: { ...header },
      claims: claimsOf(good[kind]),
      signer,
      siblings,
      others,
      listener: listener.url,
      ours,
    };
  };
  models = Object.fromEntries(modelled.map((kind) => [kind, modelOf(kind)])) as Record<Modelled, Model>;
});
afterAll(async () => {
  listener.close();
  await app.close();
});

const tokens = async (name: "access_token" | "refresh_token" | "id_token") => {
  const { code, verifier } = await getCode(app.url, account, { ...client, scope: "openid profile" });
  const form = { grant_type: "authorization_code", code, code_verifier: verifier };
  return (
    ((await (await postForm(`${app.url}/oauth2/token`, form, basic)).json()) as Record<string, string>)[name] ?? ""
  );
};

const make: Record<Kind, () => Promise<string>> = {
  access: () => tokens("access_token"),
  refresh: () => tokens("refresh_token"),
  id: () => tokens("id_token"),
  async "own access"() {
    const form = { grant_type: "client_credentials", scope: "auth.introspect" };
    const response = await postForm(`${app.url}/oauth2/token`, form, basic);
    return ((await response.json()) as { access_token: string }).access_token;
  },
  async logout() {
    const { iss, sub, aud, sid } = claimsOf(await tokens("id_token"));
    const now = app.context.clock.seconds();
    const events = { "http://schemas.openid.net/event/backchannel-logout": {} };
    const claims = { iss, sub, aud, iat: now, exp: now + 120, jti: randomUUID(), events, sid };
    return app.context.keys.sign("access", "ES256", "logout+jwt", claims).token;
  },
  async reset() {
    const { email } = await signUp(app.url);
    return resetTokenFor(app, email);
  },
  async "device code"() {
    const response = await postForm(`${app.url}/oauth2/device_authorization`, { scope: "openid" }, basic);
    return ((await response.json()) as { device_code: string }).device_code;
  },
  "client assertion": () => assertionOf(key, "keyed", app.url, { exp: inSeconds(290) }),
  "DPoP proof": () => proofOf(key, "POST", `${app.url}/oauth2/token`),
  async introspection() {
    const headers = { ...basic, accept: "Application/Token-Introspection+JWT" };
    return (await postForm(`${app.url}/oauth2/introspect`, { token: await tokens("access_token") }, headers)).text();
  },
};

const names = [
  "UserInfo, header",
  "UserInfo, body",
  "/api/users/me",
  "/api/users/me/password",
  "HTTP introspection",
  "HTTP introspection, its caller",
  "Connect, its caller",
  "token exchange",
  "revocation",
  "RevokeToken",
  "Introspect",
  "BatchIntrospect",
  "Authorize",
  "gRPC, its caller",
  "IssueToken, refresh",
  "ResetPassword",
  "refresh",
  "id_token_hint at the authorization endpoint",
  "id_token_hint at logout",
  "client assertion",
  "password reset",
  "device code",
  "DPoP proof",
] as const;
const verifierOf = (name: string): Verifier => {
  const found = verifiers.get(name);
  if (found === undefined) throw new Error(`no verifier ${name}`);
  return found;
};
/** What it is for, as far as that can be forged; others are sent what looks like an access token. */
const modelsFor = ({ takes }: Verifier): Modelled[] => {
  const own = modelled.filter((kind) => takes.includes(kind));
  if (own.length === 0) return ["access"];
  return own.includes("access") ? own.filter((kind) => kind !== "own access") : own;
};
/** A client revokes what it was given, whatever resource it is for. */
const excepted = (verifier: string, token: string) =>
  ["revocation", "RevokeToken"].includes(verifier) &&
  /^S-113 aud (other|with a slash|a list of others|empty)$/.test(token);

/** Also where it only lacks a scope. */
const isRefused = ({ refusal }: Verifier, answer: string | null) =>
  answer === null || answer === refusal || /^403 |^PermissionDenied /.test(answer);

async function answersTo(verifier: Verifier, sent: Iterable<[string, string]>): Promise<[string, string, string][]> {
  const wrong: [string, string, string][] = [];
  for (const [name, token] of sent) {
    const answer = await verifier.send(token);
    const expected = token.length > 60_000 ? verifier.tooLong : verifier.refusal;
    if (answer !== null && answer !== expected) wrong.push([name, answer, expected]);
  }
  return wrong;
}

it("every verifier is sent the battery", () => {
  expect([...verifiers.keys()]).toEqual(names);
});

describe.each(names)("%s", (name) => {
  it("S-105 S-106 S-107 S-108 S-109 S-110 S-111 S-112 S-113 refuses every forged token with the same answer, and fetches nothing", async () => {
    const verifier = verifierOf(name);
    for (const kind of modelsFor(verifier)) {
      const sent = [...hostileTokens(models[kind])].filter(([token]) => !excepted(name, token));
      expect(sent.length).toBeGreaterThan(200);
      expect([kind, await answersTo(verifier, sent)]).toEqual([kind, []]);
    }
    expect(listener.connections()).toBe(0);
  });

  it("S-115 refuses every proper prefix of a token that is good", async () => {
    const verifier = verifierOf(name);
    const token = good[verifier.takes[0] ?? "access"];
    const prefixes = Array.from({ length: token.length - 1 }, (_, n): [string, string] => [
      `${n}`,
      token.slice(0, n + 1),
    ]);
    expect(await answersTo(verifier, prefixes)).toEqual([]);
  });

  it("S-112 takes a token of a clock that is 8 s ahead", async () => {
    const verifier = verifierOf(name);
    for (const kind of modelled.filter((each) => verifier.takes.includes(each))) {
      const { header, signer } = models[kind];
      const ahead = app.context.clock.seconds() + 8;
      const claims = JSON.stringify({ ...claimsOf(await make[kind]()), iat: ahead, nbf: ahead });
      const answer = await verifier.send(signed(header, Buffer.from(claims).toString("base64url"), signer));
      expect([kind, answer, isRefused(verifier, answer)]).toEqual([kind, answer, false]);
    }
  });

  it("S-114 S-084 takes the kind of token that it is for, and no other kind", async () => {
    const verifier = verifierOf(name);
    const answers: Record<string, string> = {};
    for (const kind of kinds) {
      const diagonal = verifier.takes.includes(kind);
      const answer = await verifier.send(diagonal ? await make[kind]() : good[kind]);
      if (isRefused(verifier, answer) === diagonal) answers[kind] = String(answer);
    }
    expect(answers).toEqual({});
  });
});

it("the genuine tokens of the battery are still valid", async () => {
  for (const kind of ["access", "own access"] as const) {
    expect(await introspect(app.url, good[kind], basic.authorization)).toMatchObject({ active: true });
  }
  expect(await verifierOf("refresh").send(good.refresh)).toBe("200 undefined");
  expect(await verifierOf("client assertion").send(good["client assertion"])).toBe("200 undefined");
  expect(await verifierOf("password reset").send(good.reset)).toBe("204 undefined");
  expect(await verifierOf("id_token_hint at the authorization endpoint").send(good.id)).toBe("302 ");
});
