import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { postJson, uniqueEmail } from "../support/flow.ts";
import { eventsOf, until } from "../support/resets.ts";

describe("the address of who asks, behind proxies", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ TRUST_PROXY: "loopback,10.0.0.0/8" });
  });
  afterAll(() => app?.close());

  it.each([
    ["198.51.100.7", "198.51.100.7"],
    ["192.0.2.1, 198.51.100.7", "198.51.100.7"],
    ["198.51.100.7, 10.0.0.5", "198.51.100.7"],
    // with ports, as Azure Application Gateway writes them
    ["198.51.100.7:41234", "198.51.100.7"],
    ["[2001:db8::7]:443", "2001:db8::7"],
    ["[2001:db8::7]", "2001:db8::7"],
    ["fe80::1%eth0", "fe80::1"],
    // no address: that of the proxy which passed it on
    ["unknown", "127.0.0.1"],
    ["unknown, 10.0.0.5", "10.0.0.5"],
    ["x".repeat(3_000), "127.0.0.1"],
    ["", "127.0.0.1"],
  ])("X-Forwarded-For %s is told as %s", async (chain, address) => {
    const email = uniqueEmail();
    const account = { email, password: "correct horse battery", nickname: "nick" };
    expect((await postJson(`${app.url}/api/users/signup`, account, { "x-forwarded-for": chain })).status).toBe(201);
    const mail = () =>
      eventsOf(app).find(({ event }) => event.payload["email"] === email && "ipAddress" in event.payload);
    expect((await until(mail)).event.payload["ipAddress"]).toBe(address);
  });
});
