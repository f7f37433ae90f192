import { execFile } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { postForm } from "../support/flow.ts";
import { jars, requireJava, startOnJava, type TestKafka } from "../support/kafka.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { hasMaven, programs } from "./toolchains.ts";

const run = promisify(execFile);
const minutes = 60_000;
const withKafka: (name: string, work: () => Promise<void>) => void = hasMaven()
  ? (name, work) => it(name, work, 2 * minutes)
  : (name) => skip(name, "Java 17 and Maven");

/** The lines of a file of properties. */
function propertiesOf(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

describe("Kafka with SASL OAUTHBEARER", () => {
  let app: TestApp;
  let kafka: TestKafka;
  let secret: string;
  let addresses: Record<string, string>;
  const folder = mkdtempSync(join(tmpdir(), "oauthbearer-"));
  const tokenFile = join(folder, "token");
  let topics = 0;

  beforeAll(async () => {
    if (!hasMaven()) return;
    await requireJava();
    // another client, whose tokens are for another resource server
    const other = { client_id: "other", client_secret: "another secret", grant_types: ["client_credentials"] };
    const elsewhere = ["https://elsewhere.example.com"];
    app = await startApp({}, [{ ...other, scope: "kafka", resources: elsewhere, default_resource: elsewhere }]);
    addresses = { "https://auth.example.com": app.url, sasl_ssl: "sasl_plaintext", SASL_SSL: "SASL_PLAINTEXT" };
    secret = await registerAsIn("kafka", app, addresses);
    kafka = await startOnJava(propertiesOf(settingsOf("kafka/server.properties", addresses)), [
      `-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=${app.url}/oauth2/jwks`,
    ]);
  }, 5 * minutes);
  afterAll(async () => {
    await kafka?.stop();
    await app?.close();
  });

  /** What the client in Java prints, whether it ends well or not. @param change of its settings */
  const sendAndRead = async (change: Record<string, string>): Promise<string> => {
    const file = join(folder, "client.properties");
    writeFileSync(file, settingsOf("kafka/client.properties", { CLIENT_SECRET: secret, ...change, ...addresses }));
    const allowed = [
      `-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=${app.url}/oauth2/token,file://${tokenFile}`,
      `-Dorg.apache.kafka.sasl.oauthbearer.allowed.files=${tokenFile}`,
    ];
    const program = join(programs, "kafka/SendAndRead.java");
    const args = [...allowed, "-cp", join(jars, "*"), program, file, kafka.saslBrokers ?? "", `topic-${topics++}`];
    return run("java", args, { timeout: 90_000 }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
    );
  };
  const tokenOf = async (clientId: string, clientSecret: string): Promise<string> => {
    const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
    const response = await postForm(`${app.url}/oauth2/token`, form);
    return ((await response.json()) as { access_token: string }).access_token;
  };
  /** A client that has the token already. */
  const sendWithToken = (token: string) => {
    writeFileSync(tokenFile, token);
    return sendAndRead({ "https://auth.example.com/oauth2/token": `file://${tokenFile}` });
  };

  withKafka("a client in Java gets a token with its secret, and sends and reads with it", async () => {
    expect(await sendAndRead({})).toBe("read: a record\n");
  });

  withKafka("a token from elsewhere is taken, a changed one and one for another audience are not", async () => {
    const token = await tokenOf("orders", secret);
    expect(await sendWithToken(token)).toBe("read: a record\n");
    const [header, payload, signature = ""] = token.split(".");
    const changed = `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
    for (const bad of [changed, await tokenOf("other", "another secret")]) {
      expect(await sendWithToken(bad)).toMatch(/SaslAuthenticationException.*invalid_token/);
    }
  });

  withKafka("a wrong secret ends the login, and the service's log names the client and the reason", async () => {
    expect(await sendAndRead({ CLIENT_SECRET: "not its secret" })).toMatch(/invalid_client|401/);
    const line = app.logs.filter((each) => each.includes('"client_authentication_failed"')).at(-1);
    expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: "orders", reason: "the secret is wrong or over" });
  });
});
