import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { createVerifier, type Decision, type Verifier } from "../../src/verifier/verifier.ts";
import { startReplicas, type TestApp } from "../support/app.ts";
import { acceptedUntil, getTokens, internalBasic, postForm, refresh, signUp } from "../support/flow.ts";
import { credentials, until } from "./issuer.ts";

/** The library against the service itself: two replicas, of which it follows one while the other one is told to revoke. */
let watched: TestApp;
let told: TestApp;
let verifier: Verifier;
/** Forgives a process that stood still for a while. */
let patient: Verifier;
let introspecting: Verifier;

beforeAll(async () => {
  const file = join(mkdtempSync(join(tmpdir(), "auth-verifier-")), "auth.sqlite");
  [watched, told] = (await startReplicas(2, { DATABASE_URL: `sqlite:${file}` })) as [TestApp, TestApp];
  const connection = { baseUrl: `http://${watched.grpc}`, credentials };
  const options = { issuer: watched.env["ISSUER"] ?? "", audience: ["portal-client", "internal-service"] };
  verifier = createVerifier({ ...options, stream: connection, onStreamLost: "fail-closed" });
  patient = createVerifier({ ...options, stream: connection, onStreamLost: "fail-closed", maxStalenessMs: 60_000 });
  const introspectionTimeoutMs = 10_000;
  introspecting = createVerifier({
    ...options,
    introspection: connection,
    introspectionTimeoutMs,
    onStreamLost: "introspect",
  });
  await Promise.all([verifier, patient, introspecting].map((one) => one.ready()));
});
const open: Verifier[] = [];
afterAll(async () => {
  await Promise.all([verifier, patient, introspecting, ...open].map((one) => one.close()));
  await watched.close();
  await told.close();
});

const outcome = (decision: Decision | null) =>
  decision === null ? "ask" : decision.allowed ? "allowed" : decision.error;
const now = (token: string) => outcome(verifier.verifyNow(token));

/** Both ways agree before; after the act the stream's verifier refuses within the bound. */
async function refusesAfter(token: string, act: () => Promise<unknown>): Promise<void> {
  await until(() => now(token) === "allowed");
  expect(outcome(await introspecting.verify(token))).toBe("allowed");
  await act();
  const [followed, asked] = await Promise.all([
    acceptedUntil(() => now(token) === "allowed", 1_000),
    acceptedUntil(async () => outcome(await introspecting.verify(token)) === "allowed", 1_000),
  ]);
  expect(followed).toBeLessThan(1_000);
  expect(asked).toBeLessThan(1_000);
  await until(() => now(token) === "Invalid Token");
  await until(async () => outcome(await introspecting.verify(token)) === "Invalid Token");
}

describe("a token of the service", () => {
  test("is allowed with the claims it was made with; its scopes are judged", async () => {
    const account = await signUp(watched.url);
    const { access_token } = await getTokens(watched.url, account);
    const decision = await patient.verify(access_token, { scopes: ["profile", "read"] });
    expect(decision).toMatchObject({
      allowed: true,
      claims: { sub: account.uuid, client_id: "portal-client", nickname: "nick", roles: ["ROLE_USER"] },
    });
    expect(outcome(await patient.verify(access_token, { scopes: ["auth.tokens"] }))).toBe("Forbidden");
    expect(outcome(await patient.verify(access_token, { audience: "internal-service" }))).toBe("Invalid Token");
  });

  test("S-114 passes only where it is an access token", async () => {
    const tokens = await getTokens(watched.url, await signUp(watched.url));
    const lenient = createVerifier({
      issuer: watched.env["ISSUER"] ?? "",
      audience: "portal-client",
      allowJwtTyp: true,
      onStreamLost: "accept-until-expiry",
    });
    open.push(lenient);
    await lenient.ready();
    for (const by of [patient, lenient]) {
      expect(outcome(await by.verify(tokens.access_token))).toBe("allowed");
      expect(outcome(await by.verify(tokens.id_token))).toBe("Invalid Token");
      // signed by a key that is in no key set
      expect(outcome(await by.verify(tokens.refresh_token))).toBe("Invalid Token");
    }
  });
});

describe("what another replica revoked is refused within a second", () => {
  test("an access token", async () => {
    const { access_token } = await getTokens(watched.url, await signUp(watched.url));
    await refusesAfter(access_token, () =>
      postForm(`${told.url}/oauth2/revoke`, { token: access_token, client_id: "portal-client" }),
    );
  });

  test("an authorization, by its refresh token, with every access token of it", async () => {
    const tokens = await getTokens(watched.url, await signUp(watched.url));
    const { access_token: second } = (await (await refresh(watched.url, tokens.refresh_token)).json()) as {
      access_token: string;
    };
    await refusesAfter(tokens.access_token, () =>
      postForm(`${told.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: "portal-client" }),
    );
    expect(now(second)).toBe("Invalid Token");
  });

  test("everything of a deleted user", async () => {
    const account = await signUp(watched.url);
    const { access_token } = await getTokens(watched.url, account);
    const users = createClient(
      UserService,
      createGrpcTransport({ baseUrl: `http://${told.grpc}`, idleConnectionTimeoutMs: 10 }),
    );
    const headers = { authorization: internalBasic };
    await refusesAfter(access_token, () => users.deleteUser({ uuid: account.uuid }, { headers }));
  });
});

test("a client's own token is good here too, and the stream takes it as credentials", async () => {
  const token = async () => {
    const form = { grant_type: "client_credentials", scope: "auth.introspect" };
    const answer = await postForm(`${watched.url}/oauth2/token`, form, { authorization: internalBasic });
    return ((await answer.json()) as { access_token: string }).access_token;
  };
  expect(outcome(await patient.verify(await token(), { scopes: ["auth.introspect"] }))).toBe("allowed");
  const other = createVerifier({
    issuer: watched.env["ISSUER"] ?? "",
    audience: "internal-service",
    stream: { baseUrl: `http://${told.grpc}`, credentials: { token } },
    onStreamLost: "fail-closed",
    maxStalenessMs: 60_000,
  });
  open.push(other);
  await other.ready();
  expect(other.status().stream).toBe("fresh");
});

test("the stream stays fresh for seconds on end", async () => {
  await until(() => verifier.status().stream === "fresh");
  const samples: string[] = [];
  let from = performance.now();
  for (let last = from; samples.length < 600; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = performance.now();
    // this process, the service in it too, stood still: give them a moment
    if (now - last > 200) from = now + 1_000;
    last = now;
    if (now >= from) samples.push(verifier.status().stream);
  }
  // a machine that is busy with other tests may lose it for a moment
  expect(samples.filter((state) => state !== "fresh").length).toBeLessThan(samples.length / 10);
});
