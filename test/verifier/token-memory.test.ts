import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { heapInUse } from "../support/heap.ts";
import { type Issuer, startIssuer } from "./issuer.ts";

let issuer: Issuer;
const open: Verifier[] = [];
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(async () => {
  await Promise.all(open.map((one) => one.close()));
  await issuer.close();
});

async function readyVerifier(maxMemoryBytes: number): Promise<Verifier> {
  const onStreamLost = "accept-until-expiry";
  const verifier = createVerifier({ issuer: issuer.url, audience: "portal-client", onStreamLost, maxMemoryBytes });
  open.push(verifier);
  await verifier.ready();
  return verifier;
}
const allows = (verifier: Verifier, token: string) => verifier.verifyNow(token)?.allowed === true;

test("100,000 garbage tokens take no memory and push nothing out", async () => {
  const verifier = await readyVerifier(300_000);
  const tokens = Array.from({ length: 20 }, () => issuer.token());
  for (const token of tokens) expect(allows(verifier, token)).toBe(true);
  const before = verifier.status();
  const [head = "", body = "", tail = ""] = issuer.token().split(".");
  const heap = heapInUse();
  let passed = 0;
  for (let i = 0; i < 100_000; i++) {
    // most are refused by their form, some by their signature
    const end =
      i % 50 === 0
        ? `${tail.slice(0, -7)}${String(i).padStart(6, "A")}A`
        : `${tail.slice(0, -6)}${String(i).padStart(6, "A")}=`;
    if (verifier.verifyNow(`${head}.${body}.${end}`)?.allowed !== false) passed++;
  }
  expect(passed).toBe(0);
  expect(verifier.status()).toEqual(before);
  expect(heapInUse() - heap).toBeLessThan(50 * 1024 * 1024);
  // the keys are not fetched for them either
  expect(issuer.fetched.filter((url) => url === "/oauth2/jwks")).toHaveLength(1);
  // remembered: looking a token up costs a hundredth of checking its signature
  const forgetful = await readyVerifier(0);
  const costOf = (by: Verifier) => {
    const before = process.cpuUsage();
    for (let i = 0; i < 5_000; i++) if (!allows(by, tokens[i % 20] ?? "")) passed++;
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  expect(costOf(verifier)).toBeLessThan(costOf(forgetful) / 5);
  expect(passed).toBe(0);
});

test("good tokens are bounded by bytes too, and the least recently used go", async () => {
  const verifier = await readyVerifier(300_000);
  const hot = issuer.token();
  expect(allows(verifier, hot)).toBe(true);
  for (let i = 0; i < 600; i++) {
    expect(allows(verifier, issuer.token({}, {}, "EdDSA"))).toBe(true);
    expect(allows(verifier, hot)).toBe(true);
    expect(verifier.status().rememberedBytes).toBeLessThanOrEqual(300_000);
  }
  expect(verifier.status().rememberedTokens).toBeGreaterThan(40);
  expect(verifier.status().rememberedTokens).toBeLessThan(200);
});

test("tokens that ended leave the memory, and none before it ends", async () => {
  let now = Date.now();
  const verifier = createVerifier({
    issuer: issuer.url,
    audience: "portal-client",
    onStreamLost: "accept-until-expiry",
    now: () => now,
  });
  open.push(verifier);
  await verifier.ready();
  const start = now;
  const iat = Math.floor(start / 1000);
  const remembered: number[] = [];
  for (let second = 0; second < 600; second += 10) {
    now = start + second * 1000;
    const token = issuer.token({ iat: iat + second, exp: iat + second + 120 });
    expect(allows(verifier, token)).toBe(true);
    remembered.push(verifier.status().rememberedTokens);
  }
  // twelve live at a time
  expect(Math.min(...remembered.slice(12))).toBeGreaterThanOrEqual(12);
  expect(Math.max(...remembered)).toBeLessThanOrEqual(26);
});

test("without memory every token is verified again", async () => {
  const verifier = await readyVerifier(0);
  const token = issuer.token();
  expect([allows(verifier, token), allows(verifier, token)]).toEqual([true, true]);
  expect(verifier.status().rememberedTokens).toBe(0);
});
