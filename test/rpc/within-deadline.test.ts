import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, createHandlerContext } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { checkCall, duringCall } from "../../src/call.ts";
import { Clock } from "../../src/clock.ts";
import { Passwords } from "../../src/crypto/passwords.ts";
import { openStore } from "../../src/database/open-store.ts";
import { userLogin } from "../../src/events.ts";
import { Limits } from "../../src/limits.ts";
import { Call, CallValues } from "../../src/rpc/caller.ts";
import { withinDeadline } from "../../src/rpc/within-deadline.ts";
import type { Store } from "../../src/store/store.ts";
import {
  changedEvent,
  deletedEvent,
  makeAuthorization,
  makeCode,
  makeSession,
  NOW,
  sealer,
  signUp,
} from "../database/contract/fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "auth-call-"));
const passwords = new Passwords();
let store: Store;
let limits: Limits;
beforeAll(async () => {
  const clock = new Clock();
  store = await openStore({
    url: `sqlite:${join(folder, "auth.sqlite")}`,
    sealer,
    clock,
    log: { warn: () => {}, error: () => {} },
  });
  limits = new Limits(store.limits, clock);
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A call that is under way, and the ways in which it ends. */
function aCall() {
  const call = new Call({} as Call["credentials"]);
  const hangUp = new AbortController();
  const context = createHandlerContext({
    service: UserService,
    method: UserService.method.signUp,
    protocolName: "grpc",
    requestMethod: "POST",
    url: "http://localhost",
    requestSignal: hangUp.signal,
    contextValues: new CallValues(call),
  });
  const timeOut = () => {
    call.endsAt = performance.now();
  };
  return { context, timeOut, hangUp: () => hangUp.abort() };
}

/** A user with a session, a live authorization and a code that nobody has redeemed yet. */
async function account() {
  const user = await signUp(store);
  const session = makeSession(user.uuid);
  await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" });
  const authorization = makeAuthorization(user.uuid);
  const used = makeCode(session);
  const event = () => userLogin(user, { ipAddress: "127.0.0.1", userAgent: "Test" }, NOW);
  await store.authorizations.createCode(used);
  await store.authorizations.redeemCode(used.codeHash, { attemptId: randomUUID(), authorization, event: event() }, NOW);
  const code = makeCode(session);
  await store.authorizations.createCode(code);
  const redemption = { attemptId: randomUUID(), authorization: makeAuthorization(user.uuid), event: event() };
  return { user, sid: authorization.id, codeHash: code.codeHash, redemption };
}

test.each([
  ["the deadline passes", "timeOut", Code.DeadlineExceeded],
  ["the client hangs up", "hangUp", Code.Canceled],
] as const)(
  "S-186 once %s a call reads and ends what was replayed, and neither writes nor hashes",
  async (_, end, code) => {
    const { user, sid, codeHash, redemption } = await account();
    const taken = await account();
    const call = aCall();
    const outcomeOf = async (work: () => Promise<unknown>) => {
      try {
        await work();
        return "done";
      } catch (error) {
        return ConnectError.from(error).code;
      }
    };
    const { users, authorizations } = store;
    await withinDeadline(call.context, async () => {
      expect(await outcomeOf(() => users.update(user.uuid, () => ({ nickname: "before" }), NOW))).toBe("done");
      expect(await outcomeOf(() => limits.take("sign_up", user.email))).toBe("done");
      call[end]();
      const refused = [
        () => users.update(user.uuid, () => ({ nickname: "after" }), NOW),
        () => users.changePassword(user.uuid, { from: "hash-1", to: "hash-2" }, changedEvent(user)),
        () => users.delete(user.uuid, deletedEvent(user)),
        () => authorizations.redeemCode(codeHash, redemption, NOW),
        () => authorizations.rotateRefreshToken(taken.sid, 0, { jti: "j", iat: 1, exp: 2, kid: "k" }, NOW),
        () => limits.take("sign_up", user.email),
        () => limits.clear("sign_up", user.email),
        () => passwords.hash("a password"),
        () => passwords.verify(null, "a password"),
      ];
      for (const work of refused) expect(await outcomeOf(work)).toBe(code);
      expect(await users.find(user.uuid)).toMatchObject({ nickname: "before" });
      expect(await authorizations.listOfUser(user.uuid, null, 10, NOW)).toHaveLength(1);
      expect(await authorizations.revoke(sid, "code_replayed", NOW)).toBe(true);
      for (let i = 0; i < 3; i++) await authorizations.countWrongVerifier(codeHash, NOW);
    });
    expect(await users.findByEmail(user.email)).toMatchObject({ nickname: "before", passwordHash: "hash-1" });
    expect(await authorizations.find(sid)).toMatchObject({ revokedAt: NOW });
    expect(await authorizations.findCode(codeHash)).toMatchObject({ redeemedAt: null, revokedAt: NOW });
    expect(await authorizations.find(taken.sid)).toMatchObject({ generation: 0, revokedAt: null });
  },
);

test("a write that began before the call ended is completed, and what its commit sets off is not refused", async () => {
  const { user, sid } = await account();
  const call = aCall();
  const setOff: unknown[] = [];
  const stop = store.revocations.onAppend(() => {
    try {
      setOff.push(checkCall());
    } catch (error) {
      setOff.push(error);
    }
  });
  await withinDeadline(call.context, async () => {
    const deleting = store.users.delete(user.uuid, deletedEvent(user));
    call.timeOut();
    expect(await deleting).toBe(true);
  });
  stop();
  expect(await store.authorizations.find(sid)).toMatchObject({ revokedAt: NOW });
  expect(setOff.length).toBeGreaterThan(0);
  expect(setOff.filter((each) => each !== undefined)).toEqual([]);
});

test("a call that has ended stops no other one", async () => {
  const [ended, other] = [aCall(), aCall()];
  ended.timeOut();
  await withinDeadline(ended.context, async () => {
    await expect(limits.take("sign_up", "ended")).rejects.toThrow("the deadline passed");
  });
  await withinDeadline(other.context, () => limits.take("sign_up", "other"));
  await limits.take("sign_up", "outside of any call");
});

test("S-186 a password whose call ends while it waits for its turn is not hashed", async () => {
  const busy = Array.from({ length: 4 }, () => passwords.hash("somebody's password"));
  let over = false;
  const check = () => {
    if (over) throw new Error("over");
  };
  const waiting = duringCall(check, () => [passwords.hash("mine"), passwords.verify(null, "mine")]);
  over = true;
  const outcomes = await Promise.allSettled(waiting);
  expect(outcomes.map((outcome) => outcome.status === "rejected" && String(outcome.reason))).toEqual([
    "Error: over",
    "Error: over",
  ]);
  await Promise.all(busy);
  // the next one in the queue got its turn
  expect(await passwords.hash("another")).toContain("argon2id");
});
