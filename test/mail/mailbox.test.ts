import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { postJson, signUp } from "../support/flow.ts";

describe("the development mailbox", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  const mailbox = async () => (await fetch(`${app.internalUrl}/mail`)).text();
  async function pageWith(text: string): Promise<string> {
    for (let tries = 0; tries < 400; tries++) {
      const page = await mailbox();
      if (page.includes(text)) return page;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`no mail with ${text}`);
  }

  it("lists the mails that would be sent, with links that work", async () => {
    expect(await mailbox()).toContain("There are none yet.");
    const account = await signUp(app.url);
    await postJson(`${app.url}/api/users/password-reset`, { email: account.email }, { "accept-language": "fr" });
    const page = await pageWith("/password-reset?token=");
    expect(page).toContain(account.email);
    const link = /href="(http[^"]+\/password-reset\?token=[^"]+)"/.exec(page)?.[1] ?? "";
    expect((await fetch(link)).status).toBe(200);
    const html = /href="(\/mail\/evt-[^"]+)"/.exec(page)?.[1] ?? "";
    const mail = await fetch(app.internalUrl + html);
    expect([mail.status, (await mail.text()).includes('<html lang="fr">')]).toEqual([200, true]);
    expect(mail.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect((await fetch(`${app.internalUrl}/mail/none`)).status).toBe(404);
  });

  it("is not shown to a site whose name leads to this machine", async () => {
    const { port } = new URL(app.internalUrl);
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request({ port, path: "/mail", headers: { host: "attacker.example" } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      sent.on("error", reject).end();
    });
    expect(status).toBe(404);
  });

  it("is not there where events go to Kafka", async () => {
    const other = await startApp({ KAFKA_BROKERS: "127.0.0.1:9" });
    expect((await fetch(`${other.internalUrl}/mail`)).status).toBe(404);
    await other.close();
  });
});
