import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createVerifier, type Verifier, type VerifierOptions } from "../../src/verifier/verifier.ts";
import { type Issuer, startIssuer, until } from "./issuer.ts";

let issuer: Issuer;
const open: Verifier[] = [];
beforeEach(async () => {
  issuer = await startIssuer();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
  await issuer.close();
});

function verifierWith(options: Partial<VerifierOptions> = {}): Verifier {
  const onStreamLost = "accept-until-expiry";
  const base = { issuer: issuer.url, audience: "portal-client", onStreamLost, jwksCooldownMs: 200 } as const;
  const made = createVerifier({ ...base, ...options });
  open.push(made);
  return made;
}
const errorOf = async (verifier: Verifier, token: string) => {
  const decision = await verifier.verify(token);
  return decision.allowed ? "allowed" : decision.error;
};
const fetches = () => issuer.fetched.filter((url) => url === "/oauth2/jwks").length;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a new key is fetched when its first token comes, once for all of them", async () => {
  const [first, ...others] = issuer.keys;
  issuer.keys = [first ?? {}];
  const verifier = verifierWith();
  await verifier.ready();
  await pause(220);
  issuer.keys = [first ?? {}, ...others];
  const tokens = Array.from({ length: 20 }, () => issuer.token({}, {}, "RS256"));
  expect(new Set(await Promise.all(tokens.map((token) => errorOf(verifier, token))))).toEqual(new Set(["allowed"]));
  expect(fetches()).toBe(2);
});

test("C-55 keys of unknown kinds in the issuer's set are left out, and tokens of the others are good", async () => {
  const unknown = [{ kty: "AKP", alg: "ML-DSA-44", kid: "new", use: "sig", pub: "AAAA" }, { kty: "EC" }, {}];
  issuer.keys = [...unknown, ...issuer.keys];
  const verifier = verifierWith();
  await verifier.ready();
  expect(await errorOf(verifier, issuer.token())).toBe("allowed");
  expect(verifier.status().keys).toBe(3);
});

test("unknown kids cause one fetch a cooldown and are refused", async () => {
  const verifier = verifierWith({ jwksCooldownMs: 1_000 });
  const from = performance.now();
  const cooldowns = () => Math.floor((performance.now() - from) / 1_000);
  await verifier.ready();
  for (let i = 0; i < 50; i++)
    expect(await errorOf(verifier, issuer.token({}, { kid: `unknown-${i}` }))).toBe("Invalid Token");
  expect(fetches()).toBeLessThanOrEqual(2 + cooldowns());
  await pause(1_020);
  await Promise.all(Array.from({ length: 50 }, (_, i) => errorOf(verifier, issuer.token({}, { kid: `other-${i}` }))));
  expect(fetches()).toBeLessThanOrEqual(2 + cooldowns());
});

test("while the issuer is away known keys go on, and an unknown one is 503", async () => {
  issuer.maxAge = 5;
  const verifier = verifierWith({ jwksCooldownMs: 2_000 });
  await verifier.ready();
  issuer.failWith = 500;
  await pause(2_020);
  expect(await errorOf(verifier, issuer.token())).toBe("allowed");
  expect(await errorOf(verifier, issuer.token({}, { kid: "new" }))).toBe("Unavailable");
  // within the cooldown too, and at once
  expect(verifier.verifyNow(issuer.token({}, { kid: "new" }))).toMatchObject({ status: 503 });
  issuer.failWith = null;
  await pause(2_020);
  expect(await errorOf(verifier, issuer.token({}, { kid: "new" }))).toBe("Invalid Token");
});

test("stale keys stay usable while new ones are fetched", async () => {
  issuer.maxAge = 0;
  const verifier = verifierWith();
  await verifier.ready();
  const remembered = issuer.token();
  expect(await errorOf(verifier, remembered)).toBe("allowed");
  // 5 s is the least that an age is taken for
  await pause(5_100);
  issuer.keys = issuer.keys.filter(({ kid }) => kid !== "ES256");
  expect(verifier.verifyNow(remembered)).toMatchObject({ allowed: true });
  // the key was withdrawn: its tokens are refused, remembered or not
  await until(() => verifier.status().keys === 2);
  expect(await errorOf(verifier, remembered)).toBe("Invalid Token");
});

test("S-117 keys for other uses, private, short or mislabelled ones are not used", async () => {
  const { jwkOf, pairs } = issuer;
  const short = generateKeyPairSync("rsa", { modulusLength: 1024 });
  issuer.keys = [
    { ...jwkOf(pairs.ES256.publicKey, "ES256", "ES256"), use: "enc" },
    { ...jwkOf(pairs.EdDSA.publicKey, "EdDSA", "ES256") },
    { ...jwkOf(short.publicKey, "short", "RS256") },
    { kty: "oct", k: "AAAA", kid: "oct", alg: "HS256", use: "sig" },
    { ...jwkOf(pairs.ES256.privateKey, "private", "ES256") },
    jwkOf(pairs.RS256.publicKey, "RS256", "RS256"),
  ];
  const verifier = verifierWith();
  await verifier.ready();
  expect(verifier.status().keys).toBe(1);
  expect(await errorOf(verifier, issuer.token())).toBe("Invalid Token");
  expect(await errorOf(verifier, issuer.token({}, {}, "RS256"))).toBe("allowed");
});

test("a discovery document of another issuer, a redirect, 10 MB and silence give no keys", async () => {
  const warned: string[] = [];
  const log = {
    info() {},
    error() {},
    warn: (details: object) => void warned.push(String((details as { err: Error }).err)),
  };
  const answers: Record<string, Issuer["answer"]> = {
    "is about the issuer": (_request, response) =>
      void response.end(JSON.stringify({ issuer: "http://other", jwks_uri: issuer.url })),
    "fetch failed": (_request, response) => void response.writeHead(302, { location: `${issuer.url}/other` }).end(),
    "larger than 1 MiB": (_request, response) => void response.end(Buffer.alloc(10_000_000, " ")),
    TimeoutError: () => {},
    "holds no key": (request, response) =>
      void response.end(
        JSON.stringify(
          request.url === "/oauth2/jwks" ? { keys: [] } : { issuer: issuer.url, jwks_uri: `${issuer.url}/oauth2/jwks` },
        ),
      ),
  };
  for (const [problem, answer] of Object.entries(answers)) {
    issuer.answer = answer;
    warned.length = 0;
    const verifier = verifierWith({ log, jwksTimeoutMs: problem === "TimeoutError" ? 200 : 20_000 });
    expect([problem, await errorOf(verifier, issuer.token())]).toEqual([problem, "Unavailable"]);
    expect(warned.join()).toContain(problem);
    await verifier.close();
  }
  expect(issuer.fetched).not.toContain("/other");
});

test("an issuer that starts later is waited for", async () => {
  issuer.failWith = 503;
  const verifier = verifierWith({ jwksUri: `${issuer.url}/keys` });
  await until(() => issuer.fetched.length > 0);
  issuer.failWith = null;
  await verifier.ready();
  expect(await errorOf(verifier, issuer.token())).toBe("allowed");
  expect(new Set(issuer.fetched)).toEqual(new Set(["/keys"]));
});
