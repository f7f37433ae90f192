import { constants, createHash, createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { calculateJwkThumbprint, exportJWK, type JWK } from "jose";
import {
  createVerifier,
  type Decision,
  type DpopOptions,
  type SignedRequest,
  type Verifier,
  type VerifierOptions,
  type VerifyOptions,
} from "../../src/verifier/verifier.ts";
import { inSeconds, makeKey, proofOf, type TestKey } from "../support/keys.ts";
import { encode, type Issuer, seconds, startIssuer } from "./issuer.ts";

const publicUrl = "https://api.example/v1";
const url = `${publicUrl}/orders`;
const algs = 'algs="ES256 PS256 EdDSA Ed25519"';

let issuer: Issuer;
let verifier: Verifier;
let key: TestKey;
let other: TestKey;
/** Bound to `key`. */
let token: string;
const open: Verifier[] = [];

async function verifierWith(dpop: Partial<DpopOptions> = {}, more: Partial<VerifierOptions> = {}): Promise<Verifier> {
  const options = { issuer: issuer.url, audience: "portal-client", onStreamLost: "accept-until-expiry" } as const;
  const made = createVerifier({ ...options, dpop: { publicUrl, ...dpop }, ...more });
  open.push(made);
  await made.ready();
  return made;
}

beforeAll(async () => {
  [issuer, key, other] = await Promise.all([startIssuer(), makeKey(), makeKey()]);
  verifier = await verifierWith();
});
beforeEach(() => {
  token = issuer.token({ cnf: { jkt: key.thumbprint } });
});
afterAll(async () => {
  await Promise.all(open.map((one) => one.close()));
  await issuer.close();
});

type More = Parameters<typeof proofOf>[3];
const prove = (more: More = {}, by = key) => proofOf(by, "POST", url, { accessToken: token, ...more });
const send = (dpop: SignedRequest["dpop"], by = verifier, authorization = `DPoP ${token}`, options?: VerifyOptions) =>
  by.verifyHeader(authorization, options, { method: "POST", url: "/orders?page=2", dpop });
const outcome = (decision: Decision) => (decision.allowed ? "allowed" : decision.error);
const challengeOf = (decision: Decision) => ("wwwAuthenticate" in decision ? decision.wwwAuthenticate : null);
const refused = {
  status: 401,
  error: "invalid_dpop_proof",
  wwwAuthenticate: `DPoP error="invalid_dpop_proof", ${algs}`,
};

describe("a good proof", () => {
  test.each(["ES256", "PS256", "EdDSA"])("of a key of %s lets its token through", async (alg) => {
    const by = await makeKey(alg);
    token = issuer.token({ sub: "user-7", cnf: { jkt: by.thumbprint } });
    expect(await send(await prove({}, by))).toMatchObject({ allowed: true, claims: { sub: "user-7" } });
  });

  test("names the URL in any normal form, with query and fragment; its clock may be off by some seconds", async () => {
    const urls = [
      `${url}?a=b#c`,
      "HTTPS://API.example:443/v1/orders",
      "https://api.example/x/../v1/./orders",
      "https://api.example/v1/%6Frders",
    ];
    for (const htu of urls)
      expect([htu, outcome(await send(await prove({ claims: { htu } })))]).toEqual([htu, "allowed"]);
    for (const iat of [inSeconds(-58), inSeconds(8)]) {
      expect(outcome(await send(await prove({ claims: { iat } })))).toBe("allowed");
    }
  });

  test("may be the only one of a list, with a nonce, its scheme in any case", async () => {
    expect(outcome(await send([await prove()]))).toBe("allowed");
    expect(outcome(await send(await prove({ nonce: "of another server" })))).toBe("allowed");
    expect(outcome(await send(await prove(), verifier, `dpop   ${token}`))).toBe("allowed");
  });

  test("is asked for at every call, and no scope comes before it", async () => {
    expect(outcome(await send(await prove()))).toBe("allowed");
    expect(outcome(await send("x"))).toBe("invalid_dpop_proof");
    const writing = { scopes: ["write"] };
    expect(outcome(await send("x", verifier, `DPoP ${token}`, writing))).toBe("invalid_dpop_proof");
    expect(await send(await prove(), verifier, `DPoP ${token}`, writing)).toMatchObject({
      status: 403,
      wwwAuthenticate: `DPoP error="insufficient_scope", ${algs}`,
    });
    expect(outcome(await send(await prove(), verifier, `DPoP ${token}`, { scopes: ["read", "openid"] }))).toBe(
      "allowed",
    );
    expect(outcome(await send(await prove(), verifier, `DPoP ${token}`, { audience: "x" }))).toBe("Invalid Token");
  });
});

/** A signature of ES256 as X.509 writes it (RFC 3279 section 2.2.3). */
function derOf(signature: Buffer): Buffer {
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)].map((half) => {
    const from = half.findIndex((byte) => byte !== 0);
    const sign = (half[from] ?? 0) > 127 ? [0] : [];
    return Buffer.from([2, 32 - from + sign.length, ...sign, ...half.subarray(from)]);
  });
  const body = Buffer.concat([r ?? Buffer.of(), s ?? Buffer.of()]);
  return Buffer.concat([Buffer.from([48, body.length]), body]);
}

/** What no library signs, signed well: a token bound to the key, and a proof whose parts are as given. */
async function signedBy(
  { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject },
  alg: string,
  how: object = {},
  edit = (body: string) => body,
): Promise<string> {
  const jwk = publicKey.export({ format: "jwk" });
  token = issuer.token({ cnf: { jkt: await calculateJwkThumbprint(jwk as JWK) } });
  const ath = createHash("sha256").update(token).digest("base64url");
  const body = JSON.stringify({ jti: randomUUID(), htm: "POST", htu: url, iat: seconds(), ath });
  const input = `${encode({ typ: "dpop+jwt", alg, jwk })}.${Buffer.from(edit(body)).toString("base64url")}`;
  const digest = alg === "EdDSA" ? null : "sha256";
  return `${input}.${sign(digest, Buffer.from(input), { key: privateKey, ...how }).toString("base64url")}`;
}

describe("a proof is refused", () => {
  test("for another request, of another time, for another token, and incomplete", async () => {
    const claims: Record<string, unknown>[] = [
      // first: with time, the second one would be good
      { iat: inSeconds(-62) },
      { iat: inSeconds(12) },
      { htm: "GET" },
      { htm: "post" },
      { htm: undefined },
      { htu: `${url}/` },
      { htu: "https://api.example/orders" },
      { htu: `${publicUrl}/Orders` },
      { htu: url.replace("https:", "http:") },
      { htu: url.replace("api.example", "other.example") },
      { htu: url.replace("https://", "https://user@") },
      { htu: "/v1/orders" },
      { htu: [url] },
      { htu: undefined },
      { iat: Date.now() },
      { iat: String(seconds()) },
      { iat: undefined },
      { ath: undefined },
      { ath: "x" },
      { jti: undefined },
      { jti: "" },
      { jti: 7 },
      { jti: "j".repeat(501) },
    ];
    for (const wrong of claims)
      expect([wrong, await send(await prove({ claims: wrong }))]).toMatchObject([wrong, refused]);
    const second = issuer.token({ cnf: { jkt: key.thumbprint } });
    expect(await send(await prove({ accessToken: second }))).toMatchObject(refused);
  });

  test("of another type, algorithm or key, and with a key to fetch", async () => {
    const rsa = await makeKey("RS256");
    const weak = { ...rsa.bare, n: rsa.bare.n?.slice(0, 171) };
    const headers: Record<string, unknown>[] = [
      { typ: undefined },
      { typ: "JWT" },
      { typ: "at+jwt" },
      { typ: "DPoP+JWT" },
      { jwk: undefined },
      { jwk: null },
      { jwk: "x" },
      { jwk: [key.bare] },
      { jwk: other.bare },
      { jwk: rsa.bare },
      { jwk: weak },
      { jwk: await exportJWK(key.privateKey) },
      { jwk: { ...key.bare, d: "" } },
      { jwk: { ...key.bare, k: "AAAA" } },
      { jwk: { kty: "oct", k: "AAAA" } },
      { jwk: { ...key.bare, y: key.bare.x } },
      { jwk: undefined, jku: "https://client.example/keys" },
      { jku: "https://client.example/keys" },
      { x5u: "https://client.example/keys" },
      { x5c: ["MIIB"] },
      { b64: true },
    ];
    for (const header of headers)
      expect([header, await send(await prove({ header }))]).toMatchObject([header, refused]);
    for (const alg of ["RS256", "ES384", "PS384"]) {
      const by = await makeKey(alg);
      token = issuer.token({ cnf: { jkt: by.thumbprint } });
      expect([alg, await send(await prove({}, by))]).toMatchObject([alg, refused]);
    }
  });

  test("with alg none or HS256, whatever the secret is", async () => {
    const [, claims = ""] = (await prove()).split(".");
    for (const alg of ["none", "None", "", undefined, ["ES256"], "toString"]) {
      const input = `${encode({ typ: "dpop+jwt", alg, jwk: key.bare })}.${claims}`;
      for (const proof of [`${input}.`, `${input}.AAAA`])
        expect([alg, await send(proof)]).toMatchObject([alg, refused]);
    }
    for (const jwk of [key.bare, { kty: "oct", k: String(key.bare.x) }]) {
      const input = `${encode({ typ: "dpop+jwt", alg: "HS256", jwk })}.${claims}`;
      for (const secret of [JSON.stringify(key.bare), Buffer.from(String(key.bare.x), "base64url")]) {
        expect(await send(`${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`)).toMatchObject(
          refused,
        );
      }
    }
  });

  test("though it is signed well, by a key that is too weak or not of its algorithm, or ambiguous or endless", async () => {
    const p1363 = { dsaEncoding: "ieee-p1363" };
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const proofs = {
      good: () => signedBy(p256, "ES256", p1363),
      "good RSA": () => signedBy(rsa, "PS256", pss),
      "white space": () => signedBy(p256, "ES256", p1363, (body) => body.replaceAll(",", " , ")),
      "another curve": () => signedBy(p384, "ES256", p1363),
      "RSA as ES256": () => signedBy(rsa, "ES256"),
      "P-256 as PS256": () => signedBy(p256, "PS256"),
      "P-256 as EdDSA": () => signedBy(p256, "EdDSA"),
      "PKCS #1 v1.5": () => signedBy(rsa, "PS256"),
      "another salt": () => signedBy(rsa, "PS256", { ...pss, saltLength: 20 }),
      "1024 bits": () => signedBy(weak, "PS256", pss),
      "a member twice": () => signedBy(p256, "ES256", p1363, (body) => body.replace("{", '{"htm":"GET",')),
      endless: () => signedBy(p256, "ES256", p1363, (body) => body.replace("{", `{"x":"${"x".repeat(8_000)}",`)),
    };
    const answers: Record<string, string> = {};
    for (const [name, make] of Object.entries(proofs)) answers[name] = outcome(await send(await make()));
    const allowed = { good: "allowed", "good RSA": "allowed", "white space": "allowed" };
    const all = Object.keys(proofs).map((name) => [name, refused.error]);
    expect(answers).toEqual({ ...Object.fromEntries(all), ...allowed });
  });

  test("that is not one signed JWT: two of them, changed ones", async () => {
    const good = await prove();
    const [head = "", body = "", tail = ""] = good.split(".");
    const signature = Buffer.from(tail, "base64url");
    const inDer = derOf(signature);
    const wrong: SignedRequest["dpop"][] = [
      `${good}, ${good}`,
      `${good},${await prove()}`,
      [good, await prove()],
      [],
      "",
      "x",
      "..",
      `${head}.${body}`,
      `${head}.${body}.`,
      `${head}.${body}.${tail.slice(0, -2)}`,
      `${head}.${body}.${Buffer.alloc(64).toString("base64url")}`,
      `${head}.${body}.${inDer.toString("base64url")}`,
      `${good}=`,
      `${good}.`,
      "a".repeat(9_000),
      token,
    ];
    for (const proof of wrong) expect([proof, await send(proof)]).toMatchObject([proof, refused]);
    // none of them used it up
    expect(outcome(await send(good))).toBe("allowed");
  });

  test("where the request names a host, or a path that routers and URLs read differently", async () => {
    const ask = async (target: string, htu: string) => {
      const dpop = await proofOf(key, "POST", htu, { accessToken: token });
      return outcome(await verifier.verifyHeader(`DPoP ${token}`, {}, { method: "POST", url: target, dpop }));
    };
    expect(await ask("/a/..b/.c", `${publicUrl}/a/..b/.c`)).toBe("allowed");
    expect(await ask("/a?/../", `${publicUrl}/a`)).toBe("allowed");
    for (const target of [url, "https://evil.example/v1/orders", "orders", "*", "", ".example/v1/orders"]) {
      for (const htu of [url, `${publicUrl}${target}`])
        expect([target, await ask(target, htu)]).toEqual([target, refused.error]);
    }
    for (const target of ["/a/../orders", "/a/%2E./orders", "/./orders", "/a\\..\\orders", "/orders/."]) {
      for (const htu of [url, `${url}/`, `${publicUrl}${target}`]) {
        expect([target, await ask(target, htu)]).toEqual([target, refused.error]);
      }
    }
  });
});

describe("scheme and token fit", () => {
  test("a bound token as Bearer is Invalid Token, with or without its proof, whatever checkBinding says", async () => {
    const trusting = await verifierWith({}, { checkBinding: () => true });
    for (const by of [verifier, trusting]) {
      for (const dpop of [undefined, await prove()]) {
        const decision = await send(dpop, by, `Bearer ${token}`);
        expect([outcome(decision), challengeOf(decision)]).toEqual([
          "Invalid Token",
          expect.stringMatching(/^Bearer error=/),
        ]);
      }
    }
    expect(verifier.verifyNow(token)).toMatchObject({ error: "Invalid Token" });
    expect(outcome(await verifier.verify(token, { proof: await prove() }))).toBe("Invalid Token");
  });

  test("an unbound token with scheme DPoP is Invalid Token, and so is one without a proof, of another key, bound otherwise", async () => {
    const tokens = {
      unbound: issuer.token(),
      "of another key": issuer.token({ cnf: { jkt: other.thumbprint } }),
      "of a certificate": issuer.token({ cnf: { "x5t#S256": key.thumbprint } }),
      "of both": issuer.token({ cnf: { jkt: key.thumbprint, "x5t#S256": "x" } }),
      "of nothing": issuer.token({ cnf: {} }),
      "not a token": "x",
    };
    const invalid = `DPoP error="invalid_token", error_description="The access token is not valid", ${algs}`;
    for (const [name, wrong] of Object.entries(tokens)) {
      const decision = await send(await prove({ accessToken: wrong }), verifier, `DPoP ${wrong}`);
      expect([name, outcome(decision), challengeOf(decision)]).toEqual([name, "Invalid Token", invalid]);
    }
    for (const without of [undefined, null]) expect(challengeOf(await send(without))).toBe(invalid);
    expect(challengeOf(await verifier.verifyHeader(`DPoP ${token}`))).toBe(invalid);
    expect(challengeOf(await send(await prove(), verifier, `DPoP ${token} x`))).toBe(invalid);
    // an unbound one is good as Bearer, with a proof that nobody asked for too
    expect(outcome(await send("x", verifier, `Bearer ${tokens.unbound}`))).toBe("allowed");
  });

  test("an expired token is Token Expired, with the challenge of its scheme", async () => {
    token = issuer.token({ cnf: { jkt: key.thumbprint }, exp: seconds() - 1 });
    const expired = `DPoP error="invalid_token", error_description="The access token expired", ${algs}`;
    for (const dpop of [await prove(), "x"]) expect(challengeOf(await send(dpop))).toBe(expired);
  });

  test("without the option scheme DPoP is none, a certificate's token is checkBinding's", async () => {
    const options = { issuer: issuer.url, audience: "portal-client", onStreamLost: "accept-until-expiry" } as const;
    const plain = createVerifier(options);
    open.push(plain);
    await plain.ready();
    expect(challengeOf(await send(await prove(), plain))).toMatch(/^Bearer error="invalid_token"/);
    const checking = await verifierWith({}, { checkBinding: (claims) => claims.cnf?.["x5t#S256"] === "known" });
    const certificate = issuer.token({ cnf: { "x5t#S256": "known" } });
    expect(outcome(await checking.verifyHeader(`Bearer ${certificate}`))).toBe("allowed");
  });
});

describe("a proof is good once", () => {
  test("also where it is sent fifty times at once; another key's identifier is another one", async () => {
    const proof = await prove();
    const decisions = await Promise.all(Array.from({ length: 50 }, () => send(proof)));
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(1);
    expect(decisions.filter((one) => outcome(one) === "invalid_dpop_proof")).toHaveLength(49);
    const claims = { jti: "one-and-the-same" };
    expect(outcome(await send(await prove({ claims })))).toBe("allowed");
    expect(outcome(await send(await prove({ claims })))).toBe("invalid_dpop_proof");
    token = issuer.token({ cnf: { jkt: other.thumbprint } });
    expect(outcome(await send(await prove({ claims }, other)))).toBe("allowed");
  });

  test("for as long as it lasts, from a clock that is ahead too", async () => {
    const from = seconds();
    let now = from * 1000;
    const by = await verifierWith({}, { now: () => now });
    const at = (iat: number) => prove({ claims: { iat } });
    const proof = await at(from + 10);
    expect(outcome(await send(proof, by))).toBe("allowed");
    // in its last millisecond
    now += 70_999;
    expect(outcome(await send(await at(from + 10), by))).toBe("allowed");
    expect(outcome(await send(proof, by))).toBe("invalid_dpop_proof");
    now += 1;
    expect(outcome(await send(await at(from + 10), by))).toBe("invalid_dpop_proof");
  });

  test("among the last ones: where more come than are remembered the oldest go, and the log says so", async () => {
    const warnings: object[] = [];
    const log = { info() {}, warn: (details: object) => void warnings.push(details), error() {} };
    const by = await verifierWith({ maxProofs: 3 }, { log });
    const proofs = await Promise.all(Array.from({ length: 4 }, () => prove()));
    for (const proof of proofs.slice(0, 3)) expect(outcome(await send(proof, by))).toBe("allowed");
    expect(warnings).toEqual([]);
    expect(outcome(await send(proofs[3], by))).toBe("allowed");
    expect(warnings).toEqual([{ maxProofs: 3 }]);
    for (const proof of proofs.slice(2)) expect(outcome(await send(proof, by))).toBe("invalid_dpop_proof");
  });

  test("over all processes that share a memory; one that fails is 503", async () => {
    const shared = new Map<string, number>();
    let fail = false;
    const rememberProof = async (id: string, expiresAt: number) => {
      if (fail) throw new Error("the store is away");
      if (shared.has(id)) return false;
      shared.set(id, expiresAt);
      return true;
    };
    const [one, two] = await Promise.all([verifierWith({ rememberProof }), verifierWith({ rememberProof })]);
    const iat = seconds();
    const proof = await prove({ claims: { iat } });
    expect([outcome(await send(proof, one)), outcome(await send(proof, two))]).toEqual([
      "allowed",
      "invalid_dpop_proof",
    ]);
    expect([...shared]).toEqual([[expect.stringMatching(/^[\w-]{43}$/), (iat + 121) * 1000]]);
    // only what is good in every other way is used up
    await send(await prove({ claims: { htm: "GET" } }), one);
    await send(await prove({}, other), one);
    expect(shared.size).toBe(1);
    fail = true;
    const again = await prove();
    expect(await send(again, one)).toMatchObject({ status: 503, retryAfter: 1 });
    fail = false;
    expect(outcome(await send(again, one))).toBe("allowed");
  });
});

test("wrong options are told", () => {
  const made = (dpop: object) => () =>
    createVerifier({
      issuer: issuer.url,
      audience: "a",
      onStreamLost: "accept-until-expiry",
      dpop: dpop as DpopOptions,
    });
  for (const wrong of [undefined, "api.example", "/v1", "https://api.example/?a", "https://u@api.example"]) {
    expect(made({ publicUrl: wrong })).toThrow(/dpop.publicUrl/);
  }
  expect(made({ publicUrl, maxProofs: 0 })).toThrow(/dpop.maxProofs/);
});
