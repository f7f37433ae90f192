import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createVerifier, type Verifier, type VerifierOptions } from "../../src/verifier/verifier.ts";
import { caCertificate, clientCertificate, clientKey, serverCertificate, serverKey } from "../rpc/certificates.ts";
import { claimsOf } from "../support/flow.ts";
import {
  credentials,
  type Issuer,
  RevocationKind,
  type Service,
  seconds,
  startIssuer,
  startService,
  until,
} from "./issuer.ts";

let issuer: Issuer;
let service: Service;
let logged: { level: string; message: string; details: object }[];
const open: Verifier[] = [];

beforeEach(async () => {
  // the stand-in's server tells of every call that its client gave up
  jest.spyOn(console, "error").mockImplementation(() => {});
  issuer = await startIssuer();
  service = await startService();
  logged = [];
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
  await Promise.all([issuer.close(), service.close()]);
});

/** Loses its stream soon. All others forgive a process that stood still for a while. */
const impatient = { maxStalenessMs: 500, streamTimeoutMs: 400 };

function verifierWith(options: Partial<VerifierOptions> = {}): Verifier {
  const at = (level: string) => (details: object, message: string) => void logged.push({ level, message, details });
  const made = createVerifier({
    issuer: issuer.url,
    audience: "portal-client",
    stream: { baseUrl: service.baseUrl, credentials },
    maxStalenessMs: 30_000,
    streamTimeoutMs: 30_000,
    introspectionTimeoutMs: 10_000,
    log: { info: at("info"), warn: at("warn"), error: at("error") },
    ...options,
  });
  open.push(made);
  return made;
}

const errorNow = (verifier: Verifier, token: string) => {
  const decision = verifier.verifyNow(token);
  return decision === null ? "ask" : decision.allowed ? "allowed" : decision.error;
};
const errorOf = async (verifier: Verifier, token: string) => {
  const decision = await verifier.verify(token);
  return decision.allowed ? "allowed" : decision.error;
};

describe("what is revoked", () => {
  test("is refused as soon as the stream reports it, by token, authorization, subject and key", async () => {
    const verifier = verifierWith({ onStreamLost: "fail-closed" });
    await verifier.ready();
    const cases = [
      [RevocationKind.TOKEN, "jti"],
      [RevocationKind.AUTHORIZATION, "sid"],
      [RevocationKind.SUBJECT, "sub"],
    ] as const;
    for (const [kind, claim] of cases) {
      const token = issuer.token({ sub: `user of ${claim}` });
      const other = issuer.token({ sub: "user of another" });
      expect([errorNow(verifier, token), errorNow(verifier, other)]).toEqual(["allowed", "allowed"]);
      service.revoke(kind, String(claimsOf(token)[claim]));
      // not only with the next stream
      expect(await until(() => errorNow(verifier, token) === "Invalid Token")).toBeLessThan(10_000);
      expect(errorNow(verifier, other)).toBe("allowed");
    }
    const [es256, rs256] = [issuer.token(), issuer.token({}, {}, "RS256")];
    expect(errorNow(verifier, es256)).toBe("allowed");
    service.revoke(RevocationKind.KEY, "ES256");
    await until(() => errorNow(verifier, es256) === "Invalid Token");
    expect(errorNow(verifier, rs256)).toBe("allowed");
  });

  test("a disabled client's tokens are refused by their iat: it may have been enabled since", async () => {
    const verifier = verifierWith();
    await verifier.ready();
    const [before, after] = [issuer.token({ iat: seconds() - 30 }), issuer.token({ iat: seconds() })];
    service.revoke(RevocationKind.CLIENT, "portal-client", Date.now() - 20_000);
    await until(() => errorNow(verifier, before) === "Invalid Token");
    expect(errorNow(verifier, after)).toBe("allowed");
  });

  test("is Invalid Token though it is expired too", async () => {
    const verifier = verifierWith();
    await verifier.ready();
    const token = issuer.token({ exp: seconds() - 1 });
    expect(errorNow(verifier, token)).toBe("Token Expired");
    service.revoke(RevocationKind.TOKEN, String(claimsOf(token)["jti"]));
    await until(() => errorNow(verifier, token) === "Invalid Token");
  });

  test("is forgotten when every token it applies to has expired", async () => {
    const ahead = { ms: 0 };
    service.time = () => Date.now() + ahead.ms;
    service.revoke(RevocationKind.TOKEN, "a", Date.now(), Date.now() + 5_000);
    service.revoke(RevocationKind.TOKEN, "b");
    const verifier = verifierWith();
    await verifier.ready();
    expect(verifier.status().revocations).toBe(2);
    ahead.ms = 9_000;
    service.revoke(RevocationKind.TOKEN, "c");
    await until(() => verifier.status().revocations === 3);
    ahead.ms = 21_000;
    await until(() => verifier.status().revocations === 2);
  });
});

describe("the snapshot", () => {
  test("is known whole before anything is decided", async () => {
    const tokens = Array.from({ length: 9 }, () => issuer.token());
    for (const token of tokens) service.revoke(RevocationKind.TOKEN, String(claimsOf(token)["jti"]));
    service.holdSnapshot = true;
    const verifier = verifierWith({ onStreamLost: "fail-closed" });
    await until(() => verifier.status().revocations === 9 && verifier.status().keys === 3);
    expect(verifier.status().stream).toBe("lost");
    expect(errorNow(verifier, issuer.token())).toBe("Unavailable");
    // what is known to be revoked stays so, whatever is not known
    expect(errorNow(verifier, tokens[8] ?? "")).toBe("Invalid Token");
    service.holdSnapshot = false;
    await verifier.ready();
    expect(errorNow(verifier, issuer.token())).toBe("allowed");
    expect(tokens.map((token) => errorNow(verifier, token))).toEqual(tokens.map(() => "Invalid Token"));
  });
});

describe("after a break", () => {
  test("the stream goes on where it stopped, and what happened meanwhile is known", async () => {
    service.revoke(RevocationKind.TOKEN, "a");
    const verifier = verifierWith({ onStreamLost: "fail-closed", ...impatient });
    await verifier.ready();
    const token = issuer.token();
    await until(() => errorNow(verifier, token) === "allowed");
    service.refuse = new ConnectError("shutting down", Code.Unavailable);
    service.breakStreams();
    service.revoke(RevocationKind.TOKEN, String(claimsOf(token)["jti"]));
    await until(() => verifier.status().stream === "lost");
    service.refuse = null;
    await until(() => errorNow(verifier, token) === "Invalid Token");
    expect(service.resumeTokens.slice(1)).toContain("1");
    expect(service.resumeTokens.slice(1)).not.toContain("");
  });

  test("a resume token that is not taken means the snapshot again", async () => {
    service.revoke(RevocationKind.TOKEN, "a");
    const verifier = verifierWith();
    await verifier.ready();
    service.refuseResume = new ConnectError("not a resume token", Code.InvalidArgument);
    service.breakStreams();
    await until(() => service.resumeTokens.length >= 3 && verifier.status().stream === "fresh");
    expect(service.resumeTokens.slice(0, 3)).toEqual(["", "1", ""]);
  });

  test("a silent stream is closed and opened again", async () => {
    const verifier = verifierWith({ onStreamLost: "fail-closed", ...impatient });
    await verifier.ready();
    const token = issuer.token();
    service.frozen = true;
    const lostAfter = await until(() => errorNow(verifier, token) === "Unavailable");
    expect(lostAfter).toBeLessThan(5_000);
    await until(() => service.resumeTokens.length >= 3);
    service.frozen = false;
    await until(() => errorNow(verifier, token) === "allowed");
    // those given up are over
    await until(() => service.watchers === 1);
  });

  test("a service that is not allowed to watch logs an error and tries again", async () => {
    service.refuse = new ConnectError("Forbidden", Code.PermissionDenied);
    const verifier = verifierWith({ onStreamLost: "fail-closed" });
    await until(() => service.resumeTokens.length >= 3);
    expect(logged.find(({ level }) => level === "error")?.message).toContain("auth.introspect");
    expect(JSON.stringify(logged)).not.toContain("internal-service-secret");
    expect(errorNow(verifier, issuer.token())).toBe("Unavailable");
    service.refuse = null;
    await verifier.ready();
  });
});

describe("freshness", () => {
  test("an issuer that is stuck talks on but says nothing new: the stream is lost", async () => {
    const verifier = verifierWith({ onStreamLost: "fail-closed", ...impatient });
    await verifier.ready();
    const stuckAt = Date.now();
    service.time = () => stuckAt;
    const token = issuer.token();
    const lostAfter = await until(() => errorNow(verifier, token) === "Unavailable");
    expect(lostAfter).toBeLessThan(5_000);
    // also for a stream that is opened anew
    await until(() => service.resumeTokens.length >= 2);
    expect(errorNow(verifier, token)).toBe("Unavailable");
    service.time = () => Date.now();
    await until(() => errorNow(verifier, token) === "allowed");
  });

  test("news that were held up on their way count from when they should have come", async () => {
    const verifier = verifierWith({ onStreamLost: "fail-closed", ...impatient });
    await verifier.ready();
    await until(() => verifier.status().stream === "fresh");
    // a proxy that holds every message back for longer and longer, up to 3 s
    const from = Date.now();
    service.time = () => Date.now() - Math.min(3_000, (Date.now() - from) * 0.9);
    await until(() => verifier.status().stream === "lost");
  });

  test("an issuer whose clock is 8 s ahead or behind is followed; one 15 s behind is not", async () => {
    for (const [difference, state] of [
      [8_000, "fresh"],
      [-8_000, "fresh"],
      [-15_000, "lost"],
    ] as const) {
      service.time = () => Date.now() + difference;
      // 15 s are 5 s more than clocks may differ
      const verifier = verifierWith({ maxStalenessMs: 4_000 });
      await verifier.ready();
      expect([difference, verifier.status().stream]).toEqual([difference, state]);
      await verifier.close();
    }
  });

  test("what was revoked stays revoked though the issuer's clock leaps ahead by an hour", async () => {
    const verifier = verifierWith();
    await verifier.ready();
    const [token, known, later] = [issuer.token(), issuer.token(), issuer.token()];
    const revoke = (revoked: string) => service.revoke(RevocationKind.TOKEN, String(claimsOf(revoked)["jti"]));
    revoke(token);
    revoke(known);
    await until(() => errorNow(verifier, known) === "Invalid Token");
    service.time = () => Date.now() + 3_600_000;
    revoke(later);
    await until(() => errorNow(verifier, later) === "Invalid Token");
    expect(errorNow(verifier, token)).toBe("Invalid Token");
  });

  test("an issuer whose clock went back is followed again", async () => {
    const verifier = verifierWith({ maxStalenessMs: 500, streamTimeoutMs: 200 });
    service.time = () => Date.now() + 9_000;
    await verifier.ready();
    service.time = () => Date.now() - 9_000;
    await until(() => verifier.status().stream === "lost");
    // long before its clock is where it was
    await until(() => verifier.status().stream === "fresh", 10_000);
  });
});

describe("while the stream is lost", () => {
  const lose = async (verifier: Verifier) => {
    await verifier.ready();
    service.refuse = new ConnectError("away", Code.Unavailable);
    service.breakStreams();
    await until(() => verifier.status().stream === "lost");
  };

  test("fail-closed answers 503, which ends no session", async () => {
    const verifier = verifierWith({ onStreamLost: "fail-closed", ...impatient });
    await lose(verifier);
    expect(await verifier.verify(issuer.token())).toEqual({
      allowed: false,
      status: 503,
      error: "Unavailable",
      retryAfter: 1,
    });
    expect(await errorOf(verifier, "nonsense")).toBe("Invalid Token");
    expect(service.authorizations).toEqual([]);
  });

  test("accept-until-expiry goes on with what is known", async () => {
    const revoked = issuer.token();
    service.revoke(RevocationKind.TOKEN, String(claimsOf(revoked)["jti"]));
    const verifier = verifierWith({ onStreamLost: "accept-until-expiry", ...impatient });
    await lose(verifier);
    expect(await errorOf(verifier, issuer.token())).toBe("allowed");
    expect(await errorOf(verifier, issuer.token({ exp: seconds() - 1 }))).toBe("Token Expired");
    expect(await errorOf(verifier, revoked)).toBe("Invalid Token");
  });

  test("introspect asks the issuer, once for all who ask at the same time, and judges scopes itself", async () => {
    const verifier = verifierWith(impatient);
    await lose(verifier);
    const token = issuer.token();
    expect(verifier.verifyNow(token)).toBeNull();
    service.introspecting = () => new Promise((resolve) => setTimeout(resolve, 50));
    const answers = await Promise.all([
      ...Array.from({ length: 20 }, () => verifier.verify(token)),
      verifier.verify(token, { scopes: ["write"] }),
    ]);
    expect(answers.slice(0, 20).every(({ allowed }) => allowed)).toBe(true);
    expect(answers[20]).toMatchObject({ status: 403 });
    const basic = Buffer.from("internal-service:internal-service-secret").toString("base64");
    expect(service.authorizations).toEqual([`Basic ${basic} ${token}`]);
    service.introspecting = async () => {};
    for (const error of ["Invalid Token", "Token Expired"]) {
      service.standing = { allowed: false, httpStatus: 401, error };
      expect(await errorOf(verifier, token)).toBe(error);
    }
    // never sent: what is not a token of ours
    const asked = service.authorizations.length;
    expect(await errorOf(verifier, `${token}x`)).toBe("Invalid Token");
    expect(service.authorizations.length).toBe(asked);
  });

  test("introspect answers 503 in time when the service does not answer", async () => {
    const verifier = verifierWith({ introspectionTimeoutMs: 500, maxIntrospections: 2, ...impatient });
    await lose(verifier);
    service.introspectionAway = true;
    expect(await errorOf(verifier, issuer.token())).toBe("Unavailable");
    service.introspectionAway = false;
    const answering: (() => void)[] = [];
    service.introspecting = () => new Promise((resolve) => answering.push(resolve));
    const from = performance.now();
    const ended: number[] = [];
    const slow = [0, 1, 2].map(async (number) => {
      const error = await errorOf(verifier, issuer.token());
      ended.push(number);
      return error;
    });
    expect(await Promise.all(slow)).toEqual(["Unavailable", "Unavailable", "Unavailable"]);
    expect(performance.now() - from).toBeLessThan(10_000);
    // over the bound: at once, not when a call under way was given up
    expect(ended[0]).toBe(2);
    for (const answer of answering) answer();
    service.introspecting = async () => {};
    await until(async () => (await errorOf(verifier, issuer.token())) === "allowed");
  });

  test("a service that is gone altogether is 503, and found again", async () => {
    const verifier = verifierWith({ introspectionTimeoutMs: 500, ...impatient });
    await lose(verifier);
    const { port } = service;
    await service.close();
    const from = performance.now();
    expect(await errorOf(verifier, issuer.token())).toBe("Unavailable");
    expect(performance.now() - from).toBeLessThan(8_000);
    service = await startService(port);
    await until(async () => (await errorOf(verifier, issuer.token())) === "allowed");
    await until(() => verifier.status().stream === "fresh");
  });
});

describe("without a stream", () => {
  test("introspect asks for every token, by a connection and a token of its own", async () => {
    const introspection = { baseUrl: service.baseUrl, credentials: { token: async () => "own-token" } };
    const verifier = createVerifier({
      issuer: issuer.url,
      audience: "portal-client",
      onStreamLost: "introspect",
      introspection,
      introspectionTimeoutMs: 10_000,
    });
    open.push(verifier);
    await verifier.ready();
    const token = issuer.token();
    expect([await errorOf(verifier, token), await errorOf(verifier, token)]).toEqual(["allowed", "allowed"]);
    expect(service.authorizations).toEqual([`Bearer own-token ${token}`, `Bearer own-token ${token}`]);
    expect(verifier.status().stream).toBe("off");
  });
});

test("close ends the stream and every call; decisions after it are 503, and ready rejects", async () => {
  service.frozen = true;
  const verifier = verifierWith();
  await until(() => service.watchers === 1);
  const ready = verifier.ready();
  const asked = verifier.verify(issuer.token());
  await verifier.close();
  await expect(ready).rejects.toThrow("closed");
  expect(await asked).toMatchObject({ status: 503 });
  expect(await errorOf(verifier, issuer.token())).toBe("Unavailable");
  await until(() => service.watchers === 0);
});

describe("the connection", () => {
  test("is checked by the CA that was given, and shows the client certificate that was given", async () => {
    const tls = {
      key: serverKey,
      cert: serverCertificate,
      ca: caCertificate,
      requestCert: true,
      rejectUnauthorized: true,
    };
    const secure = await startService(0, tls);
    const connect = (own: { ca?: string; cert?: string; key?: string }) =>
      verifierWith({ stream: { baseUrl: secure.baseUrl, credentials, tls: own }, onStreamLost: "introspect" });
    const good = connect({ ca: caCertificate, cert: clientCertificate, key: clientKey });
    await good.ready();
    expect(good.status().stream).toBe("fresh");
    const strangers = [connect({ ca: caCertificate }), connect({ cert: clientCertificate, key: clientKey })];
    for (const stranger of strangers) {
      await until(() => stranger.status().keys > 0);
      expect(await errorOf(stranger, issuer.token())).toBe("Unavailable");
      expect(stranger.status().stream).toBe("lost");
    }
    expect(secure.watchers).toBe(1);
    await Promise.all([good, ...strangers].map((one) => one.close()));
    await secure.close();
  });

  test("to a peer that takes it and says nothing is given up in time", async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.resume();
    });
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    const baseUrl = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const verifier = verifierWith({ stream: { baseUrl, credentials }, introspectionTimeoutMs: 200, ...impatient });
    await until(() => verifier.status().keys > 0);
    const from = performance.now();
    expect(await errorOf(verifier, issuer.token())).toBe("Unavailable");
    expect(performance.now() - from).toBeLessThan(8_000);
    // the stream is tried again, each time by a new connection
    await until(() => sockets.size >= 4);
    await verifier.close();
    await until(() => [...sockets].every(({ destroyed, readableEnded }) => destroyed || readableEnded));
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => mute.close(resolve));
  });
});

test("a process that was busy for longer than the stream may be silent reads what waits before it answers 503", async () => {
  // a service in a process of its own, which talks on meanwhile
  const script = `import { startService } from ${JSON.stringify(new URL("issuer.ts", import.meta.url).href)};
    const service = await startService();
    console.log(service.baseUrl);
    process.stdin.resume().on("end", () => process.exit());`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const baseUrl = line.toString().trim();
  const stream = { baseUrl, credentials };
  const verifier = verifierWith({ stream, onStreamLost: "fail-closed", maxStalenessMs: 2_000, streamTimeoutMs: 1_500 });
  await verifier.ready();
  const token = issuer.token();
  for (const end = performance.now() + 2_500; performance.now() < end; );
  expect(errorNow(verifier, token)).toBe("Unavailable");
  expect(await errorOf(verifier, token)).toBe("allowed");
  await verifier.close();
  child.stdin.end();
  await once(child, "exit");
});
