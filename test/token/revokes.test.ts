import { expect, it } from "@jest/globals";
import type { AccessTokenClaims } from "../../src/token/access-token.ts";
import { isLater, isRevoked, type KnownRevocation, noRevocations, type RevokedBy } from "../../src/token/revokes.ts";

const iat = 1_800_000_000;
const claims: AccessTokenClaims = {
  iss: "https://auth.example.com",
  sub: "user",
  aud: "app",
  exp: iat + 120,
  iat,
  jti: "jti",
  client_id: "app",
  client_epoch: 7,
  sid: "sid",
  scope: "read",
  epoch: 4,
};
const at = (revokedAt: number, epoch: number | null = null): KnownRevocation => ({ revokedAt, epoch });
const judged = (kind: RevokedBy, value: string, revocation: KnownRevocation, of: AccessTokenClaims = claims) => {
  const known = noRevocations<KnownRevocation>();
  known[kind].set(value, revocation);
  return isRevoked(known, of, "kid");
};

it.each<[string, RevokedBy, string, KnownRevocation, boolean]>([
  ["its jti", "token", "jti", at(0), true],
  ["another jti", "token", "other", at(0), false],
  ["its authorization", "authorization", "sid", at(0), true],
  ["its deleted user", "subject", "user", at(0), true],
  ["its key", "key", "kid", at(0), true],
  ["a later epoch of its client", "client", "app", at(0, 8), true],
  ["its client's own epoch", "client", "app", at(Number.MAX_SAFE_INTEGER, 7), false],
  ["its client, disabled after it was issued by a release without epochs", "client", "app", at(iat * 1000), true],
  ["its client, disabled and enabled before by such a release", "client", "app", at((iat - 10) * 1000), false],
  ["a later epoch of its user", "user", "user", at(0, 5), true],
  ["its own epoch", "user", "user", at(Number.MAX_SAFE_INTEGER, 4), false],
  ["a later epoch of another user", "user", "other", at(0, 5), false],
])("%s: revoked %#", (_, kind, value, revocation, expected) => {
  expect(judged(kind, value, revocation)).toBe(expected);
});

it("a token without an epoch is judged by its time of issue", () => {
  const { epoch: _, ...without } = claims;
  expect(judged("user", "user", at(iat * 1000, 1), without)).toBe(true);
  expect(judged("user", "user", at(iat * 1000 - 1, 1), without)).toBe(false);
});

it("a token without its client's epoch is judged by its time of issue, with two seconds of tolerance", () => {
  const { client_epoch: _, ...without } = claims;
  expect(judged("client", "app", at(iat * 1000 - 2_000, 1), without)).toBe(true);
  expect(judged("client", "app", at(iat * 1000 - 2_001, 1), without)).toBe(false);
});

it("an exchanged token is judged by the epoch of each client that it came through", () => {
  const from = (client_epoch: number) => ({
    ...claims,
    exchanged_from: [
      { jti: "1", client_id: "second", kid: "1", client_epoch: 3 },
      { jti: "0", client_id: "first", kid: "0", client_epoch },
    ],
  });
  expect(judged("client", "first", at(0, 2), from(1))).toBe(true);
  expect(judged("client", "first", at(Number.MAX_SAFE_INTEGER, 2), from(2))).toBe(false);
});

it("of two epochs the higher one is later, whatever the clocks say", () => {
  expect(isLater(at(1, 6), at(2, 5))).toBe(true);
  expect(isLater(at(2, 5), at(1, 6))).toBe(false);
  expect(isLater(at(2), at(1))).toBe(true);
});
