import { utimesSync, writeFileSync } from "node:fs";
import { beforeEach, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp, testEnvironment } from "../../support/app.ts";
import { postForm } from "../../support/flow.ts";

const client = (id: string, secret: string, more: object = {}) => ({
  client_id: id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  scope: "read",
  ...more,
});
const [oldSecret, newSecret] = ["the-secret-of-last-year-0000", "the-secret-of-this-year-0000"];

describe("the clients file", () => {
  let env: Record<string, string>;
  beforeEach(async () => {
    env = await testEnvironment({}, []);
  });

  /** Starts a replica with a file of this content, written at this time (seconds since 1970). */
  async function replica(content: unknown, writtenAt: number): Promise<TestApp> {
    const { HTTP_PORT, GRPC_PORT, INTERNAL_HTTP_PORT, EVENTS_FILE, CLIENTS_FILE = "" } = await testEnvironment({}, []);
    writeFileSync(CLIENTS_FILE, JSON.stringify(content));
    utimesSync(CLIENTS_FILE, writtenAt, writtenAt);
    const ports = { HTTP_PORT, GRPC_PORT, INTERNAL_HTTP_PORT } as Record<string, string>;
    return startApp({ ...env, ...ports, EVENTS_FILE: EVENTS_FILE ?? "", CLIENTS_FILE });
  }

  const statusOf = async ({ url }: TestApp, id: string, secret: string) => {
    const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
    const form = { grant_type: "client_credentials" };
    return (await postForm(`http://127.0.0.1:${new URL(url).port}/oauth2/token`, form, { authorization })).status;
  };
  const warned = ({ logs }: TestApp) => logs.filter((line) => line.includes("is older than the one that was applied"));
  const feed = async ({ context }: TestApp) => (await context.store.revocations.after(0, 10_000, 0)).length;

  const before = [client("a", oldSecret), client("gone", oldSecret)];
  const after = [client("a", newSecret), client("b", newSecret)];

  it.each([
    ["by the time of the file", before, after, 2_000],
    ["by its version", { version: 7, clients: before }, { version: 8, clients: after }, 500],
    ["by its version where the older one has none", before, { version: 1, clients: after }, 500],
  ])("C-14 an older file that starts last changes nothing and says so, %s", async (_, older, newer, writtenAt) => {
    await (await replica(older, 1_000)).close();
    const deployed = await replica(newer, writtenAt);
    const late = await replica(older, 1_000);
    expect([warned(deployed).length, warned(late).length]).toEqual([0, 1]);
    expect(await statusOf(late, "b", newSecret)).toBe(200);
    expect(await statusOf(deployed, "a", newSecret)).toBe(200);
    expect(await statusOf(deployed, "gone", oldSecret)).toBe(401);
    await deployed.close();
    await late.close();
  });

  it("C-14 an unchanged file writes nothing, in whatever order its members are", async () => {
    const first = await replica(before, 1_000);
    const rows = await feed(first);
    await first.close();
    const again = await replica(before, 3_000);
    expect(await feed(again)).toBe(rows);
    await again.close();
    const turned = before.map((each) => Object.fromEntries(Object.entries(each).reverse()));
    const reordered = await replica(turned, 4_000);
    expect(await feed(reordered)).toBe(rows);
    await reordered.close();
  });

  it("C-14 what a replica that died half way left is set right by the file that was applied before", async () => {
    const first = await replica(before, 1_000);
    const { clients } = first.context.store;
    const known = await clients.find("a");
    if (known === null) throw new Error("no client");
    await clients.replaceMetadata("a", { ...known.metadata, scope: "write" }, "file", first.clock.now());
    await clients.disable("gone", "file", first.clock.now());
    await first.close();
    const again = await replica(before, 1_000);
    expect((await again.context.store.clients.find("a"))?.metadata.scope).toBe("read");
    expect(await statusOf(again, "gone", oldSecret)).toBe(200);
    await again.close();
  });

  it("C-14 a changed secret overlaps with the one before for an hour", async () => {
    await (await replica(before, 1_000)).close();
    const app = await replica(after, 2_000);
    expect([await statusOf(app, "a", oldSecret), await statusOf(app, "a", newSecret)]).toEqual([200, 200]);
    app.clock.shift = 3_601_000;
    await app.context.store.clients.endSecrets(app.clock.now());
    expect([await statusOf(app, "a", oldSecret), await statusOf(app, "a", newSecret)]).toEqual([401, 200]);
    await app.close();
  });

  it("C-14 two replicas that start at once with an old and a new file end with the new one", async () => {
    await (await replica([], 500)).close();
    const both = await Promise.all([replica(before, 1_000), replica(after, 2_000)]);
    for (const app of both) expect(await statusOf(app, "b", newSecret)).toBe(200);
    for (const app of both) await app.close();
  });
});
