import type { OAuthContext } from "../oauth/context.ts";
import type { User } from "../store/users.ts";
import { fields, timeOf } from "./output.ts";
import { outputOf, type Runtime } from "./runtime.ts";

/** @param who UUID or e-mail address. @throws AuthError not_found */
export async function findUser(ctx: OAuthContext, who: string): Promise<User> {
  const { getUser, getUserByEmail } = await import("../users/users.ts");
  return who.includes("@") ? getUserByEmail(ctx, who) : getUser(ctx, who.trim().toLowerCase());
}

/** How a user may sign in. */
export interface WaysIn {
  readonly hasPassword: boolean;
  readonly passkeys: number;
  readonly hasTotp: boolean;
  readonly recoveryCodes: number;
}

export async function waysIn({ store }: OAuthContext, uuid: string): Promise<WaysIn> {
  const { totp, passkeys, recoveryCodes } = await store.factors.find(uuid);
  const hasPassword = (await store.users.findWithPassword(uuid))?.hasPassword ?? false;
  return { hasPassword, passkeys: passkeys.length, hasTotp: totp !== null, recoveryCodes };
}

function waysText({ hasPassword, passkeys, hasTotp, recoveryCodes }: WaysIn): string {
  const ways = [
    hasPassword ? "password" : "no password",
    ...(passkeys === 0 ? [] : [`${passkeys} passkey${passkeys === 1 ? "" : "s"}`]),
    ...(hasTotp ? ["authenticator app"] : []),
    ...(recoveryCodes === 0 ? [] : [`${recoveryCodes} recovery code${recoveryCodes === 1 ? "" : "s"}`]),
  ];
  return ways.join(", ");
}

export function userJson({ uuid, email, emailVerified, nickname, roles, claims, createdAt, disabledAt }: User): object {
  const known = { uuid, email, emailVerified, nickname, roles, claims };
  return { ...known, createdAt: timeOf(createdAt), disabledAt: timeOf(disabledAt) || null };
}

export function printUser(
  runtime: Runtime,
  options: { json?: boolean | undefined },
  user: User,
  ways: WaysIn | null = null,
): void {
  const { uuid, email, emailVerified, nickname, roles, claims, createdAt, disabledAt } = user;
  outputOf(runtime, options).print(
    { user: { ...userJson(user), ...(ways === null ? {} : { signsInWith: ways }) } },
    () =>
      fields([
        ["uuid", uuid],
        ["email", emailVerified ? `${email} (verified)` : email],
        ["nickname", nickname],
        ["roles", roles.join(" ")],
        ...(Object.keys(claims).length === 0 ? [] : [["claims", JSON.stringify(claims)] as const]),
        ...(ways === null ? [] : [["signs in", waysText(ways)] as const]),
        ["created", timeOf(createdAt)],
        ["state", disabledAt === null ? "active" : `disabled since ${timeOf(disabledAt)}`],
      ]),
  );
}
