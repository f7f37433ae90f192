import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "@jest/globals";
import { CompactSign, compactVerify } from "jose";
import { parseJws, signJws, verifyByPrivateKey, verifyJws } from "../../src/token/jws.ts";

const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ed = generateKeyPairSync("ed25519");
const keys = { ES256: ec, RS256: rsa, EdDSA: ed } as const;
const algs = ["ES256", "RS256", "EdDSA"] as const;

describe("signing and verifying compared with jose", () => {
  it.each(algs)("%s: what one signs the other verifies, many times over", async (alg) => {
    const { publicKey, privateKey } = keys[alg];
    // some ES256 numbers are shorter than 32 bytes or need a sign byte: both forms come up within a few hundred signatures
    for (let n = 0; n < (alg === "ES256" ? 600 : 30); n++) {
      const ours = signJws(privateKey, { alg, typ: "at+jwt", kid: "k" }, { n });
      const { payload } = await compactVerify(ours, publicKey);
      expect(JSON.parse(new TextDecoder().decode(payload))).toEqual({ n });
      const theirs = await new CompactSign(new TextEncoder().encode(JSON.stringify({ n })))
        .setProtectedHeader({ alg, typ: "at+jwt", kid: "k" })
        .sign(privateKey);
      const parsed = parseJws(theirs);
      expect(parsed !== null && verifyJws(publicKey, alg, parsed)).toBe(true);
    }
  });

  it("S-105 lets the key decide the algorithm", () => {
    for (const alg of algs) {
      const parsed = parseJws(signJws(keys[alg].privateKey, { alg, typ: "at+jwt", kid: "k" }, { a: 1 }));
      for (const other of algs) {
        if (other !== alg && parsed !== null) expect(verifyJws(keys[other].publicKey, other, parsed)).toBe(false);
      }
    }
  });

  it("a private Ed25519 key accepts what its public key accepts, and nothing else", () => {
    const header = { alg: "EdDSA", typ: "rt+jwt", kid: "k" } as const;
    const other = generateKeyPairSync("ed25519").privateKey;
    const token = signJws(ed.privateKey, header, { a: 1 });
    const [head = "", body = "", tail = ""] = token.split(".");
    const mine = (text: string, key = ed.privateKey) => {
      const parsed = parseJws(text);
      return parsed !== null && verifyByPrivateKey(key, parsed);
    };
    expect(mine(token)).toBe(true);
    expect(mine(token, other)).toBe(false);
    const bytes = Buffer.from(tail, "base64url");
    for (let at = 0; at < bytes.length; at++) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(mine(`${head}.${body}.${altered.toString("base64url")}`)).toBe(false);
    }
    for (const length of [0, 63, 65])
      expect(mine(`${head}.${body}.${Buffer.alloc(length, bytes).toString("base64url")}`)).toBe(false);
    const [, otherBody] = signJws(ed.privateKey, header, { a: 2 }).split(".");
    expect(mine(`${head}.${otherBody}.${tail}`)).toBe(false);
    expect(mine(signJws(ec.privateKey, { alg: "ES256", typ: "rt+jwt", kid: "k" }, { a: 1 }))).toBe(false);
  });

  it("S-108 refuses ES256 signatures of zeros, of the order, of another length or in DER", () => {
    const token = signJws(ec.privateKey, { alg: "ES256", typ: "at+jwt", kid: "k" }, { a: 1 });
    const [head, body, tail = ""] = token.split(".");
    const good = Buffer.from(tail, "base64url");
    const order = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");
    const zeros = Buffer.alloc(32);
    const der = Buffer.concat([
      Buffer.from([0x30, 0x44, 0x02, 0x20]),
      good.subarray(0, 32),
      Buffer.from([0x02, 0x20]),
      good.subarray(32),
    ]);
    for (const bad of [
      Buffer.alloc(64),
      Buffer.concat([zeros, good.subarray(32)]),
      Buffer.concat([good.subarray(0, 32), zeros]),
      Buffer.concat([order, good.subarray(32)]),
      Buffer.concat([order, order]),
      good.subarray(0, 63),
      Buffer.concat([good, Buffer.alloc(1)]),
      der,
    ]) {
      const parsed = parseJws(`${head}.${body}.${bad.toString("base64url")}`);
      expect(parsed !== null && verifyJws(ec.publicKey, "ES256", parsed)).toBe(false);
    }
  });

  it("S-107 S-110 S-115 takes nothing apart that we would not write", () => {
    const token = signJws(ec.privateKey, { alg: "ES256", typ: "at+jwt", kid: "k" }, { a: 1 });
    const [head = "", body = "", tail = ""] = token.split(".");
    const encode = (text: string) => Buffer.from(text).toString("base64url");
    const header = (extra: object) => encode(JSON.stringify({ alg: "ES256", typ: "at+jwt", kid: "k", ...extra }));
    for (const bad of [
      "",
      `${token} `,
      `${token}=`,
      `${token}.x`,
      `${head}.${body}`,
      `${head}.${body}.`,
      `${head}=.${body}.${tail}`,
      `${head}.${encode('{"a":1,"a":2}')}.${tail}`,
      `${head}.${encode('{ "a":1}')}.${tail}`,
      `${head}.${encode("[1]")}.${tail}`,
      `${head}.${Buffer.from([0x7b, 0xc3, 0x28, 0x7d]).toString("base64url")}.${tail}`,
      `${header({ crit: ["x"] })}.${body}.${tail}`,
      `${header({ jku: "https://evil.example" })}.${body}.${tail}`,
      `${header({ alg: "none" })}.${body}.${tail}`,
      `${head}.${body}.${tail.replace(/.$/, (last) => (last === "A" ? "B" : `${last}`))}.`,
      "x".repeat(100_000),
    ]) {
      expect([bad.slice(0, 80), parseJws(bad)]).toEqual([bad.slice(0, 80), null]);
    }
    for (let length = 0; length < token.length; length++) {
      const parsed = parseJws(token.slice(0, length));
      expect(parsed !== null && verifyJws(ec.publicKey, "ES256", parsed)).toBe(false);
    }
  });
});
