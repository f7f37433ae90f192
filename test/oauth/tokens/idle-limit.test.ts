import { afterAll, beforeAll, beforeEach, expect, it } from "@jest/globals";
import { isIdle } from "../../../src/oauth/tokens/idle-limit.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import { getTokens, refresh, signUp } from "../../support/flow.ts";

const DAY = 86_400_000;
const HOUR = DAY / 24;
const keeping = { clientId: "keeping", redirectUri: "https://keeping.example/cb", scope: "openid" };
const replacing = { clientId: "replacing", redirectUri: "https://replacing.example/cb", scope: "openid" };

let app: TestApp;
beforeAll(async () => {
  const client = ({ clientId, redirectUri, scope }: typeof keeping, refresh_token_rotation: boolean) => ({
    client_id: clientId,
    token_endpoint_auth_method: "none",
    redirect_uris: [redirectUri],
    scope,
    first_party: true,
    refresh_token_rotation,
  });
  app = await startApp({}, [client(keeping, false), client(replacing, true)]);
});
afterAll(() => app.close());
beforeEach(async () => {
  app.clock.shift = 0;
  for (const { clientId } of [keeping, replacing]) await setLimit(clientId, undefined);
});

/** As a clients file does. @param seconds undefined: none */
async function setLimit(clientId: string, seconds: number | undefined, more: object = {}): Promise<void> {
  const { clients } = app.context.store;
  const { refresh_token_idle_ttl: _, ...metadata } = (await clients.find(clientId))?.metadata ?? {};
  const limit = seconds === undefined ? {} : { refresh_token_idle_ttl: seconds };
  await clients.replaceMetadata(clientId, { ...metadata, ...limit, ...more } as never, "file", app.clock.now());
}

const tokenOf = async (of: typeof keeping) => (await getTokens(app.url, await signUp(app.url), of)).refresh_token;
const refreshed = async (token: string, { clientId }: typeof keeping) => {
  const response = await refresh(app.url, token, { client_id: clientId });
  return {
    status: response.status,
    token: String(((await response.json()) as Record<string, unknown>)["refresh_token"]),
  };
};

it("a newly set idle limit ends no session in use, and an unused one as late after the setting as the limit says", async () => {
  const [active, idle] = [await tokenOf(keeping), await tokenOf(keeping)];
  app.clock.shift = 3 * DAY;
  expect((await refreshed(active, keeping)).status).toBe(200);
  await setLimit(keeping.clientId, DAY / 1000);
  app.clock.shift += HOUR;
  expect((await refreshed(active, keeping)).status).toBe(200);
  // another change of the client, or of the limit, gives nobody more time
  app.clock.shift += 22 * HOUR;
  await setLimit(keeping.clientId, DAY / 1000, { client_name: "Keeping" });
  app.clock.shift += 2 * HOUR;
  expect((await refreshed(idle, keeping)).status).toBe(401);
  expect((await refreshed(active, keeping)).status).toBe(401);
});

it("an idle limit that is set again does not judge by the last use of the time when there was one", async () => {
  await setLimit(keeping.clientId, DAY / 1000);
  const active = await tokenOf(keeping);
  expect((await refreshed(active, keeping)).status).toBe(200);
  await setLimit(keeping.clientId, undefined);
  app.clock.shift = 3 * DAY;
  expect((await refreshed(active, keeping)).status).toBe(200);
  await setLimit(keeping.clientId, DAY / 1000);
  app.clock.shift += HOUR;
  expect((await refreshed(active, keeping)).status).toBe(200);
  app.clock.shift += DAY - HOUR / 2;
  expect((await refreshed(active, keeping)).status).toBe(200);
  app.clock.shift += DAY;
  expect((await refreshed(active, keeping)).status).toBe(401);
});

it("a use that replaced the token counts, though there was no idle limit then", async () => {
  const token = await tokenOf(replacing);
  app.clock.shift = 3 * DAY;
  const next = await refreshed(token, replacing);
  // a limit of which the time is not known, as one that the previous release set
  const { clients } = app.context.store;
  const client = await clients.find(replacing.clientId);
  if (client === null) throw new Error("no such client");
  const metadata = { ...client.metadata, refresh_token_idle_ttl: DAY / 1000 };
  const limited = { ...client, metadata, idleLimitSince: null };
  const { sid } = JSON.parse(Buffer.from(next.token.split(".")[1] ?? "", "base64url").toString()) as { sid: string };
  const found = await app.context.store.authorizations.find(sid);
  if (found === null) throw new Error("no authorization");
  app.clock.shift += HOUR;
  expect(isIdle(app.context, limited, found)).toBe(false);
  app.clock.shift += DAY;
  expect(isIdle(app.context, limited, found)).toBe(true);
});
