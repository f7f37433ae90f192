import { request } from "node:http";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { authenticateCaller } from "../../../src/oauth/callers/callers.ts";
import { disableClient } from "../../../src/oauth/clients/clients.ts";
import { startApp, type TestApp } from "../../support/app.ts";

const secret = "a secret of at least thirty-two characters";
const subject = "CN=gateway,O=Example";
let app: TestApp;
beforeAll(async () => {
  const client = { grant_types: ["client_credentials"], scope: "auth.introspect", client_secret: secret };
  app = await startApp({}, [
    { ...client, client_id: "watcher", token_endpoint_auth_method: "client_secret_basic" },
    {
      ...client,
      client_id: "by-certificate",
      token_endpoint_auth_method: "client_secret_basic",
      tls_client_auth_subject_dn: subject,
    },
  ]);
});
afterAll(() => app.close());

test("a watch ends when its caller may no longer call", async () => {
  const calls = createClient(IntrospectionService, createGrpcTransport({ baseUrl: `http://${app.grpc}` }));
  const authorization = `Basic ${Buffer.from(`watcher:${encodeURIComponent(secret)}`).toString("base64")}`;
  const watch = async () => {
    let responses = 0;
    for await (const _ of calls.watchRevocations({}, { headers: { authorization }, timeoutMs: 60_000 })) {
      if (++responses === 8) await disableClient(app.context, "watcher");
    }
  };
  await expect(watch()).rejects.toMatchObject({ code: Code.Unauthenticated });
});

test("a caller with a certificate is known without the list of all clients, until its client is disabled", async () => {
  const { list } = app.context.store.clients;
  let lists = 0;
  app.context.store.clients.listOfOperator = () => {
    lists++;
    return list.call(app.context.store.clients);
  };
  const call = async () => {
    const credentials = { authorization: null, certificateSubject: subject, network: "127.0.0.1" };
    return (await authenticateCaller(app.context, credentials)).client.clientId;
  };
  for (let times = 0; times < 5; times++) expect(await call()).toBe("by-certificate");
  expect(lists).toBe(1);
  await disableClient(app.context, "by-certificate");
  await expect(call()).rejects.toMatchObject({ code: "unauthorized" });
  app.context.store.clients.listOfOperator = list;
});

test("S-176 two Authorization headers are refused on the internal HTTP listener too", async () => {
  const status = await new Promise((resolve, reject) => {
    request(
      `${app.internalUrl}/auth.v1.TokenService/GetJwks`,
      {
        method: "POST",
        headers: [
          "Host",
          "x",
          "Authorization",
          "Basic a",
          "Authorization",
          "Basic b",
          "Content-Type",
          "application/json",
        ],
      },
      (response) => resolve(response.resume().statusCode),
    )
      .once("error", reject)
      .end("{}");
  });
  expect(status).toBe(400);
});

test("S-185 a NUL in a text is INVALID_ARGUMENT over each protocol, an escaped backslash before u0000 is not", async () => {
  const headers = {
    authorization: `Basic ${Buffer.from("internal-service:internal-service-secret").toString("base64")}`,
  };
  const calls = createClient(IntrospectionService, createGrpcTransport({ baseUrl: `http://${app.grpc}` }));
  const refused = await calls
    .introspect({ token: "a\0b" }, { headers })
    .catch((error: unknown) => ConnectError.from(error).code);
  expect(refused).toBe(Code.InvalidArgument);
  const inner = await calls
    .batchIntrospect({ tokens: ["a", "b\0"] }, { headers })
    .catch((error: unknown) => ConnectError.from(error).code);
  expect(inner).toBe(Code.InvalidArgument);
  const json = async (body: string) => {
    const type = { "content-type": "application/json" };
    const url = `${app.internalUrl}/auth.v1.IntrospectionService/Introspect`;
    return (await fetch(url, { method: "POST", body, headers: { ...headers, ...type } })).status;
  };
  expect([await json('{"token":"a\\u0000"}'), await json('{"token":"a\\\\u0000"}')]).toEqual([400, 200]);
});
