import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { knownDevice, rememberDevice } from "../../src/sessions/known-devices.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { getTokens, refresh, signUp, TestBrowser } from "../support/flow.ts";

const clients = [
  {
    client_id: "idle",
    redirect_uris: ["https://idle.example/cb"],
    scope: "openid",
    first_party: true,
    refresh_token_idle_ttl: 600,
  },
];

describe("idle limits of accounts and tokens", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, clients);
  });
  afterAll(() => app.close());

  const login = (browser: TestBrowser, email: string, password: string) =>
    browser.submit(`${app.url}/login`, { email, password });

  it("S-049 lets the owner in from a known device and by a reset while an attacker's guesses close the account to others", async () => {
    const victim = await signUp(app.url);
    const { browser: home } = await getTokens(app.url, victim);
    expect((await home.get(`${app.url}/connect/logout`)).status).toBe(200);
    const attacker = new TestBrowser();
    let refused = 0;
    for (let guess = 0; guess < 14; guess++) {
      if ((await login(attacker, victim.email, `wrong ${guess}`)).status === 429) refused++;
    }
    expect(refused).toBe(4);
    expect((await login(new TestBrowser(), victim.email, victim.password)).status).toBe(429);
    expect((await login(home, victim.email, victim.password)).status).toBe(303);

    // another account's device is no known one, and neither is one that somebody made up
    const other = await signUp(app.url);
    const { browser: neighbour } = await getTokens(app.url, other);
    expect((await login(neighbour, victim.email, victim.password)).status).toBe(429);
    const forged = new TestBrowser();
    forged.cookies.set("auth_device", `${"A".repeat(22)}.${"B".repeat(43)}`);
    expect((await login(forged, victim.email, victim.password)).status).toBe(429);

    app.clock.shift += 15 * 60_000 + 1_000;
    expect((await login(new TestBrowser(), victim.email, victim.password)).status).toBe(303);
    app.clock.shift -= 15 * 60_000 + 1_000;
  });

  it("S-049 knows the devices that the release before knew, whose seals were bound to the password's hash", async () => {
    const account = await signUp(app.url);
    const user = await app.context.store.users.findByEmail(account.email);
    if (user === null) throw new Error("no account");
    const id = "A".repeat(22);
    const seal = app.context.derivedKeys.knownDevices.of(`${id}\n${user.uuid}\n${user.passwordHash}`);
    expect(knownDevice(app.context, `${id}.${seal}`, user)).toBe(id);
    expect(knownDevice(app.context, `${id}.${seal}`, user, "second factor")).toBeNull();
    expect(knownDevice(app.context, `${id}.${seal}`, { ...user, passwordHash: "another" })).toBeNull();
    // one seal for one account: the new one takes its place
    expect(rememberDevice(app.context, `${id}.${seal}`, user).split(".")).toHaveLength(2);
  });

  it("S-049 counts a known device's own wrong passwords too", async () => {
    const user = await signUp(app.url);
    const { browser } = await getTokens(app.url, user);
    const statuses = new Set<number>();
    for (let guess = 0; guess < 12; guess++) statuses.add((await login(browser, user.email, `wrong ${guess}`)).status);
    expect([...statuses]).toEqual([401, 429]);
    expect((await login(browser, user.email, user.password)).status).toBe(429);
    // the others have ten of their own
    expect((await login(new TestBrowser(), user.email, user.password)).status).toBe(303);
  });

  it("S-083 refuses a refresh token that was not used for the client's idle limit, and counts from the last use", async () => {
    const user = await signUp(app.url);
    const options = { clientId: "idle", redirectUri: "https://idle.example/cb", scope: "openid" };
    const { refresh_token: first } = await getTokens(app.url, user, options);
    const shift = app.clock.shift;
    try {
      app.clock.shift += 500_000;
      const used = await refresh(app.url, first, { client_id: "idle" });
      expect(used.status).toBe(200);
      const { refresh_token: second } = (await used.json()) as { refresh_token: string };
      app.clock.shift += 500_000;
      const again = await refresh(app.url, second, { client_id: "idle" });
      expect(again.status).toBe(200);
      const { refresh_token: third } = (await again.json()) as { refresh_token: string };
      app.clock.shift += 601_000;
      const idle = await refresh(app.url, third, { client_id: "idle" });
      expect([idle.status, ((await idle.json()) as { error: string }).error]).toEqual([401, "invalid_grant"]);
    } finally {
      app.clock.shift = shift;
    }
  });
});
