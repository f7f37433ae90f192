import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { getTokens, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { startKafka, type TestKafka } from "../support/kafka.ts";
import { hasPython, pythonWith } from "./toolchains.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const example = join(root, "examples/clients/python");

interface Line {
  topic: string;
  key: string;
  headers: Record<string, string>;
  event: { eventId: string; eventType: string; timestamp: string; payload: Record<string, string> };
}

/** Where its packages cannot be had, as offline: why. */
const python = hasPython() ? await pythonWith(join(example, "requirements-events.txt")).catch(() => null) : null;
const needs = hasPython() ? ", and a network for its packages the first time" : " with venv and pip";

describe("an independent reader of the events, in Python", () => {
  let kafka: TestKafka | undefined;
  let app: TestApp | undefined;
  const descriptors = join(root, ".cache/clients/events.binpb");

  beforeAll(async () => {
    if (python === null) return;
    mkdirSync(join(root, ".cache/clients"), { recursive: true });
    const buf = join(root, "node_modules/.bin/buf");
    [kafka] = await Promise.all([
      startKafka(),
      run(buf, ["build", "--path", "proto/auth/events", "-o", descriptors], { cwd: root }),
    ]);
    app = await startApp({ KAFKA_BROKERS: kafka.brokers });
  });
  afterAll(async () => {
    await app?.close();
    await kafka?.stop();
  });

  const title = "decodes events of four kinds, with every field of its payload, its key and its CloudEvents headers";
  if (python === null) return skip(title, `Python 3${needs}`);
  it(title, async () => {
    if (app === undefined || kafka === undefined) throw new Error("nothing was started");
    const from = Date.now();
    const account = await signUp(app.url, { nickname: "Zoë 🦊" });
    await getTokens(app.url, account, { browser: new TestBrowser({ "user-agent": "a browser/1.0" }) });
    await postJson(`${app.url}/api/users/password-reset`, { email: account.email });

    const { stdout } = await run(python, [join(example, "read_events.py"), descriptors, "4"], {
      env: { ...process.env, KAFKA_BROKERS: kafka.brokers },
      timeout: 90_000,
    });
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    const of = (topic: string) => lines.find((line) => line.topic === topic);
    const [signup, login, reset] = [of("user-signup"), of("user-login"), of("password-reset")];
    const verification = of("user-email-verification");

    const { uuid, email } = account;
    expect(signup?.event.payload).toEqual({
      uuid,
      email,
      nickname: "Zoë 🦊",
      signupMethod: "EMAIL",
      createdAt: signup?.event.timestamp,
      locale: "",
    });
    expect(login?.event.payload).toEqual({
      uuid,
      email,
      loginMethod: "OAUTH2",
      ipAddress: expect.stringMatching(/^(127\.0\.0\.1|::1)$/),
      userAgent: "a browser/1.0",
      locale: "",
    });
    const { resetToken = "", expiresAt = "" } = reset?.event.payload ?? {};
    expect(resetToken).not.toBe("");
    expect(reset?.event.payload).toEqual({
      uuid,
      email,
      resetToken,
      resetUrl: expect.stringContaining(encodeURIComponent(resetToken)),
      expiresAt: expect.any(String),
      ipAddress: expect.stringMatching(/^(127\.0\.0\.1|::1)$/),
      locale: "",
    });
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());

    const { verificationToken = "" } = verification?.event.payload ?? {};
    expect(verificationToken).not.toBe("");
    expect(verification?.event.payload).toEqual({
      uuid,
      email,
      verificationToken,
      verificationUrl: expect.stringContaining(encodeURIComponent(verificationToken)),
      expiresAt: expect.any(String),
      ipAddress: expect.stringMatching(/^(127\.0\.0\.1|::1)$/),
      locale: "",
    });

    const kinds = [
      [signup, "USER_SIGNUP", "auth.events.v1.UserSignupEvent"],
      [login, "USER_LOGIN", "auth.events.v1.UserLoginEvent"],
      [reset, "PASSWORD_RESET", "auth.events.v1.PasswordResetEvent"],
      [verification, "USER_EMAIL_VERIFICATION", "auth.events.v1.UserEmailVerificationEvent"],
    ] as const;
    for (const [line, eventType, messageName] of kinds) {
      expect(line?.key).toBe(uuid);
      expect(line?.event).toMatchObject({ eventId: expect.stringMatching(/^evt-\d{8}-.+$/), eventType });
      const happened = Date.parse(line?.event.timestamp ?? "");
      expect(happened).toBeGreaterThanOrEqual(from);
      expect(happened).toBeLessThanOrEqual(Date.now());
      expect(line?.headers).toEqual({
        ce_specversion: "1.0",
        ce_id: line?.event.eventId,
        ce_source: app.url,
        ce_type: messageName,
        ce_time: new Date(happened).toISOString(),
        "content-type": "application/protobuf",
      });
    }
  });
});
