import { expect, it } from "@jest/globals";
import { readConfig } from "../../src/config/config.ts";
import { startApp } from "../support/app.ts";

const key = { KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString("base64") };
const doubtful = (env: Record<string, string>) =>
  readConfig({ ...key, ...env }).config.doubtful.map(({ name, why }) => `${name} ${why}`);

it("says which settings do nothing beside the others", () => {
  const https = { ISSUER: "https://localhost:8081" };
  const all: readonly [Record<string, string>, RegExp, Record<string, string>][] = [
    [
      { EVENTS_FILE: "./data/e.ndjson", KAFKA_BROKERS: "a:9092" },
      /^EVENTS_FILE .*KAFKA_BROKERS/,
      { KAFKA_BROKERS: "" },
    ],
    [{ KAFKA_TOPIC_PARTITIONS: "4" }, /^KAFKA_TOPIC_PARTITIONS .*KAFKA_BROKERS/, { KAFKA_BROKERS: "a:9092" }],
    [{ KAFKA_TOPIC_REPLICATION: "3" }, /^KAFKA_TOPIC_REPLICATION .*KAFKA_BROKERS/, { KAFKA_BROKERS: "a:9092" }],
    [{ MAIL_FROM: "a@example.com" }, /^MAIL_FROM .*SMTP_URL/, { SMTP_URL: "smtps://mail.example.com" }],
    [{ HSTS_INCLUDE_SUBDOMAINS: "1" }, /^HSTS_INCLUDE_SUBDOMAINS .*ISSUER/, https],
    [
      { ...https, PASSWORD_RESET_URL: "http://shop.example.com/reset" },
      /^PASSWORD_RESET_URL is http/,
      { PASSWORD_RESET_URL: "" },
    ],
  ];
  for (const [env, says, mended] of all) {
    expect(doubtful(env)).toEqual([expect.stringMatching(says)]);
    expect(doubtful({ ...env, ...mended })).toEqual([]);
  }
  expect(doubtful({ HSTS_INCLUDE_SUBDOMAINS: "0", PASSWORD_RESET_URL: "http://localhost:3000/reset" })).toEqual([]);
});

it("warns of them at start", async () => {
  const app = await startApp({ MAIL_FROM: "a@example.com" });
  await app.close();
  expect(app.logs.filter((line) => line.includes("doubtful_setting"))).toEqual([
    expect.stringContaining("MAIL_FROM does nothing without SMTP_URL"),
  ]);
});
