import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createVerifier, type Verifier, type VerifierOptions } from "../../src/verifier/verifier.ts";
import { serverKey } from "../rpc/certificates.ts";
import { alsoPossible, keyedWithPublic, ownCertificates, signed } from "../support/hostile.ts";
import { encode, type Issuer, seconds, startIssuer } from "./issuer.ts";

let issuer: Issuer;
let verifier: Verifier;
const open: Verifier[] = [];

function verifierWith(options: Partial<VerifierOptions> = {}): Verifier {
  const made = createVerifier({
    issuer: issuer.url,
    audience: "portal-client",
    onStreamLost: "accept-until-expiry",
    ...options,
  });
  open.push(made);
  return made;
}

beforeAll(async () => {
  issuer = await startIssuer();
  verifier = verifierWith();
  await verifier.ready();
});
afterAll(async () => {
  await Promise.all(open.map((one) => one.close()));
  await issuer.close();
});

const errorOf = async (token: string, by: Verifier = verifier) => {
  const decision = await by.verify(token);
  return decision.allowed ? "allowed" : decision.error;
};
const refusedAll = async (tokens: Record<string, string>) => {
  const answers: Record<string, string> = {};
  for (const [name, token] of Object.entries(tokens)) answers[name] = await errorOf(token);
  expect(answers).toEqual(Object.fromEntries(Object.keys(tokens).map((name) => [name, "Invalid Token"])));
};

describe("the gateway's table", () => {
  test.each(["ES256", "RS256", "EdDSA"] as const)("a token signed with %s is allowed, with its claims", async (alg) => {
    const token = issuer.token({ sub: "user-7" }, {}, alg);
    const decision = await verifier.verify(token, { scopes: ["read", "profile"] });
    expect(decision).toMatchObject({ allowed: true, claims: { sub: "user-7", scope: "openid profile read" } });
    // remembered: the same answer, at once
    expect(verifier.verifyNow(token)).toEqual(decision);
    expect(Object.isFrozen(decision.allowed && decision.claims.roles)).toBe(true);
  });

  test("every refusal has its status, text and WWW-Authenticate", async () => {
    expect(await verifier.verify("")).toEqual({
      allowed: false,
      status: 401,
      error: "Unauthorized",
      wwwAuthenticate: "Bearer",
    });
    expect(await verifier.verify("nonsense")).toEqual({
      allowed: false,
      status: 401,
      error: "Invalid Token",
      wwwAuthenticate: 'Bearer error="invalid_token", error_description="The access token is not valid"',
    });
    expect(await verifier.verify(issuer.token({ exp: seconds() - 1 }))).toEqual({
      allowed: false,
      status: 401,
      error: "Token Expired",
      wwwAuthenticate: 'Bearer error="invalid_token", error_description="The access token expired"',
    });
    expect(await verifier.verify(issuer.token(), { scopes: ["read", "write"] })).toEqual({
      allowed: false,
      status: 403,
      error: "Forbidden",
      wwwAuthenticate: 'Bearer error="insufficient_scope"',
    });
  });

  test("a remembered token expires, its scopes and audience are judged at each call", async () => {
    let now = Date.now();
    const by = verifierWith({ now: () => now });
    await by.ready();
    const token = issuer.token({ exp: seconds() + 60 });
    expect(await errorOf(token, by)).toBe("allowed");
    expect(by.verifyNow(token, { scopes: ["write"] })).toMatchObject({ status: 403 });
    expect(by.verifyNow(token, { audience: "other" })).toMatchObject({ error: "Invalid Token" });
    expect(by.verifyNow(token, { audience: ["other", "portal-client"] })).toMatchObject({ allowed: true });
    now += 61_000;
    expect(await errorOf(token, by)).toBe("Token Expired");
  });

  test("S-137 an Authorization header is read as the service reads it, its scheme in any case", async () => {
    const token = issuer.token();
    const answers: Record<string, string> = {};
    for (const header of [
      `Bearer ${token}`,
      `bEARER   ${token}`,
      `Bearer\t${token}`,
      `Basic ${token}`,
      token,
      `Bearer ${token} x`,
      "Bearer ",
      "",
    ]) {
      const decision = await verifier.verifyHeader(header);
      answers[header.replace(token, "T")] = decision.allowed ? "allowed" : decision.error;
    }
    expect(answers).toEqual({
      "Bearer T": "allowed",
      "bEARER   T": "allowed",
      "Bearer\tT": "Invalid Token",
      "Basic T": "Invalid Token",
      T: "Invalid Token",
      "Bearer T x": "Invalid Token",
      "Bearer ": "Invalid Token",
      "": "Invalid Token",
    });
    expect(await verifier.verifyHeader(undefined)).toMatchObject({ error: "Unauthorized" });
  });
});

test("S-102 the header holds alg, typ and kid and nothing else", async () => {
  const extra = { jku: "http://x", x5u: "http://x", x5c: ["x"], jwk: {}, cty: "JWT", zip: "DEF" };
  const tokens = Object.fromEntries(
    Object.entries(extra).map(([name, value]) => [name, issuer.token({}, { [name]: value })]),
  );
  const { alg, typ, kid } = { alg: "ES256", typ: "at+jwt", kid: "ES256" };
  const body = encode(issuer.claims());
  await refusedAll({
    ...tokens,
    "no kid": issuer.raw(encode({ alg, typ }), body),
    "no typ": issuer.raw(encode({ alg, kid }), body),
    "kid a number": issuer.raw(encode({ alg, typ, kid: 1 }), body),
    "typ in capitals": issuer.token({}, { typ: "AT+JWT" }),
    "typ in full": issuer.token({}, { typ: "application/at+jwt" }),
  });
});

test("S-103 S-111 required claims are required, and times are whole numbers", async () => {
  const wrong: Record<string, string> = {};
  for (const name of ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "sid", "scope"]) {
    wrong[`${name} missing`] = issuer.token({ [name]: undefined });
    wrong[`${name} null`] = issuer.token({ [name]: null });
    wrong[`${name} a list`] = issuer.token({ [name]: ["portal-client"] });
  }
  const now = seconds();
  for (const [name, value] of Object.entries({ string: String(now + 60), negative: -1, float: now + 60.5, zero: 0 })) {
    wrong[`exp ${name}`] = issuer.token({ exp: value });
    wrong[`iat ${name}`] = issuer.token({ iat: value });
    wrong[`nbf ${name}`] = issuer.token({ nbf: value });
  }
  const huge = JSON.stringify(issuer.claims({ exp: 1 })).replace('"exp":1', '"exp":1e400');
  wrong["exp 1e400"] = issuer.raw(
    encode({ alg: "ES256", typ: "at+jwt", kid: "ES256" }),
    Buffer.from(huge).toString("base64url"),
  );
  wrong["nbf in the future"] = issuer.token({ nbf: now + 60 });
  wrong["roles a string"] = issuer.token({ roles: "ROLE_ADMIN" });
  await refusedAll(wrong);
});

test("S-105 the key decides the algorithm", async () => {
  const body = encode(issuer.claims());
  const wrong: Record<string, string> = {};
  for (const alg of ["none", "None", "nOnE", "", ["ES256"], undefined, null, "ES256K", "ES384", "PS256", "HS256"]) {
    const head = encode({ alg, typ: "at+jwt", kid: "ES256" });
    wrong[`alg ${JSON.stringify(alg)}`] = issuer.raw(head, body);
    wrong[`alg ${JSON.stringify(alg)} unsigned`] = `${head}.${body}.`;
  }
  for (const kid of ["ES256", "RS256"] as const) {
    const { privateKey } = issuer.pairs[kid];
    const header = { typ: "at+jwt", kid };
    for (const alg of alsoPossible[kid] ?? []) {
      wrong[`${alg} by the ${kid} key`] = signed({ ...header, alg }, body, { alg, privateKey });
    }
    Object.assign(wrong, keyedWithPublic(header, body, { kid, alg: kid, privateKey }));
  }
  wrong["RS256 with the EC key's kid"] = issuer.token({}, { kid: "ES256" }, "RS256");
  wrong["ES256 named RS256"] = issuer.token({}, { alg: "RS256" });
  wrong["EdDSA named ES256"] = issuer.token({}, { alg: "ES256", kid: "ES256" }, "EdDSA");
  await refusedAll(wrong);
});

test("S-106 no header of a token is used to find its key", async () => {
  const asked: string[] = [];
  const listener = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.end();
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/keys`;
  const own = { alg: "ES256", privateKey: createPrivateKey(serverKey) };
  const jwk = createPublicKey(own.privateKey).export({ format: "jwk" });
  const forged = (header: object) =>
    signed({ alg: "ES256", typ: "at+jwt", kid: "ES256", ...header }, encode(issuer.claims()), own);
  await refusedAll({
    "embedded jwk": forged({ jwk }),
    "embedded x5c": forged({ x5c: ownCertificates }),
    jku: forged({ jku: url }),
    x5u: forged({ x5u: url }),
    "another key": forged({}),
    "kid a path": forged({ kid: "../../etc/passwd" }),
    "kid SQL": forged({ kid: "' OR 1=1" }),
    "kid an object's member": forged({ kid: "__proto__" }),
    "kid of 1 MB": forged({ kid: "k".repeat(1_000_000) }),
  });
  expect(asked).toEqual([]);
  await new Promise((resolve) => listener.close(resolve));
});

test("S-107 crit and b64 are refused", async () => {
  await refusedAll({
    crit: issuer.token({}, { crit: ["x"], x: 1 }),
    "b64 false": issuer.token({}, { crit: ["b64"], b64: false }),
  });
});

test("S-108 a signature that is none is refused", async () => {
  const token = issuer.token();
  const [head = "", body = "", tail = ""] = token.split(".");
  const good = Buffer.from(tail, "base64url");
  const [r, s] = [good.subarray(0, 32), good.subarray(32)];
  const zero = Buffer.alloc(32);
  const n = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");
  const der = sign("sha256", Buffer.from(`${head}.${body}`), issuer.pairs.ES256.privateKey);
  const tails: Record<string, Buffer> = {
    zero: Buffer.concat([zero, zero]),
    "r zero": Buffer.concat([zero, s]),
    "s zero": Buffer.concat([r, zero]),
    "r = n": Buffer.concat([n, s]),
    DER: der,
    "63 bytes": good.subarray(0, 63),
    "65 bytes": Buffer.concat([good, Buffer.alloc(1)]),
  };
  await refusedAll(
    Object.fromEntries(
      Object.entries(tails).map(([name, bytes]) => [name, `${head}.${body}.${bytes.toString("base64url")}`]),
    ),
  );
  await refusedAll(
    Object.fromEntries(Array.from(tail, (_, i) => [`first ${i}`, `${head}.${body}.${tail.slice(0, i)}`])),
  );
});

test("S-109 everything but a compact JWS is refused before any decryption", async () => {
  const token = issuer.token();
  const [head = "", body = "", tail = ""] = token.split(".");
  const part = Buffer.alloc(64, 1).toString("base64url");
  const jwe = (header: object) => `${encode(header)}.${part}.${part}.${part}.${part}`;
  await refusedAll({
    JWE: jwe({ alg: "RSA-OAEP", enc: "A256GCM", typ: "at+jwt", kid: "RS256" }),
    "JWE with a bomb": jwe({ alg: "dir", enc: "A256GCM", zip: "DEF" }),
    PBES2: jwe({ alg: "PBES2-HS256+A128KW", enc: "A128GCM", p2c: 2 ** 31, p2s: "x" }),
    "nested JWT": issuer.raw(
      encode({ alg: "ES256", typ: "at+jwt", kid: "ES256" }),
      Buffer.from(token).toString("base64url"),
    ),
    "flattened JSON": JSON.stringify({ protected: head, payload: body, signature: tail }),
    "general JSON": JSON.stringify({ payload: body, signatures: [{ protected: head, signature: tail }] }),
    "SD-JWT": `${token}~`,
    "SD-JWT with a disclosure": `${token}~${part}~`,
    detached: `${head}..${tail}`,
  });
});

test("S-110 only canonical text is read", async () => {
  const token = issuer.token({ nickname: "???>>>~~~" });
  const [head = "", body = "", tail = ""] = token.split(".");
  const rawBody = (text: string | Buffer) =>
    issuer.raw(encode({ alg: "ES256", typ: "at+jwt", kid: "ES256" }), Buffer.from(text).toString("base64url"));
  const claims = JSON.stringify(issuer.claims());
  const invalid = Buffer.concat([
    Buffer.from(claims.slice(0, -1)),
    Buffer.from(',"x":"'),
    Buffer.from([0xff, 0x22, 0x7d]),
  ]);
  await refusedAll({
    "trailing byte": `${token}A`,
    "trailing newline": `${token}\n`,
    "leading space": ` ${token}`,
    "inner newline": `${head}.${body.slice(0, 20)}\n${body.slice(20)}.${tail}`,
    "inner space": `${head}.${body.slice(0, 20)} ${body.slice(20)}.${tail}`,
    padded: `${head}.${body}.${tail}==`,
    "padded body": `${head}.${body}=.${tail}`,
    "standard alphabet": `${head}.${Buffer.from(body, "base64url").toString("base64")}.${tail}`,
    "other last bits": `${head}.${body}.${tail.slice(0, -1)}${tail.endsWith("A") ? "B" : `${String.fromCharCode(tail.charCodeAt(85) + 1)}`}`,
    "duplicate claim": rawBody(claims.replace("{", '{"sub":"admin",')),
    "white space in JSON": rawBody(claims.replace("{", "{ ")),
    "byte order mark": rawBody(`\ufeff${claims}`),
    "invalid UTF-8": rawBody(invalid),
    "a list": rawBody("[]"),
    null: rawBody("null"),
    "1 MB": rawBody(claims.replace('"nick"', `"${"n".repeat(1_000_000)}"`)),
  });
});

test("S-112 iat and nbf may be 8 s ahead, not 61 s; what is over is over at once, or up to 10 s later", async () => {
  const now = seconds();
  expect(await errorOf(issuer.token({ iat: now + 8, nbf: now + 8 }))).toBe("allowed");
  expect(await errorOf(issuer.token({ iat: now + 61 }))).toBe("Invalid Token");
  expect(await errorOf(issuer.token({ nbf: now + 61 }))).toBe("Invalid Token");
  expect(await errorOf(issuer.token({ exp: now }))).toBe("Token Expired");
  const tolerant = verifierWith({ expiryToleranceSeconds: 10 });
  await tolerant.ready();
  expect(await errorOf(issuer.token({ exp: now - 5 }), tolerant)).toBe("allowed");
  expect(await errorOf(issuer.token({ exp: now - 11 }), tolerant)).toBe("Token Expired");
  expect(() => verifierWith({ clockToleranceSeconds: 11 })).toThrow("clockToleranceSeconds must be 0 to 10");
  expect(() => verifierWith({ expiryToleranceSeconds: 11 })).toThrow("expiryToleranceSeconds must be 0 to 10");
});

test("S-113 iss and aud match exactly, and one audience of a list is enough", async () => {
  await refusedAll({
    "other iss": issuer.token({ iss: "http://other.example" }),
    "iss with a slash": issuer.token({ iss: `${issuer.url}/` }),
    "other aud": issuer.token({ aud: "other" }),
    "empty aud": issuer.token({ aud: "" }),
    "aud in capitals": issuer.token({ aud: "PORTAL-CLIENT" }),
    "list without ours": issuer.token({ aud: ["https://api.example", "other"] }),
    "list of one": issuer.token({ aud: ["portal-client"] }),
    "list with a number": issuer.token({ aud: ["portal-client", 1] }),
    "empty list": issuer.token({ aud: [] }),
  });
  expect(await verifier.verify(issuer.token({ aud: ["other", "portal-client"] }))).toMatchObject({ allowed: true });
  expect(
    await verifier.verify(issuer.token({ aud: "https://api.example" }), { audience: "https://api.example" }),
  ).toMatchObject({
    allowed: true,
  });
});

test("S-114 no other kind of token passes, with or without allowJwtTyp", async () => {
  const idToken = { client_id: undefined, jti: undefined, scope: undefined, auth_time: seconds(), at_hash: "x" };
  const others: Record<string, string> = {
    id: issuer.token(idToken, { typ: "JWT" }),
    "id with every claim of an access token": issuer.token({ nonce: "n" }, { typ: "JWT" }),
    "id typed as access": issuer.token(idToken),
    refresh: issuer.token({ token_type: "refresh", gen: 0 }, { typ: "rt+jwt" }, "EdDSA"),
    "refresh typed JWT": issuer.token({ token_type: "refresh" }, { typ: "JWT" }, "EdDSA"),
    logout: issuer.token(
      { events: { "http://schemas.openid.net/event/backchannel-logout": {} } },
      { typ: "logout+jwt" },
    ),
    "logout typed JWT": issuer.token({ events: {} }, { typ: "JWT" }),
    reset: issuer.token({}, { typ: "reset+jwt" }),
    "client assertion": issuer.token({ iss: "portal-client", sub: "portal-client", scope: undefined }, { typ: "JWT" }),
  };
  await refusedAll(others);
  const lenient = verifierWith({ allowJwtTyp: true });
  await lenient.ready();
  for (const token of Object.values(others)) expect(await errorOf(token, lenient)).toBe("Invalid Token");
  const jwt = issuer.token({}, { typ: "JWT" });
  expect([await errorOf(jwt), await errorOf(jwt, lenient)]).toEqual(["Invalid Token", "allowed"]);
});

test("S-115 every proper prefix of a token is refused", async () => {
  const token = issuer.token();
  const passed = [];
  for (let length = 1; length < token.length; length++) {
    if ((await errorOf(token.slice(0, length))) !== "Invalid Token") passed.push(length);
  }
  expect(passed).toEqual([]);
  expect(await errorOf(token)).toBe("allowed");
});

test("S-110 a token with any one character changed is refused", async () => {
  const token = issuer.token();
  const passed = [];
  for (let at = 0; at < token.length; at++) {
    for (const other of ["A", "B", "_", ".", "=", " ", "\u00e9"]) {
      if (token[at] === other) continue;
      const changed = token.slice(0, at) + other + token.slice(at + 1);
      if ((await errorOf(changed)) !== "Invalid Token") passed.push(`${at} ${other}`);
    }
  }
  expect(passed).toEqual([]);
});

test("arguments of wrong types are refused and never throw", async () => {
  for (const nothing of [undefined, null]) expect(await errorOf(nothing as never)).toBe("Unauthorized");
  for (const odd of [{}, 1, Buffer.from(issuer.token())]) expect(await errorOf(odd as never)).toBe("Invalid Token");
});

test("S-119 a token that is bound to a key is refused, unless the binding is checked", async () => {
  const bound = issuer.token({ cnf: { jkt: "thumbprint" } });
  await refusedAll({ bound, "cnf a string": issuer.token({ cnf: "x" }) });
  const checking = verifierWith({
    checkBinding: (claims, proof) => {
      if (proof === "throw") throw new Error("unreadable proof");
      return claims.cnf?.["jkt"] === proof;
    },
  });
  await checking.ready();
  expect(await checking.verify(bound, { proof: "thumbprint" })).toMatchObject({ allowed: true });
  // not remembered with the token
  expect(await checking.verify(bound, { proof: "other" })).toMatchObject({ error: "Invalid Token" });
  expect(await checking.verify(bound, { proof: "throw" })).toMatchObject({ error: "Invalid Token" });
  expect(await checking.verify(bound)).toMatchObject({ error: "Invalid Token" });
});

test("S-145 a token that is bound to a DPoP key is never good as a Bearer token, whatever checkBinding says", async () => {
  const trusting = verifierWith({ checkBinding: () => true });
  await trusting.ready();
  const bound = issuer.token({ cnf: { jkt: "thumbprint" } });
  expect(await trusting.verify(bound)).toMatchObject({ allowed: true });
  for (const scheme of ["Bearer", "bearer", "DPoP"]) {
    expect(await trusting.verifyHeader(`${scheme} ${bound}`)).toMatchObject({ error: "Invalid Token" });
  }
  const certificate = issuer.token({ cnf: { "x5t#S256": "thumbprint" } });
  expect(await trusting.verifyHeader(`Bearer ${certificate}`)).toMatchObject({ allowed: true });
});

test("wrong options are told all together", () => {
  const wrong = () =>
    createVerifier({ issuer: "auth.example", audience: [], maxStalenessMs: 1, stream: { baseUrl: "auth:9091" } });
  expect(wrong).toThrow(
    /issuer .*; audience .*; stream.baseUrl .*; stream needs credentials.*; maxStalenessMs must be 500/,
  );
  expect(() => createVerifier({ issuer: issuer.url, audience: "a" })).toThrow(/onStreamLost/);
  expect(() => createVerifier({ issuer: issuer.url, audience: "a", onStreamLost: "fail-closed" })).toThrow(
    /refuse every/,
  );
  expect(() => createVerifier({ issuer: issuer.url, audience: "a", onStreamLost: "introspect" })).toThrow(
    /where to ask/,
  );
});
