import { copyFileSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp, testEnvironment } from "../support/app.ts";
import {
  authorizeUrl,
  getTokens,
  internalBasic,
  introspect,
  postForm,
  refresh,
  signUp,
  type TestBrowser,
} from "../support/flow.ts";
import { Program } from "./program.ts";

describe("C-20 F-30 after an older backup was restored", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp(await testEnvironment());
  });
  afterAll(() => app?.close());

  const isSignedIn = async (browser: TestBrowser) =>
    (await browser.get(authorizeUrl(app.url, { extra: { prompt: "none" } }))).headers
      .get("location")
      ?.includes("code=") === true;

  it("revoke-everything ends the sessions and tokens that the backup brought back, and users can sign in again", async () => {
    const { env } = app;
    const file = String(env["DATABASE_URL"]).replace("sqlite:", "");
    const user = await signUp(app.url);
    const { browser, ...tokens } = await getTokens(app.url, user);
    const form = { grant_type: "client_credentials", scope: "auth.introspect" };
    const answer = await postForm(`${app.url}/oauth2/token`, form, { authorization: internalBasic });
    const { access_token: machine } = (await answer.json()) as { access_token: string };
    await app.close();
    copyFileSync(file, `${file}.backup`);

    app = await startApp(env);
    await app.context.store.sessions.endAllOf(user.uuid, app.clock.now());
    const later = await getTokens(app.url, user);
    await app.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
    copyFileSync(`${file}.backup`, file);

    app = await startApp(env);
    // what the backup brings back
    expect((await introspect(app.url, tokens.access_token))["active"]).toBe(true);
    expect(await isSignedIn(browser)).toBe(true);
    await app.close();

    const program = await Program.empty(env);
    const asked = await program.run(["revoke-everything"]);
    expect([asked.status, asked.stderr]).toEqual([2, expect.stringContaining("--yes")]);
    const done = await program.run(["revoke-everything", "--yes", "--json"]);
    expect([done.status, done.json()]).toEqual([0, { distrustedKeys: 3, deletedRows: expect.any(Number) }]);

    app = await startApp(env);
    for (const token of [tokens.access_token, later.access_token, machine]) {
      expect(await introspect(app.url, token)).toEqual({ active: false });
    }
    for (const { refresh_token } of [tokens, later]) {
      expect((await refresh(app.url, refresh_token ?? "")).status).toBe(401);
    }
    expect([await isSignedIn(browser), await isSignedIn(later.browser)]).toEqual([false, false]);
    const anew = await getTokens(app.url, user);
    expect((await introspect(app.url, anew.access_token))["active"]).toBe(true);
    expect((await refresh(app.url, anew.refresh_token ?? "")).status).toBe(200);
  });
});
