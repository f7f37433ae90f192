import { expect, test } from "@jest/globals";
import type { Context } from "../../src/context.ts";
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
