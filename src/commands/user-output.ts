import type { OAuthContext } from "../oauth/context.ts";
import type { User } from "../store/users.ts";
import { fields, timeOf } from "./output.ts";
import { outputOf, type Runtime } from "./runtime.ts";

/** @param who UUID or e-mail address. @throws AuthError not_found */
export async function findUser(ctx: OAuthContext, who: string): Promise<User> {
  const { getUser, getUserByEmail } = await import("../users/users.ts");
  return who.includes("@") ? getUserByEmail(ctx, who) : getUser(ctx, who);
}

export function userJson({ uuid, email, emailVerified, nickname, roles, claims, createdAt, disabledAt }: User): object {
  const known = { uuid, email, emailVerified, nickname, roles, claims };
  return { ...known, createdAt: timeOf(createdAt), disabledAt: timeOf(disabledAt) || null };
}

export function printUser(runtime: Runtime, options: { json?: boolean | undefined }, user: User): void {
  const { uuid, email, emailVerified, nickname, roles, claims, createdAt, disabledAt } = user;
  outputOf(runtime, options).print({ user: userJson(user) }, () =>
    fields([
      ["uuid", uuid],
      ["email", emailVerified ? `${email} (verified)` : email],
      ["nickname", nickname],
      ["roles", roles.join(" ")],
      ...(Object.keys(claims).length === 0 ? [] : [["claims", JSON.stringify(claims)] as const]),
      ["created", timeOf(createdAt)],
      ["state", disabledAt === null ? "active" : `disabled since ${timeOf(disabledAt)}`],
    ]),
  );
}
