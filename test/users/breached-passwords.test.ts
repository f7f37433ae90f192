import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { postJson, uniqueEmail } from "../support/flow.ts";

describe("passwords that a service knows from breaches", () => {
  const breached = "a breached horse battery";
  const padded = "a padded horse battery";
  let app: TestApp;
  let service: Server;
  let asked: string[] = [];
  let answer: "lists" | "fails" | "hangs" = "lists";
  const hashOf = (password: string) => createHash("sha1").update(password).digest("hex").toUpperCase();

  beforeAll(async () => {
    service = createServer((request, response) => {
      asked.push(request.url ?? "");
      if (answer === "hangs") return;
      if (answer === "fails") return void response.writeHead(500).end();
      const lines = [`${hashOf(breached).slice(5)}:3`, `${hashOf(padded).slice(5)}:0`, `${"0".repeat(35)}:7`];
      response.end(lines.join("\r\n"));
    });
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    const { port } = service.address() as AddressInfo;
    app = await startApp({
      PASSWORD_BREACH_URL: `http://127.0.0.1:${port}/range/`,
      OUTBOUND_ALLOWED_HOSTS: `127.0.0.1:${port}`,
    });
  });
  beforeEach(() => {
    asked = [];
    answer = "lists";
  });
  afterAll(async () => {
    await app?.close();
    service.closeAllConnections();
    await new Promise((resolve) => service.close(resolve));
  });

  const signUp = (password: string) =>
    postJson(`${app.url}/api/users/signup`, { email: uniqueEmail(), password, nickname: "Ann" });
  const failures = async () =>
    Number(
      /auth_password_breach_checks_failed_total (\d+)/.exec(
        await (await fetch(`${app.internalUrl}/metrics`)).text(),
      )?.[1],
    );

  it("are refused, and the service learns five characters of a hash and nothing else", async () => {
    const refused = await signUp(breached);
    const { error } = (await refused.json()) as { error: { details: object[] } };
    expect([refused.status, error.details]).toEqual([
      400,
      [expect.objectContaining({ field: "password", rule: "too_common" })],
    ]);
    expect(asked).toEqual([`/range/${hashOf(breached).slice(0, 5)}`]);
    expect((await signUp(padded)).status).toBe(201);
    expect((await signUp("an unknown horse battery")).status).toBe(201);
  });

  it.each(["fails", "hangs"] as const)("are taken where the service %s, which is counted and logged", async (how) => {
    answer = how;
    const before = await failures();
    expect((await signUp(breached)).status).toBe(201);
    expect(await failures()).toBe(before + 1);
    expect(app.logs.some((line) => line.includes("PASSWORD_BREACH_URL did not answer"))).toBe(true);
    expect(app.logs.join("")).not.toContain(breached);
  });
});
