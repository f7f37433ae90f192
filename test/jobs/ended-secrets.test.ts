import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { hashOf } from "../../src/crypto/hashes.ts";
import { rotateClientSecret } from "../../src/oauth/clients/clients.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { claimsOf, introspect, postForm } from "../support/flow.ts";

const secret = "a secret of at least thirty-two characters";
let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [
    { client_id: "worker", client_secret: secret, grant_types: ["client_credentials"], scope: "jobs" },
  ]);
});
afterAll(() => app.close());

it("tokens got for a secret end with its overlap, which watchers are told too", async () => {
  const basic = { authorization: `Basic ${Buffer.from(`worker:${encodeURIComponent(secret)}`).toString("base64")}` };
  const answer = await postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, basic);
  const { access_token: token } = (await answer.json()) as { access_token: string };
  const sid = String(claimsOf(token)["sid"]);
  await rotateClientSecret(app.context, "worker", 60);
  await sleep(2_500);
  expect([(await introspect(app.url, token))["active"], app.context.feed.revoked.isAuthorizationRevoked(sid)]).toEqual([
    true,
    false,
  ]);
  app.clock.shift = 61_000;
  expect(await introspect(app.url, token)).toEqual({ active: false });
  for (let tries = 0; tries < 600 && !app.context.feed.revoked.isAuthorizationRevoked(sid); tries++) await sleep(50);
  expect(app.context.feed.revoked.isAuthorizationRevoked(sid)).toBe(true);
});

it("tokens got for a secret that was put back outlive the end of its first life", async () => {
  const back = "another secret of thirty-two characters";
  const add = (each: string) =>
    app.context.store.clients.addSecret("worker", hashOf(each), {
      now: app.clock.now(),
      olderEndAt: app.clock.now() + 60_000,
    });
  await add(back);
  await add(secret);
  await add(back);
  const basic = { authorization: `Basic ${Buffer.from(`worker:${encodeURIComponent(back)}`).toString("base64")}` };
  const issue = async () => {
    const answer = await postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, basic);
    return ((await answer.json()) as { access_token: string }).access_token;
  };
  // until this replica knows of the last change
  const lives = async (token: string) => {
    app.clock.shift += 61_000;
    const { active } = await introspect(app.url, token);
    app.clock.shift -= 61_000;
    return active;
  };
  for (let tries = 0; tries < 600 && !(await lives(await issue())); tries++) await sleep(50);
  expect(await lives(await issue())).toBe(true);
});
