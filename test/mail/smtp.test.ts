import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "@jest/globals";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { startApp, type TestApp } from "../support/app.ts";
import { exampleBrandFile } from "../support/brand.ts";
import { postJson, signUp, uniqueEmail } from "../support/flow.ts";
import { freePorts } from "../support/ports.ts";
import { rowsOf } from "../support/sqlite.ts";

interface Received {
  readonly to: string;
  readonly text: string;
  readonly messageId: string;
}

interface Refusal {
  readonly code: number;
}

/** An SMTP server of this process. @param refuse what it answers to a recipient; null: it takes the mail */
async function smtpServer(
  options: SMTPServerOptions = {},
  refuse: (address: string) => Refusal | null = () => null,
  port = 0,
) {
  const received: Received[] = [];
  const server = new SMTPServer({
    disabledCommands: ["STARTTLS"],
    authOptional: true,
    ...options,
    onRcptTo({ address }, _session, done) {
      const refusal = refuse(address);
      done(refusal === null ? null : Object.assign(new Error("refused by the test"), { responseCode: refusal.code }));
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        const to = session.envelope.rcptTo[0]?.address ?? "";
        received.push({ to, text, messageId: /^Message-ID: (.*)$/im.exec(text)?.[1] ?? "" });
        done();
      });
    },
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", () => resolve()));
  return {
    received,
    port: (server.server.address() as AddressInfo).port,
    to: (email: string) => received.filter((mail) => mail.to === email),
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

async function until(condition: () => boolean, withinMs = 30_000): Promise<void> {
  for (const end = Date.now() + withinMs; !condition(); ) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(port: number, env: Record<string, string> = {}): Promise<TestApp> {
  const from = { SMTP_URL: `smtp://127.0.0.1:${port}`, MAIL_FROM: "Example <no-reply@example.com>" };
  const app = await startApp({ ...from, ...env });
  closers.push(() => app.close());
  return app;
}

const linesOf = (app: TestApp, text: string) => app.logs.filter((line) => line.includes(text));
const statesOf = (app: TestApp) =>
  rowsOf<{ status: string; amount: number }>(app, "SELECT status, COUNT(*) AS amount FROM mail GROUP BY status");

describe("mails by SMTP", () => {
  it("are sent once each, in the language of the person, in text and HTML", async () => {
    const server = await smtpServer();
    closers.push(server.stop);
    const app = await start(server.port);
    const accounts = await Promise.all(Array.from({ length: 12 }, () => signUp(app.url)));
    const [first] = accounts;
    if (first === undefined) throw new Error("no account");
    await postJson(`${app.url}/api/users/password-reset`, { email: first.email }, { "accept-language": "de-AT" });
    await until(() => server.received.length >= 13);
    await until(() => statesOf(app).every(({ status }) => status === "sent"));
    for (const { email } of accounts) expect(server.to(email)).toHaveLength(email === first.email ? 2 : 1);
    expect(new Set(server.received.map(({ messageId }) => messageId)).size).toBe(13);
    const german = server.to(first.email).find(({ text }) => /^Content-Language: de$/im.test(text))?.text ?? "";
    expect(german).toMatch(/^Subject: =\?UTF-8\?Q\?Passwort_zur=C3=BCcksetzen\?=/m);
    expect(german).toMatch(/^From: Example <no-reply@example\.com>$/m);
    expect(german).toMatch(/^Auto-Submitted: auto-generated$/im);
    expect(german).toContain("text/plain");
    expect(german).toContain("text/html");
    expect(rowsOf(app, "SELECT payload FROM mail WHERE payload <> ''")).toEqual([]);
    expect(app.logs.join("")).not.toContain("token=");
  });

  it("bear the brand: its name as sender and above the text, its colour, its legal line in the person's language", async () => {
    const server = await smtpServer();
    closers.push(server.stop);
    const app = await start(server.port, { BRAND_FILE: exampleBrandFile, MAIL_FROM: "no-reply@example.com" });
    const { email } = await signUp(app.url);
    await postJson(`${app.url}/api/users/password-reset`, { email }, { "accept-language": "de" });
    await until(() => server.to(email).length === 2);
    const german = server.to(email).find(({ text }) => /^Content-Language: de$/im.test(text))?.text ?? "";
    const text = german.replaceAll(/=\r?\n/g, "");
    expect(text).toMatch(/^From: Harbour Books <no-reply@example\.com>$/m);
    expect(text).toContain("#7a2e6e");
    expect(text.match(/Bristol, Vereinigtes K=C3=B6nigreich/g)).toHaveLength(2);
    expect(text.match(/Harbour Books(\r\n|<)/g)).toHaveLength(2);
  });

  it("wait for a server that is away, are sent when it comes, and Kafka that is away holds none back", async () => {
    const [port = 0] = await freePorts(1);
    const app = await start(port, { KAFKA_BROKERS: "127.0.0.1:9" });
    const before = await signUp(app.url);
    await until(() => linesOf(app, "the SMTP server is away").length > 0);
    const server = await smtpServer({}, () => null, port);
    await until(() => server.to(before.email).length === 1);
    await server.stop();
    const between = await signUp(app.url);
    await until(() => linesOf(app, "the SMTP server is away").length === 2);
    const again = await smtpServer({}, () => null, port);
    closers.push(again.stop);
    await until(() => again.to(between.email).length === 1);
    expect(server.received.length + again.received.length).toBe(2);
    expect(linesOf(app, "the SMTP server takes mails again").length).toBeGreaterThan(0);
  });

  it("that are refused for good are set aside, those refused for now come later, and others pass", async () => {
    let greylisted = 0;
    const server = await smtpServer({}, (address) => {
      if (address.startsWith("gone-")) return { code: 550 };
      return address.startsWith("grey-") && greylisted++ === 0 ? { code: 451 } : null;
    });
    closers.push(server.stop);
    const app = await start(server.port);
    const [gone, grey, other] = ["gone-", "grey-", ""].map((prefix) => prefix + uniqueEmail());
    for (const email of [gone, grey, other]) await signUp(app.url, { email: email as string });
    await until(() => server.to(grey ?? "").length === 1 && server.to(other ?? "").length === 1);
    await until(() => linesOf(app, "was set aside").length === 1);
    expect(statesOf(app)).toEqual(expect.arrayContaining([{ status: "parked", amount: 1 }]));
    expect(greylisted).toBe(2);
    const metrics = await (await fetch(`${app.internalUrl}/metrics`)).text();
    expect(metrics).toContain("auth_mails_sent_total 2");
    expect(metrics).toContain("auth_mails_parked_total 1");
  });

  it("are set aside when they have waited for more than a week", async () => {
    let isRefusing = true;
    const server = await smtpServer({}, () => (isRefusing ? { code: 451 } : null));
    closers.push(server.stop);
    const app = await start(server.port);
    const { email } = await signUp(app.url);
    await until(
      () => rowsOf(app, "SELECT 1 FROM mail WHERE status = 'pending' AND attempts > 0 AND reason <> ''").length > 0,
    );
    app.clock.shift = 8 * 86_400_000;
    isRefusing = false;
    await until(() => linesOf(app, "waited for more than a week").length === 1);
    expect(server.to(email)).toEqual([]);
    expect(statesOf(app)).toEqual([{ status: "parked", amount: 1 }]);
  });

  it("are not sent with a wrong password, which the log says once, without the password", async () => {
    const refused: SMTPServerOptions = {
      authOptional: false,
      allowInsecureAuth: true,
      onAuth: (_auth, _session, done) => done(Object.assign(new Error("wrong"), { responseCode: 535 })),
    };
    const server = await smtpServer(refused);
    closers.push(server.stop);
    const app = await start(server.port, { SMTP_URL: `smtp://mailer:hunter2-secret@127.0.0.1:${server.port}` });
    await signUp(app.url);
    await signUp(app.url);
    await until(() => rowsOf(app, "SELECT 1 FROM mail WHERE attempts > 1").length > 0);
    const said = linesOf(app, "refuses the user name and password");
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('"level":"error"');
    expect(app.logs.join("")).not.toContain("hunter2");
    expect(server.received).toEqual([]);
  });

  it("are not written at all without SMTP_URL", async () => {
    const app = await startApp();
    closers.push(() => app.close());
    await signUp(app.url);
    expect(statesOf(app)).toEqual([]);
  });
});
