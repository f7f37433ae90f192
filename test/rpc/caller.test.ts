import { randomBytes } from "node:crypto";
import { Code, createClient } from "@connectrpc/connect";
import { status as grpcStatus } from "@grpc/grpc-js";
import { describe, expect, test } from "@jest/globals";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { introspect } from "../../src/oauth/tokens/introspection.ts";
import { heapInUse } from "../support/heap.ts";
import {
  app,
  basic,
  bearer,
  post,
  raw,
  refusalOf,
  rows,
  transports,
  useInternalApp,
  wholeScope,
  worker,
} from "./internal-app.ts";
import { frame } from "./raw-peers.ts";
import { allMethods, call, protocols } from "./stand-ins.ts";

useInternalApp();

describe.each(protocols)("credentials over %s", (protocol) => {
  const outcomes = (authorization: string | undefined) =>
    Promise.all(
      allMethods.map(async (method) => {
        const refused = await refusalOf(call(transports[protocol]!, method, {}, authorization));
        return `${method.name}: ${Code[refused.code]} ${refused.rawMessage}`;
      }),
    );
  const every = (outcome: string) => allMethods.map((method) => `${method.name}: ${outcome}`);

  test("S-181 no method answers without credentials", async () => {
    expect(await outcomes(undefined)).toEqual(every("Unauthenticated Unauthorized"));
  });

  test("S-181 no method answers an end user's token", async () => {
    expect(await outcomes(`Bearer ${bearer["user"]}`)).toEqual(every("PermissionDenied Forbidden"));
  });

  test("S-181 no method answers a client that has every scope but the method's", async () => {
    const refused = await Promise.all(
      allMethods.map(async (method) => {
        const authorization = basic(`all-but-${wholeScope(method)}`);
        return Code[(await refusalOf(call(transports[protocol]!, method, {}, authorization))).code];
      }),
    );
    expect(refused).toEqual(allMethods.map(() => "PermissionDenied"));
  });

  test("S-181 no method answers a token that is changed, cut, of another kind or for another audience", async () => {
    const { good, user, ...bad } = bearer;
    for (const [what, token] of Object.entries(bad)) {
      expect([what, await outcomes(`Bearer ${token}`)]).toEqual([what, every("Unauthenticated Invalid Token")]);
    }
    const introspection = createClient(IntrospectionService, transports[protocol]!);
    const headers = { authorization: `Bearer ${good}` };
    expect((await introspection.introspect({ token: user ?? "" }, { headers })).active).toBe(true);
  });

  test("S-181 introspection answers inactive for changed tokens and for tokens of another resource", async () => {
    const introspection = createClient(IntrospectionService, transports[protocol]!);
    const { good, user, id, refresh, ...bad } = bearer;
    const { responses } = await introspection.batchIntrospect(
      { tokens: [...Object.values(bad), id!, refresh!] },
      { headers: worker },
    );
    expect(responses.filter((response) => response.active || response.sub !== "" || response.exp !== 0n)).toEqual([]);
  });
});

test("S-181 unknown methods and services are UNIMPLEMENTED or 404, with credentials and without", async () => {
  for (const path of ["UserService/Nothing", "Nothing/GetUser", "UserService/getUser", "UserService/../GetUser"]) {
    for (const headers of [worker, { authorization: "" }]) {
      expect(grpcStatus[(await raw.call(`/auth.v1.${path}`, frame(Buffer.alloc(0)), headers)).status]).toBe(
        "UNIMPLEMENTED",
      );
      expect((await post(path, "{}", headers)).status).toBe(404);
    }
  }
});

test("a hundred thousand garbage tokens leave no rows or memory behind, and evict no verified token", async () => {
  const client = (await app.context.store.clients.find("worker"))!;
  const caller = { client, scopes: new Set(["auth.introspect"]) };
  await introspect(app.context, caller, bearer["good"]!);
  const remembered = app.context.verifiedTokens.find(bearer["good"]!);
  expect(remembered).toMatchObject({ kept: true });
  const [head = "", body = ""] = bearer["good"]!.split(".");
  const before = rows();
  const garbage = async (count: number, make: () => string) => {
    for (let done = 0; done < count; done += 500) {
      const answers = await Promise.all(Array.from({ length: 500 }, () => introspect(app.context, caller, make())));
      expect(answers.every(({ active }) => !active)).toBe(true);
    }
  };
  await garbage(5_000, () => `a.${randomBytes(20).toString("base64url")}.b`);
  const heapBefore = heapInUse();
  await garbage(45_000, () => randomBytes(24).toString("base64url"));
  await garbage(
    45_000,
    () => `${randomBytes(20).toString("base64url")}.${body}.${randomBytes(64).toString("base64url")}`,
  );
  await garbage(5_000, () => `${head}.${body}.${randomBytes(64).toString("base64url")}`);
  // remembered, each would take a kilobyte and more
  expect(heapInUse() - heapBefore).toBeLessThan(30 * 1024 * 1024);
  expect(app.context.verifiedTokens.find(bearer["good"]!)).toBe(remembered);
  expect(rows()).toEqual(before);
});
