import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
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
