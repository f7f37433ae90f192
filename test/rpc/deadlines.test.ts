import { create, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "@jest/globals";
import { SignUpRequestSchema, UserService } from "../../gen/auth/v1/user_pb.ts";
import { getTokens, signUp, uniqueEmail } from "../support/flow.ts";
import { app, post, proto, refusalOf, rows, statusOf, transports, useInternalApp, worker } from "./internal-app.ts";
import { frame } from "./raw-peers.ts";

useInternalApp();

describe("F-43 deadlines", () => {
  const account = () =>
    create(SignUpRequestSchema, { email: uniqueEmail(), password: "correct horse battery", nickname: "n" });
  /** What was abandoned would have been written by then: hashes take their turns, so that these end last. */
  const settled = async () => {
    await Promise.all(Array.from({ length: 16 }, () => app.context.passwords.hash("correct horse battery")));
    await new Promise((resolve) => setTimeout(resolve, 600));
  };

  test.each([
    ["1n", "DEADLINE_EXCEEDED"],
    ["1u", "DEADLINE_EXCEEDED"],
    ["0S", "DEADLINE_EXCEEDED"],
    ["99999999H", "OK"],
    ["1H", "OK"],
    ["-1S", "INVALID_ARGUMENT"],
    ["abc", "INVALID_ARGUMENT"],
    ["1", "INVALID_ARGUMENT"],
    ["1.5S", "INVALID_ARGUMENT"],
    ["123456789S", "INVALID_ARGUMENT"],
  ])("S-186 grpc-timeout %s is answered with %s", async (timeout, expected) => {
    expect(await statusOf("TokenService/GetJwks", frame(Buffer.alloc(0)), { "grpc-timeout": timeout })).toBe(expected);
  });

  test.each(["abc", "-1", "1.5", "99999999999"])("S-186 connect-timeout-ms %s is INVALID_ARGUMENT", async (timeout) => {
    const answer = await post("TokenService/GetJwks", "{}", { "connect-timeout-ms": timeout });
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([400, "invalid_argument"]);
  });

  test("S-186 a sign-up past its deadline writes no user, no event and no count", async () => {
    const before = rows();
    const bytes = () => Buffer.from(toBinary(SignUpRequestSchema, account()));
    for (let run = 0; run < 5; run++) {
      expect(await statusOf("UserService/SignUp", frame(bytes()), { "grpc-timeout": "0m" })).toBe("DEADLINE_EXCEEDED");
      expect((await post("UserService/SignUp", bytes(), { ...proto, "connect-timeout-ms": "0" })).status).toBe(504);
    }
    await settled();
    expect(rows()).toEqual(before);
    // hashing the password takes longer than this
    for (let run = 0; run < 5; run++) {
      const answers = [
        await statusOf("UserService/SignUp", frame(bytes()), { "grpc-timeout": "5m" }),
        (await post("UserService/SignUp", bytes(), { ...proto, "connect-timeout-ms": "5" })).status,
      ];
      expect(answers).toEqual(["DEADLINE_EXCEEDED", 504]);
    }
    await settled();
    expect(rows()["users"]).toBe(before["users"]);
    expect(rows()["outbox"]).toBe(before["outbox"]);
  });

  test("S-186 a change of password past its deadline leaves the old one", async () => {
    const owner = await signUp(app.url);
    for (const protocol of ["gRPC", "Connect binary"]) {
      const users = createClient(UserService, transports[protocol]!);
      const change = { uuid: owner.uuid, currentPassword: owner.password, newPassword: "another long password" };
      const refused = await refusalOf(users.changePassword(change, { headers: worker, timeoutMs: 20 }));
      expect(refused.code).toBe(Code.DeadlineExceeded);
    }
    await settled();
    expect((await getTokens(app.url, owner)).token_type).toBe("Bearer");
  });

  test("S-186 a client that hangs up while its password is hashed has no account", async () => {
    const before = rows()["users"];
    for (const protocol of ["gRPC", "Connect binary", "Connect JSON", "gRPC-Web"]) {
      const hangUp = new AbortController();
      const users = createClient(UserService, transports[protocol]!);
      const calling = refusalOf(users.signUp(account(), { headers: worker, signal: hangUp.signal }));
      setTimeout(() => hangUp.abort(), 8);
      await calling;
    }
    await settled();
    expect(rows()["users"]).toBe(before);
  });
});
