import { Code, ConnectError } from "@connectrpc/connect";
import { status as grpcStatus } from "@grpc/grpc-js";
import { describe, expect, test } from "@jest/globals";
import { claimsOf } from "../support/flow.ts";
import {
  app,
  bearer,
  grpcCall,
  post,
  proto,
  sampleOf,
  secret,
  stillServes,
  transports,
  useInternalApp,
  worker,
} from "./internal-app.ts";
import { frame } from "./raw-peers.ts";
import { allMethods, call, protocols } from "./stand-ins.ts";

useInternalApp();

const telling =
  /SELECT|INSERT|password_hash|sqlite|mysql|node_modules|\.ts\b|\.js\b| {4}at |127\.0\.0\.1|localhost|ECONN|hunter2|db-1|fastify|grpc-node/i;

test("S-189 no error answer reveals SQL, stacks, files, hosts or versions", async () => {
  const answers: string[] = [];
  const ask = async (path: string, bytes: Uint8Array, headers: Record<string, string> = {}) => {
    const { status, message, details, headers: sent } = await grpcCall(path, frame(bytes), headers);
    const { "grpc-status-details-bin": _, date, ...others } = sent;
    answers.push(`${grpcStatus[status]} ${message} ${details.toString("latin1")} ${JSON.stringify(others)}`);
    const overConnect = await post(path, bytes, { ...proto, ...headers });
    const { date: __, ...head } = Object.fromEntries(overConnect.headers);
    const text = await overConnect.text();
    const inner = [...text.matchAll(/"value":"([^"]*)"/g)].map(([, value = ""]) =>
      Buffer.from(value, "base64").toString("latin1"),
    );
    answers.push(`${overConnect.status} ${text} ${inner} ${JSON.stringify(head)}`);
  };
  for (const method of allMethods.filter(({ name }) => !/RotateSigningKey|WatchRevocations/.test(name))) {
    const path = `${method.parent.typeName.replace("auth.v1.", "")}/${method.name}`;
    await ask(path, sampleOf(method.input));
    await ask(path, Buffer.from("ffff", "hex"));
    await ask(path, Buffer.alloc(0), { authorization: "Bearer x" });
    await ask(path, Buffer.alloc(0), { authorization: "" });
    await ask(path, Buffer.alloc(0), { authorization: "Basic !!!" });
  }
  await ask("Nothing/Nothing", Buffer.alloc(0));
  expect(answers.filter((answer) => telling.test(answer))).toEqual([]);
});

describe("S-189 with unexpected errors of the store", () => {
  const leak = "SELECT password_hash FROM users -- at /srv/auth/src/users.ts:12 on db-1.internal:3306 hunter2";
  const uuid = "00000000-0000-4000-8000-000000000000";
  /** What reaches the store. */
  const requestsWith = (ofNobody: string): Record<string, object> => ({
    Introspect: { token: ofNobody },
    BatchIntrospect: { tokens: [ofNobody] },
    Authorize: { token: ofNobody },
    IssueToken: { grantType: "client_credentials", clientId: "nobody", clientSecret: secret },
    RevokeToken: { token: bearer["good"] },
    ListAuthorizations: { uuid },
    RevokeAuthorization: { sid: uuid },
    WithdrawConsent: { uuid, clientId: "worker" },
    DistrustSigningKey: { kid: "some" },
    GetUser: { uuid },
    GetUserByEmail: { email: "a@example.test" },
    BatchGetUsers: { uuids: [uuid] },
    SignUp: { email: "a@example.test", password: "correct horse battery", nickname: "n" },
    BeginPasskeySignUp: { email: "a@example.test", nickname: "n" },
    SignUpWithPasskey: {
      ...{ uuid, attempt: "x", email: "a@example.test", nickname: "n" },
      ...{ credentialJson: "{}", name: "Phone" },
    },
    UpdateUser: { uuid, nickname: "n", updateMask: { paths: ["nickname"] } },
    ChangePassword: { uuid, currentPassword: "correct horse battery", newPassword: "correct horse batteries" },
    RequestPasswordReset: { email: "a@example.test" },
    RequestDeletion: { uuid },
    CancelDeletion: { uuid },
    ExportUser: { uuid },
    RequestEmailVerification: { email: "a@example.test" },
    RequestEmailChange: { uuid, email: "a@example.test", currentPassword: "correct horse batteries" },
    VerifyEmail: { token: "x".repeat(43) },
    ResetPassword: { token: "x".repeat(43), newPassword: "correct horse batteries" },
    DisableUser: { uuid },
    EnableUser: { uuid },
    EndSessions: { uuid },
    ListFactors: { uuid },
    ResetFactors: { uuid },
    BeginPasskey: { uuid },
    AddPasskey: { uuid, attempt: "x", credentialJson: "{}", name: "Phone" },
    BeginTotp: { uuid },
    AddTotp: { uuid, sealedSecret: "x", code: "000000" },
    MakeRecoveryCodes: { uuid },
    RemovePasskey: { uuid, credentialId: "c" },
    RenamePasskey: { uuid, credentialId: "c", name: "n" },
    RemoveTotp: { uuid },
    DeleteUser: { uuid },
    GetJwks: {},
    ListUsers: {},
    RotateSigningKey: {},
  });

  async function whileAllFails(work: () => Promise<void>): Promise<void> {
    const { users, emailVerifications, factors, clients, authorizations, keys, sessions, limits } = app.context.store;
    const stores = [
      users,
      emailVerifications,
      factors,
      clients,
      authorizations,
      keys,
      sessions,
      limits,
    ] as object[] as Record<string, unknown>[];
    const before = stores.map((store) => ({ ...store }));
    const fail = async () => {
      throw new Error(leak, { cause: new Error("connect ECONNREFUSED 10.1.2.3:3306") });
    };
    for (const store of stores) {
      const names = [...Object.keys(store), ...Object.getOwnPropertyNames(Object.getPrototypeOf(store))];
      for (const name of names) if (name !== "constructor" && typeof store[name] === "function") store[name] = fail;
    }
    try {
      await work();
    } finally {
      for (const [index, store] of stores.entries()) {
        for (const name of Object.keys(store)) delete store[name];
        Object.assign(store, before[index]);
      }
    }
  }

  test.each(protocols)("every method answers 'internal error' over %s, and the log has the rest", async (protocol) => {
    const claims = { ...claimsOf(bearer["good"] ?? ""), client_id: "nobody", aud: "worker" };
    const requests = requestsWith(app.context.keys.sign("access", "ES256", "at+jwt", claims).token);
    // what tells who calls is in memory from here on
    await stillServes();
    app.logs.length = 0;
    const answers: Record<string, string> = {};
    // what a watch says it knows already
    const methods = allMethods.filter(({ name }) => name !== "WatchRevocations");
    await whileAllFails(async () => {
      for (const method of methods) {
        const calling = call(transports[protocol]!, method, requests[method.name]!, worker.authorization);
        answers[method.name] = await calling.then(
          () => "OK",
          (error) => {
            const { code, rawMessage, details, metadata } = ConnectError.from(error);
            const { date, ...headers } = Object.fromEntries(metadata);
            const whole = JSON.stringify([rawMessage, details, headers]);
            return telling.test(whole) ? whole : `${Code[code]} ${rawMessage}`;
          },
        );
      }
    });
    const failing = methods.map(({ name }) => name).filter((name) => name !== "GetJwks");
    const expected = Object.fromEntries(failing.map((name) => [name, "Internal internal error"]));
    expect(answers).toEqual({ ...expected, GetJwks: "OK" });
    const told = app.logs.filter((line) => line.includes("hunter2")).map((line) => JSON.parse(line).method as string);
    expect(told.map((name) => name?.split("/")[1])).toEqual(expect.arrayContaining(failing));
  });
});
