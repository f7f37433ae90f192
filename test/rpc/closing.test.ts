import { Code, createClient } from "@connectrpc/connect";
import { expect, test } from "@jest/globals";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { startApp } from "../support/app.ts";
import { client, internal, refusalOf, secret, useInternalApp, worker } from "./internal-app.ts";
import { frame, RawGrpc } from "./raw-peers.ts";
import { protocols, transportsTo } from "./stand-ins.ts";

useInternalApp();

test("a closing service ends watchers with UNAVAILABLE and connections with GOAWAY, and reports revocations until then", async () => {
  const closing = await startApp({}, [client("worker", internal)]);
  const ways = transportsTo(Number(closing.grpc.split(":")[1]), Number(new URL(closing.internalUrl).port));
  const session = new RawGrpc(closing.grpc);
  expect((await session.call("/auth.v1.TokenService/GetJwks", frame(Buffer.alloc(0)), worker)).status).toBe(0);
  const heard: Record<string, string[]> = {};
  const watching = protocols.map(async (protocol) => {
    heard[protocol] = [];
    const stream = createClient(IntrospectionService, ways[protocol]!).watchRevocations({}, { headers: worker });
    for await (const { revocations } of stream)
      heard[protocol]!.push("heartbeat", ...revocations.map(({ value }) => value));
  });
  const ends = watching.map(refusalOf);
  const hears = async (what: string) => {
    while (!protocols.every((protocol) => heard[protocol]?.includes(what)))
      await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await hears("heartbeat");
  const tokens = createClient(TokenService, ways["gRPC"]!);
  const { accessToken } = await tokens.issueToken(
    { grantType: "client_credentials", clientId: "worker", clientSecret: secret },
    { headers: worker },
  );
  const { jti } = JSON.parse(Buffer.from(accessToken.split(".")[1] ?? "", "base64url").toString()) as { jti: string };
  await tokens.revokeToken({ token: accessToken }, { headers: worker });
  await hears(jti);
  const startedAt = performance.now();
  await closing.close();
  expect(performance.now() - startedAt).toBeLessThan(25_000);
  expect((await Promise.all(ends)).map(({ code }) => Code[code])).toEqual(protocols.map(() => "Unavailable"));
  expect(await session.goneAway).toBe(0);
  session.close();
});
