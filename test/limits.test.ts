import { randomBytes, randomInt } from "node:crypto";
import { afterEach, describe, expect, it, jest } from "@jest/globals";
import { Clock } from "../src/clock.ts";
import { Limits, networkOf } from "../src/limits.ts";
import type { LimitStore } from "../src/store/limits.ts";
import { startApp, type TestApp } from "./support/app.ts";
import { postForm, signUp, TestBrowser } from "./support/flow.ts";

const octet = () => randomInt(1, 255);
const someone = () => `${octet()}.${octet()}.${octet()}.${octet()}`;
/** An address of one /64, in one of its spellings. */
const neighbour = () => {
  const host = [1, 2, 3, 4].map(() => randomBytes(2).toString("hex")).join(":");
  const prefixes = ["2001:db8:0:7", "2001:0db8:0000:0007", "2001:DB8:0:7"];
  return `${prefixes[randomInt(3)]}:${host}`;
};
/** Ways to write 192.0.2.77. */
const spellings = [
  "192.0.2.77",
  "::ffff:192.0.2.77",
  "::FFFF:192.0.2.77",
  "::ffff:c000:24d",
  "0:0:0:0:0:ffff:c000:024d",
  "0000::ffff:192.0.2.77",
  "192.0.2.77:51234",
  "[::ffff:192.0.2.77]:443",
];

let app: TestApp | undefined;
afterEach(() => app?.close());

/** How many of `count` requests were let through. */
async function letThrough(count: number, headers: (n: number) => Record<string, string>): Promise<number> {
  const statuses: number[] = [];
  for (let n = 0; n < count; n++) {
    const response = await fetch(`${app?.url}/login`, { headers: headers(n) });
    await response.arrayBuffer();
    statuses.push(response.status);
  }
  return statuses.filter((status) => status === 200).length;
}

/** Asks again until the answer is `expected`: the store is told in the background. */
async function eventually(ask: () => unknown, expected: unknown): Promise<void> {
  const from = performance.now();
  while (JSON.stringify(ask()) !== JSON.stringify(expected) && performance.now() - from < 20_000) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(ask()).toEqual(expected);
}

describe("the networks of addresses", () => {
  it("S-046 knows an address by any of its spellings, and IPv6 by the /64", () => {
    expect([...new Set(spellings.map(networkOf))]).toEqual(["192.0.2.77"]);
    expect([...new Set(Array.from({ length: 200 }, () => networkOf(neighbour())))]).toEqual(["2001:db8:0:7::/64"]);
    expect([networkOf("::1"), networkOf("fe80::1%eth0"), networkOf("64:ff9b::c000:24d")]).toEqual([
      "0:0:0:0::/64",
      "fe80:0:0:0::/64",
      "64:ff9b:0:0::/64",
    ]);
    expect(networkOf("2001:db8:0:8::1")).not.toBe(networkOf("2001:db8:0:7::1"));
  });

  it("S-046 counts an untrusted peer once and ignores its forwarding headers", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "20" });
    const headers = () => ({
      "x-forwarded-for": randomInt(2) === 0 ? someone() : neighbour(),
      forwarded: `for=${someone()}`,
      "x-real-ip": someone(),
      "x-client-ip": someone(),
      "true-client-ip": someone(),
    });
    expect(await letThrough(40, headers)).toBe(20);
  });

  it("C-86 answers documents that every verifier needs without counting them, however much a network asks", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "1" });
    for (const path of [
      "/oauth2/jwks",
      "/.well-known/openid-configuration",
      "/.well-known/oauth-authorization-server",
      "/api/openapi.json?again",
    ]) {
      const answers = [];
      for (let n = 0; n < 3; n++) answers.push((await fetch(app.url + path)).status);
      expect([path, answers]).toEqual([path, [200, 200, 200]]);
    }
    expect(await letThrough(3, () => ({}))).toBe(1);
  });

  it("C-86 asks the store for a network as often as three times a second, and not at all for what is refused", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "100" });
    const { limits } = app.context.store;
    const add = jest.spyOn(limits, "add");
    const take = jest.spyOn(limits, "take");
    const from = performance.now();
    expect(await letThrough(400, () => ({}))).toBe(100);
    const seconds = (performance.now() - from) / 1_000;
    expect(add.mock.calls.length).toBeGreaterThan(0);
    expect(add.mock.calls.length).toBeLessThanOrEqual(1 + Math.ceil(seconds / 0.3));
    expect(take).not.toHaveBeenCalled();
    // less than a twentieth of the limit is kept for the next time
    const told = () => add.mock.calls.reduce((sum, [, uses]) => sum + uses, 0);
    await eventually(() => told() > 95, true);
    expect(told()).toBeLessThanOrEqual(100);
    add.mockClear();
    expect(await letThrough(50, () => ({}))).toBe(0);
    expect(add).not.toHaveBeenCalled();
  });

  it("C-86 counts in memory alone while the database is away, and lets requests go on", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "20" });
    const { limits } = app.context.store;
    const add = jest.spyOn(limits, "add").mockRejectedValue(new Error("the database is away"));
    const from = performance.now();
    expect(await letThrough(40, () => ({}))).toBe(20);
    // it is asked again after two seconds
    expect(add.mock.calls.length).toBeGreaterThan(0);
    expect(add.mock.calls.length).toBeLessThanOrEqual(1 + Math.floor((performance.now() - from) / 2_000));
    add.mockRestore();
    // what was counted meanwhile is told later
    const told = jest.spyOn(limits, "add");
    await eventually(() => told.mock.calls.map(([, uses]) => uses), [20]);
  });

  it("C-86 counts a network's requests in a new window after the database's clock was set back", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "20" });
    expect(await letThrough(40, () => ({}))).toBe(20);
    app.clock.shift = -3_600_000;
    expect(await letThrough(40, () => ({}))).toBe(20);
  });

  it("S-046 counts by the address that our proxy saw, not by those that were sent to it", async () => {
    app = await startApp({ RATE_LIMIT_PER_MINUTE: "20", TRUST_PROXY: "loopback" });
    const forged = () => ({ "x-forwarded-for": `${someone()}, ${neighbour()}, 198.51.100.9` });
    expect(await letThrough(30, forged)).toBe(20);
    expect(await letThrough(30, () => ({ "x-forwarded-for": neighbour() }))).toBe(20);
    const spelt = (n: number) => ({ "x-forwarded-for": spellings[n % spellings.length] ?? "" });
    expect(await letThrough(30, spelt)).toBe(20);
    expect(await letThrough(5, () => ({ "x-forwarded-for": "198.51.100.10" }))).toBe(5);
  });

  it("S-046 counts failed client authentications in one network together", async () => {
    app = await startApp({ TRUST_PROXY: "loopback" });
    const url = app.url;
    const wrong = async (from: string) => {
      const authorization = `Basic ${Buffer.from("internal-service:wrong").toString("base64")}`;
      const headers = { authorization, "x-forwarded-for": from };
      const response = await postForm(`${url}/oauth2/token`, { grant_type: "client_credentials" }, headers);
      await response.arrayBuffer();
      return response.status;
    };
    const statuses: number[] = [];
    for (let n = 0; n < 210; n++) statuses.push(await wrong(neighbour()));
    expect(statuses.filter((status) => status === 401)).toHaveLength(200);
    expect(statuses.filter((status) => status === 429)).toHaveLength(10);
    expect(await wrong("2001:db8:0:8::1")).toBe(401);
  });

  it("S-046 counts wrong passwords by account, wherever they come from", async () => {
    app = await startApp({ TRUST_PROXY: "loopback" });
    const account = await signUp(app.url);
    const statuses: number[] = [];
    for (let n = 0; n < 20; n++) {
      const browser = new TestBrowser({ "x-forwarded-for": n % 2 === 0 ? someone() : neighbour() });
      const answer = await browser.submit(`${app.url}/login`, { email: account.email, password: "wrong" });
      statuses.push(answer.status);
    }
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(10).fill(429)]);
  });
});

describe("a form that has a mail sent", () => {
  it("has it sent by the next press where the answer of the count was lost, and cut connections keep it from being forgotten at first", async () => {
    const counted = new Set<string>();
    const cut = () => Promise.reject(new Error("the connection was cut"));
    const lost = { takes: 1, clears: 1 };
    const store = {
      take: (key: string) => {
        if (counted.has(key)) return Promise.resolve(60_000);
        counted.add(key);
        return lost.takes-- > 0 ? cut() : Promise.resolve(null);
      },
      clear: (key: string) => {
        if (lost.clears-- > 0) return cut();
        counted.delete(key);
        return Promise.resolve();
      },
    };
    const limits = new Limits(store as unknown as LimitStore, new Clock());
    const mails: string[] = [];
    const press = () => limits.oncePerForm("form", "ada@example.com", async () => void mails.push("mail"));
    await expect(press()).rejects.toThrow("the connection was cut");
    await press();
    await press();
    expect(mails).toEqual(["mail"]);
  });
});
