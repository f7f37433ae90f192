import { status as grpcStatus } from "@grpc/grpc-js";
import { expect, test } from "@jest/globals";
import { startApp } from "../support/app.ts";
import { client, internal, useInternalApp, worker } from "./internal-app.ts";
import { bytesField, frame, RawGrpc } from "./raw-peers.ts";
import { reflect } from "./reflection-client.ts";
import { services } from "./stand-ins.ts";

useInternalApp();

test("S-191 in production reflection needs an internal scope, and health needs nothing", async () => {
  const production = await startApp({ NODE_ENV: "production", ALLOW_SQLITE: "1", ISSUER: "https://auth.example.com" }, [
    client("worker", internal),
  ]);
  try {
    const { Metadata } = await import("@grpc/grpc-js");
    await expect(reflect(production.grpc, "v1", "auth.v1.UserService", new Metadata())).rejects.toMatchObject({
      code: grpcStatus.UNAUTHENTICATED,
    });
    const authorized = new Metadata();
    authorized.set("authorization", worker.authorization);
    await expect(reflect(production.grpc, "v1", "auth.v1.UserService", authorized)).resolves.toBeDefined();
    const session = new RawGrpc(production.grpc);
    for (const service of ["", ...services.map(({ typeName }) => typeName)]) {
      const answer = await session.call("/grpc.health.v1.Health/Check", frame(bytesField(1, service)));
      expect([service, answer.status]).toEqual([service, 0]);
    }
    session.close();
  } finally {
    await production.close();
  }
});
