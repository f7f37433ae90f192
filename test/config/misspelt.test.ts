import { expect, it } from "@jest/globals";
import { misspeltSettings } from "../../src/config/misspelt.ts";
import { startApp } from "../support/app.ts";

it.each([
  ["ACCES_TOKEN_TTL", "ACCESS_TOKEN_TTL"],
  ["KAFKA_BROKER", "KAFKA_BROKERS"],
  ["KEY_ENCRYPTION_KEY_FIEL", "KEY_ENCRYPTION_KEY_FILE"],
  ["access_token_ttl", "ACCESS_TOKEN_TTL"],
])("%s was meant to be %s", (name, meant) => {
  expect(misspeltSettings({ [name]: "60" })).toEqual([{ name, meant }]);
});

it("takes no variable of a shell, a container or another program for a setting", () => {
  const others = [
    "HOME",
    "PATH",
    "HOSTNAME",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_PORT",
    "KAFKA_PORT",
    "HTTPS_PORT",
    "LOG_LEVELS",
  ];
  const env = {
    ...Object.fromEntries([...others, "https_proxy", "NODE_OPTIONS", "SMTP_HOST"].map((name) => [name, "x"])),
  };
  expect(misspeltSettings(env)).toEqual([]);
  expect(misspeltSettings({ KAFKA_BROKERS: "a:1", KAFKA_BROKER: "a:1" })).toEqual([]);
  expect(misspeltSettings({ ACCES_TOKEN_TTL: "" })).toEqual([]);
});

it("warns at start of each misspelt setting, once", async () => {
  const app = await startApp({ ACCES_TOKEN_TTL: "60" });
  const lines = app.logs.filter((line) => line.includes("misspelt_setting"));
  await app.close();
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ level: expect.anything(), name: "ACCES_TOKEN_TTL", meant: "ACCESS_TOKEN_TTL" }),
  ]);
});
