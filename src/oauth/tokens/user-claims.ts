import type { User } from "../../store/users.ts";
import { scopesOf } from "../scopes.ts";

/** Which scope releases which claims (OpenID Connect Core section 5.4); `nickname` and `roles` are in access tokens too. */
const byScope = {
  profile: [
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "roles",
  ],
  email: ["email", "email_verified"],
  address: ["address"],
  phone: ["phone_number", "phone_number_verified"],
} as const;

export const CLAIM_SCOPES = Object.keys(byScope) as (keyof typeof byScope)[];
export const USER_CLAIMS: readonly string[] = Object.values(byScope).flat();

/** @returns null for a claim that no scope releases */
export function releasedBy(claim: string): string | null {
  return CLAIM_SCOPES.find((scope) => (byScope[scope] as readonly string[]).includes(claim)) ?? null;
}

/**
 * The claims about a user that these scopes release, and those asked for one by one (OpenID Connect Core section 5.5), which the
 * user agreed to as part of their scope. What the user does not have is left out.
 * @param allowed scopes of the client: a claim of another scope is not released, even if it is asked for
 */
export function userClaims(
  user: User,
  scope: string,
  asked: readonly string[] = [],
  allowed: readonly string[] = [],
): Record<string, unknown> {
  const granted = scopesOf(scope);
  const all = everyClaimOf(user);
  const names = CLAIM_SCOPES.filter((each) => granted.includes(each)).flatMap((each): string[] => [...byScope[each]]);
  const extra = asked.filter((claim) => allowed.includes(releasedBy(claim) ?? ""));
  const released = [...new Set([...names, ...extra])].filter((name) => all[name] !== undefined);
  return Object.fromEntries(released.map((name) => [name, all[name]]));
}

function everyClaimOf(user: User): Record<string, unknown> {
  const { phone_number: phone, phone_number_verified: phoneVerified, ...claims } = user.claims;
  return {
    ...claims,
    nickname: user.nickname,
    roles: user.roles,
    updated_at: Math.floor(user.updatedAt / 1000),
    email: user.email,
    email_verified: user.emailVerified,
    ...(phone === undefined ? {} : { phone_number: phone, phone_number_verified: phoneVerified ?? false }),
  };
}
