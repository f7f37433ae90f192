import { getOption } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { required_scope } from "../../gen/auth/v1/options_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { AuthError, type AuthErrorCode } from "../../src/errors.ts";
import { methodsOf, register } from "../../src/rpc/edge.ts";
import { allMethods, call, protocols, standInParts, startEdges } from "./stand-ins.ts";

let failWith: unknown;
/** Ends the calls that are being worked on. */
const underWay: (() => void)[] = [];
let edges: Awaited<ReturnType<typeof startEdges>>;

beforeAll(async () => {
  edges = await startEdges({
    getUser: async () => {
      throw failWith;
    },
    deleteUser: async () => {
      throw failWith;
    },
    introspect: async () => ({ active: true, exp: 1_900_000_000n, aud: ["portal-client"] }),
    authorize: () => new Promise((resolve) => underWay.push(() => resolve({ allowed: true }))),
  });
});
afterAll(async () => {
  for (const end of underWay) end();
  await edges.close();
});
beforeEach(() => {
  failWith = undefined;
  edges.logged.length = 0;
  edges.reached.length = 0;
});

const refusalOf = (calling: Promise<unknown>): Promise<ConnectError> =>
  calling.then(
    () => {
      throw new Error("the call was answered");
    },
    (error) => ConnectError.from(error),
  );

describe.each(protocols)("over %s", (protocol) => {
  const transport = () => edges.transports[protocol]!;

  test.each(allMethods.map((method) => [method.name, method] as const))(
    "S-181 %s refuses callers without the right credentials",
    async (_name, method) => {
      const scope = getOption(method, required_scope);
      const other = scope === "auth.introspect" ? "auth.tokens" : "auth.introspect";
      const cases = [
        [undefined, Code.Unauthenticated, "Unauthorized"],
        ["Bearer nonsense", Code.Unauthenticated, "Invalid Token"],
        ["Bearer expired", Code.Unauthenticated, "Token Expired"],
        [`Bearer ${other}`, Code.PermissionDenied, "Forbidden"],
        ["Bearer none", Code.PermissionDenied, "Forbidden"],
        ["Bearer user", Code.PermissionDenied, "Forbidden"],
      ] as const;
      for (const [authorization, code, message] of cases) {
        const refused = await refusalOf(call(transport(), method, {}, authorization));
        expect([refused.code, refused.rawMessage]).toEqual([code, message]);
        expect(refused.findDetails(ErrorDetailSchema)).toMatchObject([{ code: message }]);
      }
      expect(edges.reached).toEqual([]);
    },
  );

  test("a caller with the scope reaches the handler", async () => {
    const answer = await createClient(IntrospectionService, transport()).introspect(
      { token: "t" },
      { headers: { authorization: "Bearer auth.introspect" } },
    );
    expect(answer).toMatchObject({ active: true, exp: 1_900_000_000n, aud: ["portal-client"] });
    expect(edges.reached).toEqual(["introspect"]);
  });

  const getUser = () =>
    refusalOf(createClient(UserService, transport()).getUser({}, { headers: { authorization: "Bearer all" } }));

  test.each([
    ["email_taken", Code.AlreadyExists, "AUTH_EMAIL_DUPLICATE"],
    ["invalid_input", Code.InvalidArgument, "AUTH_INVALID_REQUEST"],
    ["invalid_credentials", Code.FailedPrecondition, "AUTH_INVALID_CREDENTIALS"],
    ["reset_token_invalid", Code.FailedPrecondition, "AUTH_RESET_TOKEN_INVALID"],
    ["refresh_rejected", Code.FailedPrecondition, "invalid_grant"],
    ["invalid_client", Code.Unauthenticated, "invalid_client"],
    ["unauthorized_client", Code.PermissionDenied, "unauthorized_client"],
    ["not_found", Code.NotFound, "AUTH_NOT_FOUND"],
    ["unavailable", Code.Unavailable, "AUTH_UNAVAILABLE"],
  ] as [AuthErrorCode, Code, string][])("%s has its status and a detail that decodes", async (code, status, wire) => {
    const violations = [{ field: "email", message: "must be an e-mail address" }];
    failWith = new AuthError(code, "wrong: 100 % of it, ümlaut", {
      violations: violations.map((each) => ({ ...each, rule: "not_an_email" })),
    });
    const refused = await getUser();
    expect([refused.code, refused.rawMessage]).toEqual([status, "wrong: 100 % of it, ümlaut"]);
    expect(refused.findDetails(ErrorDetailSchema)).toMatchObject([
      { code: wire, description: "wrong: 100 % of it, ümlaut", retryAfterSeconds: 0, violations },
    ]);
  });

  test("a limit says when to come back, for people and for machines", async () => {
    failWith = new AuthError("rate_limited", "too many attempts", { retryAfter: 7.2 });
    const refused = await getUser();
    expect(refused.code).toBe(Code.ResourceExhausted);
    expect(refused.metadata.get("retry-after")).toBe("8");
    expect(refused.findDetails(ErrorDetailSchema)).toMatchObject([{ code: "AUTH_RATE_LIMITED", retryAfterSeconds: 8 }]);
    expect(JSON.stringify(refused.details)).toContain("google.rpc.RetryInfo");
  });

  test("S-189 an unexpected error reveals nothing and is logged with its cause", async () => {
    failWith = new Error("SELECT * FROM users WHERE secret = 'hunter2'", { cause: new Error("socket /var/run/db") });
    const refused = await getUser();
    expect([refused.code, refused.rawMessage, refused.details]).toEqual([Code.Internal, "internal error", []]);
    expect(JSON.stringify([...refused.metadata])).not.toMatch(/hunter2|SELECT|\.ts/);
    expect(edges.logged.join("")).toContain("socket /var/run/db");
  });

  test("a handler that rejects without an error is still answered", async () => {
    expect((await getUser()).code).toBe(Code.Internal);
  });

  test("S-186 a deadline is honoured while the handler works", async () => {
    const client = createClient(IntrospectionService, transport());
    const startedAt = performance.now();
    const options = { headers: { authorization: "Bearer all" }, timeoutMs: 100 };
    const refused = await refusalOf(client.authorize({}, options));
    expect(refused.code).toBe(Code.DeadlineExceeded);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  test("administrative calls are logged with caller, method, target and outcome", async () => {
    const client = createClient(UserService, transport());
    const headers = { authorization: "Bearer auth.users.write" };
    await client.changePassword({ uuid: "u-1", currentPassword: "old secret", newPassword: "new secret" }, { headers });
    failWith = new AuthError("not_found", "no such user");
    await refusalOf(client.deleteUser({ uuid: "u-2" }, { headers }));
    await refusalOf(client.deleteUser({ uuid: "u-3" }, { headers: { authorization: "Bearer auth.tokens" } }));
    const lines = edges.logged.map((line) => JSON.parse(line)).filter((line) => line.audit !== undefined);
    expect(lines).toMatchObject([
      {
        audit: "auth.v1.UserService/ChangePassword",
        client: "client of auth.users.write",
        target: "u-1",
        outcome: "OK",
      },
      { audit: "auth.v1.UserService/DeleteUser", target: "u-2", outcome: "NOT_FOUND" },
      { audit: "auth.v1.UserService/DeleteUser", client: "client of auth.tokens", outcome: "PERMISSION_DENIED" },
    ]);
    expect(edges.logged.join("")).not.toContain("secret");
  });
});

test("every call is counted by edge, method and status", async () => {
  failWith = new AuthError("not_found", "no such user");
  for (const protocol of protocols) {
    const client = createClient(UserService, edges.transports[protocol]!);
    await refusalOf(client.deleteUser({}, { headers: { authorization: "Bearer all" } }));
    await refusalOf(client.deleteUser({}));
  }
  const text = await edges.ctx.metrics.registry.metrics();
  for (const edge of ["grpc", "connect"]) {
    for (const outcome of ["NOT_FOUND", "UNAUTHENTICATED"]) {
      expect(text).toContain(`auth_request_seconds_count{edge="${edge}",operation="DeleteUser",outcome="${outcome}"}`);
    }
  }
});

test("S-181 a method whose contract names no scope keeps the server from starting", () => {
  const { registrations } = standInParts();
  const method = { ...UserService.methods[0]!, proto: { ...UserService.methods[0]!.proto, options: undefined } };
  const service = { ...UserService, methods: [method] } as never;
  expect(() => methodsOf([{ service, implementation: registrations[2]!.implementation }])).toThrow(
    /GetUser names no required_scope/,
  );
});

test("a service with a method that is not implemented keeps the server from starting", () => {
  expect(() => methodsOf([register(UserService, {} as never)])).toThrow(/GetUser has no implementation/);
});
