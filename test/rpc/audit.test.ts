import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { status as grpcStatus } from "@grpc/grpc-js";
import { expect, test } from "@jest/globals";
import { ListUsersRequestSchema } from "../../gen/auth/v1/user_pb.ts";
import { methodsOf } from "../../src/rpc/edge.ts";
import { app, grpcCall, transports, useInternalApp, worker } from "./internal-app.ts";
import { frame } from "./raw-peers.ts";
import { call, protocols, standInParts } from "./stand-ins.ts";

useInternalApp();

test("every administrative call leaves one line with client, method, target and outcome, and no secret", async () => {
  const methods = methodsOf(standInParts().registrations).filter(({ audited }) => audited);
  expect(methods.map(({ name }) => name.replace("auth.v1.", "")).sort()).toEqual([
    "TokenService/DistrustSigningKey",
    "TokenService/IssueToken",
    "TokenService/RevokeAuthorization",
    "TokenService/RevokeToken",
    "TokenService/RotateSigningKey",
    "TokenService/WithdrawConsent",
    "UserService/AddPasskey",
    "UserService/AddTotp",
    "UserService/BeginPasskey",
    "UserService/BeginPasskeySignUp",
    "UserService/BeginTotp",
    "UserService/CancelDeletion",
    "UserService/ChangePassword",
    "UserService/DeleteUser",
    "UserService/DisableUser",
    "UserService/EnableUser",
    "UserService/EndSessions",
    "UserService/MakeRecoveryCodes",
    "UserService/RemovePasskey",
    "UserService/RemoveTotp",
    "UserService/RenamePasskey",
    "UserService/RequestDeletion",
    "UserService/RequestEmailChange",
    "UserService/RequestEmailVerification",
    "UserService/RequestPasswordReset",
    "UserService/ResetFactors",
    "UserService/ResetPassword",
    "UserService/SignUp",
    "UserService/SignUpWithPasskey",
    "UserService/UpdateUser",
    "UserService/VerifyEmail",
  ]);
  const target = "11111111-2222-4333-8444-555555555555";
  const secrets = {
    password: "hunter2-password",
    currentPassword: "hunter2-current",
    newPassword: "hunter2-new-one",
    token: "hunter2-token",
    clientSecret: "hunter2-secret",
    refreshToken: "hunter2-refresh",
    code: "hunter2-code",
    codeVerifier: "hunter2-verifier",
    email: "hunter2@example.test",
  };
  for (const protocol of protocols) {
    for (const { desc, name } of methods) {
      const named = new Set(desc.input.fields.map(({ localName }) => localName));
      const targets: Record<string, string> = {
        uuid: target,
        sid: target,
        clientId: named.has("token") ? "" : "nobody-here",
      };
      const request = Object.fromEntries(
        Object.entries({ ...secrets, ...targets }).filter(([field]) => named.has(field)),
      );
      app.logs.length = 0;
      const outcome = await call(transports[protocol]!, desc, request, worker.authorization).then(
        () => "OK",
        (error) => grpcStatus[ConnectError.from(error).code],
      );
      const lines = app.logs.map((line) => JSON.parse(line)).filter(({ audit }) => audit !== undefined);
      expect(lines).toMatchObject([{ audit: name, client: "worker", network: "127.0.0.1", outcome }]);
      const about = [request["uuid"], request["sid"], request["clientId"]].find(
        (value) => value !== undefined && value !== "",
      );
      if (about !== undefined) expect(lines[0].target).toBe(about);
      expect(app.logs.join("")).not.toContain("hunter2");
    }
  }
});

test("reading, a list of users included, leaves no administrative line", async () => {
  app.logs.length = 0;
  await grpcCall("UserService/ListUsers", frame(toBinary(ListUsersRequestSchema, create(ListUsersRequestSchema))));
  expect(app.logs.filter((line) => line.includes('"audit"'))).toEqual([]);
});
