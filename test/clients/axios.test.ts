import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import axios, { AxiosError } from "axios";
import { startApp, type TestApp } from "../support/app.ts";
import { getTokens, portal, postForm, signUp, uniqueEmail } from "../support/flow.ts";

describe("axios in Node.js as the client", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  it("signs up, and learns the code of a taken address", async () => {
    const account = { email: uniqueEmail(), password: "correct horse battery", nickname: "nick" };
    const { status, data } = await axios.post(`${app.url}/api/users/signup`, account);
    expect([status, data.success, data.data.email]).toEqual([201, true, account.email]);
    const again = await axios.post(`${app.url}/api/users/signup`, account).catch((error: AxiosError) => error.response);
    expect(again).toMatchObject({ status: 409, data: { error: { code: "AUTH_EMAIL_DUPLICATE" } } });
  });

  it("S-056 refreshes with JSON while an expired Bearer token is sent too, and calls with the new token", async () => {
    const account = await signUp(app.url);
    const tokens = await getTokens(app.url, account);
    const api = axios.create({ baseURL: app.url, headers: { Authorization: `Bearer ${tokens.access_token}` } });
    app.clock.shift = 180_000;
    try {
      const expired = await api.get("/api/users/me").catch((error: AxiosError) => error.response);
      expect(expired).toMatchObject({ status: 401, data: { error: "Token Expired" } });
      const { data } = await api.post("/oauth2/token", {
        grant_type: "refresh_token",
        refresh_token: tokens.refresh_token,
        client_id: portal.clientId,
      });
      expect(data.refresh_token).toBe(tokens.refresh_token);
      api.defaults.headers["Authorization"] = `Bearer ${data.access_token}`;
      expect((await api.get("/api/users/me")).data.data.uuid).toBe(account.uuid);
    } finally {
      app.clock.shift = 0;
    }
  });

  it("posts URLSearchParams as the form that the token endpoint reads", async () => {
    const form = new URLSearchParams({ grant_type: "client_credentials", scope: "auth.introspect" });
    const auth = { username: "internal-service", password: "internal-service-secret" };
    const { data } = await axios.post(`${app.url}/oauth2/token`, form, { auth });
    expect(data).toMatchObject({ token_type: "Bearer", scope: "auth.introspect" });
  });

  it("S-061 an interceptor that refreshes on every 401 meets 429 on the third refusal, and stops", async () => {
    const tokens = await getTokens(app.url, await signUp(app.url));
    await postForm(`${app.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: portal.clientId });
    const api = axios.create({ baseURL: app.url });
    const statuses: unknown[] = [];
    const refresh = (): Promise<unknown> =>
      api.post("/oauth2/token", {
        grant_type: "refresh_token",
        refresh_token: tokens.refresh_token,
        client_id: portal.clientId,
      });
    api.interceptors.response.use(undefined, (error: AxiosError) => {
      statuses.push(error.response?.status);
      if (error.response?.status === 401) return refresh();
      throw error;
    });
    await expect(refresh()).rejects.toBeInstanceOf(AxiosError);
    expect(statuses).toEqual([401, 401, 429]);
  });
});
