import { expect, it } from "@jest/globals";
import { readConfig } from "../../src/config/config.ts";
import { testEnvironment } from "../support/app.ts";

it("keeps every secret of the environment and of the clients file out of the configuration", async () => {
  const key = Buffer.alloc(32, 5);
  const secret = "client-secret-of-the-clients-file-000";
  const client = { client_id: "service", client_secret: secret, grant_types: ["client_credentials"] };
  const env = await testEnvironment(
    {
      KEY_ENCRYPTION_KEY: key.toString("base64"),
      DATABASE_URL: "mysql://auth:database-password@db.example:3306/auth",
      KAFKA_BROKERS: "kafka:9092",
      KAFKA_SASL_MECHANISM: "plain",
      KAFKA_SASL_USERNAME: "kafka-name",
      KAFKA_SASL_PASSWORD: "kafka-password",
    },
    [client],
  );
  const { config, secrets } = readConfig(env);
  expect(secrets).toMatchObject({
    keyEncryptionKeys: [key],
    databaseUrl: env["DATABASE_URL"],
    kafkaSasl: { mechanism: "plain", username: "kafka-name", password: "kafka-password" },
    clients: { clients: [{ clientId: "service", clientSecret: secret }], version: null },
  });
  expect([...config.fileClientIds]).toEqual(["service"]);
  const shown = JSON.stringify({ ...config, fileClientIds: [...config.fileClientIds] });
  expect(shown).toContain("kafka:9092");
  for (const hidden of [
    secret,
    "database-password",
    "kafka-name",
    "kafka-password",
    key.toString("base64"),
    '"Buffer"',
  ]) {
    expect(shown).not.toContain(hidden);
  }
});
