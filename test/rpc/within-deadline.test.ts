import { expect, test } from "@jest/globals";
import type { Context } from "../../src/context.ts";
import { Passwords } from "../../src/crypto/passwords.ts";
import { checkedContext } from "../../src/users/checked-context.ts";

test("S-186 once a call is over it reads and ends what was replayed, and neither writes nor hashes", async () => {
  const done: string[] = [];
  const verbs = (...names: string[]) =>
    Object.fromEntries(names.map((name) => [name, async () => void done.push(name)])) as never;
  const ctx = {
    store: {
      users: verbs("find", "create", "changePassword", "redeemPasswordReset"),
      authorizations: verbs("listOfUser", "revoke", "countWrongVerifier", "redeemCode", "rotateRefreshToken"),
    },
    passwords: verbs("hash", "verify"),
    limits: verbs("take", "clear"),
  } as unknown as Context;
  let over = false;
  const checked = checkedContext(ctx, () => {
    if (over) throw new Error("over");
  });
  const all = async () => {
    for (const part of [checked.store.users, checked.store.authorizations, checked.passwords, checked.limits]) {
      for (const verb of Object.keys(part)) {
        try {
          await (part as unknown as Record<string, () => Promise<void>>)[verb]?.();
        } catch (error) {
          expect((error as Error).message).toBe("over");
        }
      }
    }
    return done.splice(0);
  };
  expect(await all()).toHaveLength(13);
  over = true;
  expect(await all()).toEqual(["find", "listOfUser", "revoke", "countWrongVerifier"]);
});

test("S-186 a password whose call ends while it waits for its turn is not hashed", async () => {
  const passwords = new Passwords();
  const busy = Array.from({ length: 4 }, () => passwords.hash("somebody's password"));
  let over = false;
  const { passwords: checked } = checkedContext({ store: {}, passwords, limits: {} } as unknown as Context, () => {
    if (over) throw new Error("over");
  });
  const waiting = [checked.hash("mine"), checked.verify(null, "mine")];
  over = true;
  const outcomes = await Promise.allSettled(waiting);
  expect(outcomes.map((outcome) => outcome.status === "rejected" && String(outcome.reason))).toEqual([
    "Error: over",
    "Error: over",
  ]);
  await Promise.all(busy);
  // its place in the queue was handed on
  expect(await passwords.hash("another")).toContain("argon2id");
});
