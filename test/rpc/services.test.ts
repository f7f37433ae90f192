import { randomUUID } from "node:crypto";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { codeOf, firstStep } from "../support/factors.ts";
import { signUp } from "../support/flow.ts";
import { signInWithPasskey, signUpWithPasskey } from "../support/passkeys.ts";
import { allTold, eventsOf, until } from "../support/resets.ts";
import { allMethods, call, protocols, transportsTo } from "./stand-ins.ts";

const secret = "a secret of at least thirty-two characters";
const client = (client_id: string, scope: string, more: object = {}) => ({
  client_id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  token_endpoint_auth_method: "client_secret_basic",
  scope,
  ...more,
});
const internal = "auth.introspect auth.tokens auth.keys auth.users.read auth.users.write";
const basic = (id: string) => `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`;

let app: TestApp;
let transports: Record<string, Transport>;

beforeAll(async () => {
  app = await startApp({}, [
    client("worker", internal, { token_endpoint_auth_method: "client_secret_post" }),
    client("administrator", `${internal} auth.users.admin`),
    client("outsider", "orders.read"),
  ]);
  transports = transportsTo(Number(app.grpc.split(":")[1]), Number(new URL(app.internalUrl).port));
});
afterAll(() => app.close());

const refusalOf = (calling: Promise<unknown>): Promise<ConnectError> =>
  calling.then(
    () => {
      throw new Error("the call was answered");
    },
    (error) => ConnectError.from(error),
  );

describe.each(protocols)("over %s", (protocol) => {
  const tokens = () => createClient(TokenService, transports[protocol]!);
  const users = () => createClient(UserService, transports[protocol]!);
  const introspection = () => createClient(IntrospectionService, transports[protocol]!);
  const as = (id: string) => ({ headers: { authorization: basic(id) } });
  const issue = (clientId: string) =>
    tokens().issueToken({ grantType: "client_credentials", clientId, clientSecret: secret }, as("worker"));

  test("S-181 every method refuses missing credentials, an unknown client and a client without the scope", async () => {
    for (const method of allMethods) {
      const outcomes = [undefined, basic("nobody"), "Bearer nonsense", basic("outsider")].map(
        async (authorization) => (await refusalOf(call(transports[protocol]!, method, {}, authorization))).rawMessage,
      );
      expect([method.name, ...(await Promise.all(outcomes))]).toEqual([
        method.name,
        "Unauthorized",
        "Invalid Token",
        "Invalid Token",
        "Forbidden",
      ]);
    }
  });

  test("a token lives from IssueToken to RevokeToken, however its client is registered to send its secret", async () => {
    for (const id of ["worker", "administrator"]) {
      const { accessToken: token, tokenType, expiresIn } = await issue(id);
      expect([tokenType, expiresIn]).toEqual(["Bearer", 120]);
      const answer = await introspection().introspect({ token }, as("worker"));
      expect(answer).toMatchObject({ active: true, clientId: id, sub: id, tokenType: "Bearer" });
      expect(answer.exp - answer.iat).toBe(120n);
      const bearer = { headers: { authorization: `Bearer ${token}` } };
      // again and again: what is answered often is kept as bytes
      for (let times = 0; times < 3; times++) {
        const { responses } = await introspection().batchIntrospect({ tokens: ["x", token, "", token] }, bearer);
        expect(responses.map(({ active }) => active)).toEqual([false, true, false, true]);
        expect([responses[1], responses[3]]).toEqual([answer, answer]);
      }
      await tokens().revokeToken({ token, clientId: id, clientSecret: secret }, as("worker"));
      expect((await introspection().introspect({ token }, as("worker"))).active).toBe(false);
      expect((await refusalOf(introspection().introspect({ token }, bearer))).rawMessage).toBe("Invalid Token");
    }
  });

  test("Authorize answers the gateway's table as data", async () => {
    const { accessToken: token } = await issue("worker");
    const decide = (request: object) => introspection().authorize(request, as("worker"));
    expect(await decide({})).toMatchObject({ allowed: false, httpStatus: 401, error: "Unauthorized" });
    expect(await decide({ token: "x" })).toMatchObject({ allowed: false, httpStatus: 401, error: "Invalid Token" });
    expect(await decide({ token, requiredScopes: ["other"] })).toMatchObject({ httpStatus: 403, error: "Forbidden" });
    const allowed = await decide({ token, requiredScopes: ["auth.tokens"] });
    expect(allowed).toMatchObject({ allowed: true, httpStatus: 200, error: "", token: { clientId: "worker" } });
  });

  test("an account from sign-up to deletion", async () => {
    const email = `${protocol.replace(" ", ".").toLowerCase()}@example.com`;
    const input = { email, password: "correct horse battery", nickname: "Ada" };
    const { user } = await users().signUp(input, as("worker"));
    const uuid = user?.uuid ?? "";
    expect(user).toMatchObject({ email, nickname: "Ada", roles: ["ROLE_USER"], disabled: false });
    const taken = await refusalOf(users().signUp(input, as("worker")));
    expect(taken.code).toBe(Code.AlreadyExists);
    const wrong = await refusalOf(users().signUp({ email: "no address", password: "x" }, as("worker")));
    expect(wrong.code).toBe(Code.InvalidArgument);
    const fields = wrong.findDetails(ErrorDetailSchema)[0]?.violations.map(({ field }) => field);
    expect(fields?.sort()).toEqual(["email", "nickname", "password"]);

    const rename = { uuid, nickname: "Grace", roles: ["ROLE_ADMIN"], updateMask: { paths: ["nickname"] } };
    const renamed = await users().updateUser(rename, as("worker"));
    expect(renamed.user).toMatchObject({ nickname: "Grace", roles: ["ROLE_USER"] });
    const promote = { uuid, roles: ["ROLE_USER", "ROLE_ADMIN"], updateMask: { paths: ["roles"] } };
    const refused = await refusalOf(users().updateUser(promote, as("worker")));
    expect([refused.code, refused.rawMessage]).toEqual([Code.PermissionDenied, "Forbidden"]);
    expect((await users().updateUser(promote, as("administrator"))).user?.roles).toEqual(promote.roles);
    for (const paths of [[], ["email"]]) {
      const unknown = await refusalOf(users().updateUser({ uuid, updateMask: { paths } }, as("administrator")));
      expect(unknown.code).toBe(Code.InvalidArgument);
    }

    const claims = { givenName: "Grace", zoneinfo: "America/New_York", address: { country: "United States" } };
    const described = await users().updateUser({ uuid, claims, updateMask: { paths: ["claims"] } }, as("worker"));
    expect(described.user).toMatchObject({ claims, emailVerified: false });
    const vouch = { uuid, emailVerified: true, updateMask: { paths: ["email_verified"] } };
    expect((await refusalOf(users().updateUser(vouch, as("worker")))).code).toBe(Code.PermissionDenied);
    expect((await users().updateUser(vouch, as("administrator"))).user).toMatchObject({ claims, emailVerified: true });
    const misspelt = { uuid, claims: { zoneinfo: "Mars", phoneNumber: "555" }, updateMask: { paths: ["claims"] } };
    const rejected = await refusalOf(users().updateUser(misspelt, as("worker")));
    expect(
      rejected
        .findDetails(ErrorDetailSchema)[0]
        ?.violations.map(({ field }) => field)
        .sort(),
    ).toEqual(["phone_number", "zoneinfo"]);

    const change = { uuid, currentPassword: "wrong", newPassword: "another long password" };
    const failed = await refusalOf(users().changePassword(change, as("worker")));
    expect([failed.code, failed.findDetails(ErrorDetailSchema)[0]?.code]).toEqual([
      Code.FailedPrecondition,
      "AUTH_INVALID_CREDENTIALS",
    ]);
    await users().changePassword({ ...change, currentPassword: input.password }, as("worker"));
    await users().disableUser({ uuid }, as("worker"));
    expect((await users().getUserByEmail({ email }, as("worker"))).user?.disabled).toBe(true);
    await users().enableUser({ uuid }, as("worker"));
    await users().requestPasswordReset({ email: "nobody@example.com" }, as("worker"));
    const reset = await refusalOf(users().resetPassword({ token: "x", newPassword: "y" }, as("worker")));
    expect(reset.findDetails(ErrorDetailSchema)[0]?.code).toBe("AUTH_RESET_TOKEN_INVALID");
    expect((await tokens().listAuthorizations({ uuid }, as("worker"))).authorizations).toEqual([]);
    expect((await users().batchGetUsers({ uuids: [uuid] }, as("worker"))).users).toHaveLength(1);
    await users().deleteUser({ uuid }, as("worker"));
    expect((await refusalOf(users().getUser({ uuid }, as("worker")))).code).toBe(Code.NotFound);
  });

  test("a passkey, an authenticator app and recovery codes are added by two calls each, and open the account", async () => {
    const { uuid, ...account } = await signUp(app.url);
    const authenticator = new Authenticator(app.url);
    const { optionsJson, attempt } = await users().beginPasskey({ uuid }, as("worker"));
    const options = JSON.parse(optionsJson) as never;
    const add = (credentialJson: string, over: object = {}) =>
      users().addPasskey({ uuid, attempt, credentialJson, name: "Phone", ...over }, as("worker"));
    const wrong = new Authenticator("https://evil.example");
    expect((await refusalOf(add(wrong.create(options)))).code).toBe(Code.FailedPrecondition);
    expect((await refusalOf(add("{}"))).code).toBe(Code.FailedPrecondition);
    const credential = authenticator.create(options);
    expect((await refusalOf(add(credential, { attempt: "another" }))).code).toBe(Code.FailedPrecondition);
    const unnamed = await refusalOf(add(credential, { name: "\u3164" }));
    expect(unnamed.code).toBe(Code.InvalidArgument);
    expect(unnamed.findDetails(ErrorDetailSchema)[0]?.violations.map(({ field }) => field)).toEqual(["name"]);
    const early = await refusalOf(users().makeRecoveryCodes({ uuid }, as("worker")));
    expect([early.code, early.rawMessage]).toEqual([Code.InvalidArgument, expect.stringContaining("add one first")]);
    // a repeated call changes nothing
    await add(credential);
    await add(credential);
    const begun = await users().beginTotp({ uuid }, as("worker"));
    const totp = (code: string) => users().addTotp({ uuid, sealedSecret: begun.sealedSecret, code }, as("worker"));
    const right = codeOf(begun.secret, app.clock.now());
    expect((await refusalOf(totp(right === "000000" ? "000001" : "000000"))).code).toBe(Code.FailedPrecondition);
    // of an app whose clock is wrong
    const ofPast = codeOf(begun.secret, app.clock.now() - 30 * 60_000);
    expect((await refusalOf(totp(ofPast))).code).toBe(Code.FailedPrecondition);
    // as apps show it
    await totp(`${right.slice(0, 3)} ${right.slice(3)}`);
    // the same call again, as after a lost answer; another app is refused
    await totp(right);
    const other = await users().beginTotp({ uuid }, as("worker"));
    const code = codeOf(other.secret, app.clock.now());
    const refusal = await refusalOf(users().addTotp({ uuid, sealedSecret: other.sealedSecret, code }, as("worker")));
    expect([refusal.code, refusal.rawMessage]).toEqual([Code.InvalidArgument, expect.stringContaining("already")]);
    const again = { uuid, attempt: "an attempt of the caller" };
    const { codes } = await users().makeRecoveryCodes(again, as("worker"));
    expect(codes).toHaveLength(10);
    // the same call again, as after a lost answer
    expect((await users().makeRecoveryCodes(again, as("worker"))).codes).toEqual(codes);
    app.clock.shift += 61_000;
    const late = await refusalOf(users().makeRecoveryCodes(again, as("worker")));
    expect([late.code, late.rawMessage]).toEqual([Code.InvalidArgument, expect.stringContaining("shown no more")]);
    app.clock.shift -= 61_000;
    expect((await refusalOf(users().makeRecoveryCodes({ uuid, attempt: "short" }, as("worker")))).code).toBe(
      Code.InvalidArgument,
    );
    expect(await users().listFactors({ uuid }, as("worker"))).toMatchObject({
      hasTotp: true,
      passkeys: [{ name: "Phone" }],
      recoveryCodes: 10,
    });
    expect((await signInWithPasskey([app.url, app.url], authenticator)).response.status).toBe(303);
    const { browser, form } = await firstStep(app.url, account);
    const second = await browser.post(`${app.url}/login/second-factor`, { ...form, code: codes[0] ?? "" });
    expect(second.status).toBe(303);
    const unscoped = await refusalOf(users().beginPasskey({ uuid }, as("outsider")));
    expect(unscoped.code).toBe(Code.PermissionDenied);
  });

  test("events, mails and limits are of the person for whom a caller says that it calls", async () => {
    const person = {
      "person-ip-address": "2001:db8::17",
      "person-user-agent": `Mozilla/5.0 (iPhone) Shop/1.0${" and more".repeat(80)}`,
      "person-language": "pt-BR",
    };
    const by = (said: Record<string, string> = person) => ({ headers: { ...as("worker").headers, ...said } });
    const email = `person-${randomUUID()}@example.com`;
    const password = "correct horse battery";
    const { user } = await users().signUp({ email, password, nickname: "Ada" }, by());
    const uuid = user?.uuid ?? "";
    const { secret, sealedSecret } = await users().beginTotp({ uuid }, by());
    await users().addTotp({ uuid, sealedSecret, code: codeOf(secret, app.clock.now()) }, by());
    await users().changePassword({ uuid, currentPassword: password, newPassword: "another horse battery" }, by());
    const told = (topic: string) =>
      eventsOf(app)
        .filter((each) => each.topic === topic && each.key === uuid)
        .map(({ event }) => event.payload);
    await allTold(app);
    const shown = { ipAddress: "2001:db8::17", locale: "pt-BR" };
    expect(told("user-signup")).toMatchObject([{ locale: "pt-BR" }]);
    expect(told("user-email-verification")).toMatchObject([shown]);
    // of a long one as much is kept as of a browser's own
    const userAgent = person["person-user-agent"].slice(0, 500);
    expect(told("user-security")).toMatchObject([{ kind: "FACTOR_ADDED", ...shown, userAgent }]);
    expect(told("user-password-changed")).toMatchObject([{ ...shown, userAgent }]);

    // six people of one network get five mails, another network gets its own, and so has the caller, as before
    const from = (address: string) => by({ "person-ip-address": address, "person-language": "" });
    for (let n = 1; n <= 6; n++) await users().requestPasswordReset({ email }, from(`2001:db8:0:1::${n}`));
    await users().requestPasswordReset({ email }, from("192.0.2.1"));
    await users().requestPasswordReset({ email }, as("worker"));
    await until(() => told("password-reset")[6]);
    const addresses = told("password-reset").map(({ ipAddress }) => ipAddress);
    const ofNetwork = [1, 2, 3, 4, 5].map((n) => `2001:db8:0:1::${n}`);
    expect(addresses).toEqual([...ofNetwork, "192.0.2.1", "127.0.0.1"]);
  });

  test("what a caller says of a person is refused by its name where it is malformed", async () => {
    const malformed: [string, string][] = [
      ...["unknown", "10.0.0.1, 10.0.0.2", "fe80::1%eth0", "127.1"].map((value): [string, string] => [
        "person-ip-address",
        value,
      ]),
      ...["de-DE,de;q=0.9", "d", "*", "aaaaaaaaa"].map((value): [string, string] => ["person-language", value]),
    ];
    for (const [key, value] of malformed) {
      const by = { headers: { ...as("worker").headers, [key]: value } };
      const calls = [
        users().requestPasswordReset({ email: "nobody@example.com" }, by),
        users().signUp({ email: `${randomUUID()}@example.com`, password: "correct horse battery", nickname: "A" }, by),
      ];
      for (const calling of calls) {
        const { code, rawMessage } = await refusalOf(calling);
        expect([key, value, code, rawMessage.split(" ", 1)]).toEqual([key, value, Code.InvalidArgument, [key]]);
      }
    }
  });

  test("an account is made with a passkey and no password by two calls, and the passkey opens it", async () => {
    const authenticator = new Authenticator(app.url);
    const names = { email: `Passkey-${randomUUID()}@example.com`, nickname: "Zoë" };
    const { uuid, optionsJson, attempt } = await users().beginPasskeySignUp(names, as("worker"));
    const options = JSON.parse(optionsJson) as { user: { name: string; displayName: string } };
    expect(options.user).toMatchObject({ name: names.email.toLowerCase(), displayName: "Zoë" });
    const credentialJson = authenticator.create(options as never);
    const whole = { uuid, attempt, ...names, credentialJson, name: "Phone" };
    const make = (over: object = {}) => users().signUpWithPasskey({ ...whole, ...over }, as("worker"));
    const wrong = new Authenticator("https://evil.example").create(options as never);
    for (const over of [
      { credentialJson: wrong },
      { credentialJson: "{}" },
      { attempt: "x" },
      { uuid: randomUUID() },
      // the authenticator shows another address
      { email: `other-${names.email}` },
    ]) {
      const refused = await refusalOf(make(over));
      expect([refused.code, refused.findDetails(ErrorDetailSchema)[0]?.code]).toEqual([
        Code.FailedPrecondition,
        "AUTH_INVALID_CREDENTIALS",
      ]);
    }
    for (const [over, fields] of [
      [{ name: "\u3164" }, ["name"]],
      [{ email: "x", nickname: "" }, ["email", "nickname"]],
    ] as const) {
      const refused = await refusalOf(make(over));
      expect(refused.code).toBe(Code.InvalidArgument);
      const named = refused.findDetails(ErrorDetailSchema)[0]?.violations.map(({ field }) => field);
      expect(named?.sort()).toEqual(fields);
    }
    expect((await refusalOf(make({ uuid: "x" }))).code).toBe(Code.InvalidArgument);
    await expect(users().getUser({ uuid }, as("worker"))).rejects.toThrow();

    // at once, and repeated as after a lost answer: one account
    const made = await Promise.all(Array.from({ length: 5 }, () => make()));
    made.push(await make());
    const expected = { uuid, email: names.email.toLowerCase(), nickname: "Zoë", emailVerified: false };
    for (const { user } of made) expect(user).toMatchObject(expected);
    const factors = await users().listFactors({ uuid }, as("worker"));
    expect(factors.passkeys).toMatchObject([{ name: "Phone" }]);
    const told = () => eventsOf(app).filter(({ key }) => key === uuid);
    await allTold(app);
    expect(
      told()
        .map(({ topic }) => topic)
        .sort(),
    ).toEqual(["user-email-verification", "user-signup"]);
    expect((await signInWithPasskey([app.url, app.url], authenticator)).response.status).toBe(303);

    const begun = await refusalOf(users().beginPasskeySignUp(names, as("worker")));
    expect(begun.code).toBe(Code.AlreadyExists);
    // of a free address is not said that it has an account
    const moved = await refusalOf(make({ email: `moved-${names.email}` }));
    expect([moved.code, moved.findDetails(ErrorDetailSchema)[0]?.code]).toEqual([
      Code.FailedPrecondition,
      "AUTH_INVALID_CREDENTIALS",
    ]);
    // a second passkey for the same attempt is kept by nobody, whatever its device thinks
    const second = { credentialJson: new Authenticator(app.url).create(options as never) };
    expect((await refusalOf(make(second))).code).toBe(Code.AlreadyExists);
    app.clock.shift += 61_000;
    expect((await refusalOf(make())).code).toBe(Code.AlreadyExists);
    const late = { ...names, email: `late-${names.email}` };
    const slow = await users().beginPasskeySignUp(late, as("worker"));
    app.clock.shift += 10 * 60_000 + 1_000;
    const answer = { credentialJson: authenticator.create(JSON.parse(slow.optionsJson) as never), name: "Phone" };
    const { uuid: slowUuid, attempt: slowAttempt } = slow;
    const refused = await refusalOf(
      users().signUpWithPasskey({ ...late, ...answer, uuid: slowUuid, attempt: slowAttempt }, as("worker")),
    );
    expect(refused.code).toBe(Code.FailedPrecondition);
    app.clock.shift = 0;
  });

  test("of two passkeys that are made for one attempt at once only the one that opens the account is taken", async () => {
    const names = { email: `two-${randomUUID()}@example.com`, nickname: "Zoë" };
    const { uuid, optionsJson, attempt } = await users().beginPasskeySignUp(names, as("worker"));
    const devices = [new Authenticator(app.url), new Authenticator(app.url)];
    const outcomes = await Promise.all(
      devices.map(async (device) => {
        const credentialJson = device.create(JSON.parse(optionsJson) as never);
        const making = users().signUpWithPasskey({ uuid, attempt, ...names, credentialJson, name: "P" }, as("worker"));
        const isTaken = await making.then(
          () => true,
          (error) => ConnectError.from(error).code,
        );
        return [isTaken, (await signInWithPasskey([app.url, app.url], device)).response.status];
      }),
    );
    expect(outcomes.sort()).toEqual([
      [Code.AlreadyExists, 401],
      [true, 303],
    ]);
  });

  test("a passkey and an authenticator app are removed, each told once; the only way into an account stays", async () => {
    const { uuid } = await signUp(app.url);
    const own = new Authenticator(app.url);
    const { optionsJson, attempt } = await users().beginPasskey({ uuid }, as("worker"));
    const credentialJson = own.create(JSON.parse(optionsJson) as never);
    await users().addPasskey({ uuid, attempt, credentialJson, name: "Phone" }, as("worker"));
    const { secret, sealedSecret } = await users().beginTotp({ uuid }, as("worker"));
    await users().addTotp({ uuid, sealedSecret, code: codeOf(secret, app.clock.now()) }, as("worker"));
    const { passkeys } = await users().listFactors({ uuid }, as("worker"));
    const credentialId = passkeys[0]?.credentialId ?? "";
    const rename = (name: string, id = credentialId) =>
      users().renamePasskey({ uuid, credentialId: id, name }, as("worker"));
    await rename("Old phone");
    await rename("Phone");
    expect((await users().listFactors({ uuid }, as("worker"))).passkeys).toMatchObject([
      { credentialId, name: "Phone" },
    ]);
    expect((await refusalOf(rename("\u3164"))).code).toBe(Code.InvalidArgument);
    expect((await refusalOf(rename("Phone", "another"))).code).toBe(Code.NotFound);
    // a repeated call changes nothing
    for (let n = 0; n < 2; n++) {
      await users().removePasskey({ uuid, credentialId }, as("worker"));
      await users().removeTotp({ uuid }, as("worker"));
    }
    expect(await users().listFactors({ uuid }, as("worker"))).toMatchObject({ hasTotp: false, passkeys: [] });
    const removals = () =>
      eventsOf(app)
        .filter(
          ({ topic, key, event }) =>
            topic === "user-security" && key === uuid && event.payload["kind"]?.endsWith("REMOVED"),
        )
        .map(({ event }) => event.payload["detail"]);
    await until(() => removals()[1]);
    expect(removals()).toEqual(["passkey Phone", "totp"]);

    const { email } = await signUpWithPasskey([app.url, app.url], new Authenticator(app.url));
    const passwordless = (await users().getUserByEmail({ email }, as("worker"))).user?.uuid ?? "";
    const [only] = (await users().listFactors({ uuid: passwordless }, as("worker"))).passkeys;
    const kept = users().removePasskey({ uuid: passwordless, credentialId: only?.credentialId ?? "" }, as("worker"));
    expect((await refusalOf(kept)).code).toBe(Code.InvalidArgument);
    // however often it is asked
    for (let n = 0; n < 11; n++) {
      const change = { uuid: passwordless, currentPassword: "", newPassword: "correct horse battery" };
      expect((await refusalOf(users().changePassword(change, as("worker")))).rawMessage).toBe(
        "this account has no password: the link of a password reset sets one",
      );
    }
    expect((await users().listFactors({ uuid: passwordless }, as("worker"))).passkeys).toHaveLength(1);
  });

  test("C-72 an id that is empty or malformed is INVALID_ARGUMENT in every call, one that names nothing is NOT_FOUND", async () => {
    const mask = { updateMask: { paths: ["nickname"] }, nickname: "N" };
    const passwords = { currentPassword: "a long password", newPassword: "another long password" };
    const byUuid: Record<string, (uuid: string) => Promise<unknown>> = {
      getUser: (uuid) => users().getUser({ uuid }, as("worker")),
      updateUser: (uuid) => users().updateUser({ uuid, ...mask }, as("worker")),
      changePassword: (uuid) => users().changePassword({ uuid, ...passwords }, as("worker")),
      disableUser: (uuid) => users().disableUser({ uuid }, as("worker")),
      enableUser: (uuid) => users().enableUser({ uuid }, as("worker")),
      endSessions: (uuid) => users().endSessions({ uuid }, as("worker")),
      listFactors: (uuid) => users().listFactors({ uuid }, as("worker")),
      beginPasskey: (uuid) => users().beginPasskey({ uuid }, as("worker")),
      addPasskey: (uuid) => users().addPasskey({ uuid, attempt: "a", credentialJson: "{}", name: "n" }, as("worker")),
      renamePasskey: (uuid) => users().renamePasskey({ uuid, credentialId: "c", name: "n" }, as("worker")),
      removePasskey: (uuid) => users().removePasskey({ uuid, credentialId: "c" }, as("worker")),
      removeTotp: (uuid) => users().removeTotp({ uuid }, as("worker")),
      beginTotp: (uuid) => users().beginTotp({ uuid }, as("worker")),
      addTotp: (uuid) => users().addTotp({ uuid, sealedSecret: "s", code: "000000" }, as("worker")),
      makeRecoveryCodes: (uuid) => users().makeRecoveryCodes({ uuid }, as("worker")),
      deleteUser: (uuid) => users().deleteUser({ uuid }, as("worker")),
      batchGetUsers: (uuid) => users().batchGetUsers({ uuids: [randomUUID(), uuid] }, as("worker")),
      listAuthorizations: (uuid) => tokens().listAuthorizations({ uuid }, as("worker")),
      withdrawConsent: (uuid) => tokens().withdrawConsent({ uuid, clientId: "any" }, as("worker")),
      revokeAuthorization: (sid) => tokens().revokeAuthorization({ sid }, as("worker")),
    };
    const answersNothing = ["batchGetUsers", "listAuthorizations"];
    for (const [name, call] of Object.entries(byUuid)) {
      for (const id of ["", "x", "ada@example.com", `${randomUUID()}0`, randomUUID().replaceAll("-", "")]) {
        expect([name, id, (await refusalOf(call(id))).code]).toEqual([name, id, Code.InvalidArgument]);
      }
      if (answersNothing.includes(name)) await call(randomUUID());
      else expect([name, (await refusalOf(call(randomUUID()))).code]).toEqual([name, Code.NotFound]);
    }
    for (const email of ["", "x", `${"x".repeat(2_000)}@example.com`]) {
      const refusal = await refusalOf(users().getUserByEmail({ email }, as("worker")));
      expect([email, refusal.code]).toEqual([email, Code.InvalidArgument]);
    }
    const nobody = users().getUserByEmail({ email: "nobody@example.com" }, as("worker"));
    expect((await refusalOf(nobody)).code).toBe(Code.NotFound);
    const { user } = await users().signUp(
      { email: `${randomUUID()}@example.com`, password: "a long password", nickname: "N" },
      as("worker"),
    );
    const uuid = user?.uuid ?? "";
    const byOther: Record<string, (id: string) => Promise<unknown>> = {
      withdrawConsent: (clientId) => tokens().withdrawConsent({ uuid, clientId }, as("worker")),
      renamePasskey: (credentialId) => users().renamePasskey({ uuid, credentialId, name: "n" }, as("worker")),
      removePasskey: (credentialId) => users().removePasskey({ uuid, credentialId }, as("worker")),
      distrustSigningKey: (kid) => tokens().distrustSigningKey({ kid }, as("worker")),
    };
    for (const [name, call] of Object.entries(byOther)) {
      expect([name, (await refusalOf(call(""))).code]).toEqual([name, Code.InvalidArgument]);
    }
  });

  test("pages and batches keep their bounds, and a changed page token is refused", async () => {
    await users().signUp(
      { email: `a-${Date.now()}@example.com`, password: "correct horse", nickname: "A" },
      as("worker"),
    );
    await users().signUp(
      { email: `b-${Date.now()}@example.com`, password: "correct horse", nickname: "B" },
      as("worker"),
    );
    const first = await users().listUsers({ pageSize: 1 }, as("worker"));
    expect([first.users.length, first.nextPageToken === ""]).toEqual([1, false]);
    const second = await users().listUsers({ pageSize: 1, pageToken: first.nextPageToken }, as("worker"));
    expect(second.users[0]?.uuid).not.toBe(first.users[0]?.uuid);
    const refused = [
      users().listUsers({ pageToken: `${first.nextPageToken}x` }, as("worker")),
      users().listUsers({ pageSize: 1001 }, as("worker")),
      introspection().batchIntrospect({ tokens: [] }, as("worker")),
      introspection().batchIntrospect({ tokens: Array(1001).fill("t") }, as("worker")),
      users().batchGetUsers({ uuids: [] }, as("worker")),
      tokens().rotateSigningKey({ alg: "HS256" }, as("worker")),
      tokens().issueToken({}, as("worker")),
    ];
    for (const each of refused) expect((await refusalOf(each)).code).toBe(Code.InvalidArgument);
  });

  test("keys are published and rotated", async () => {
    const { jwks, maxAge } = await tokens().getJwks({}, as("worker"));
    expect([JSON.parse(jwks).keys.length > 0, maxAge]).toEqual([true, 300]);
    const { keys } = await tokens().rotateSigningKey({ alg: "ES256" }, as("worker"));
    expect(keys).toMatchObject([{ alg: "ES256" }]);
    const after = JSON.parse((await tokens().getJwks({}, as("worker"))).jwks);
    expect(after.keys.map(({ kid }: { kid: string }) => kid)).toContain(keys[0]?.kid);
  });
});
