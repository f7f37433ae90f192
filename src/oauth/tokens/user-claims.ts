import { CLAIMS_BY_SCOPE } from "../../store/user-claims.ts";
import type { User } from "../../store/users.ts";
import type { OAuthContext } from "../context.ts";
import { scopesOf } from "../scopes.ts";

export const CLAIM_SCOPES = Object.keys(CLAIMS_BY_SCOPE) as (keyof typeof CLAIMS_BY_SCOPE)[];

/** @returns null for a claim that no scope releases */
export function releasedBy(claim: string): string | null {
  return CLAIM_SCOPES.find((scope) => (CLAIMS_BY_SCOPE[scope] as readonly string[]).includes(claim)) ?? null;
}

/**
 * The claims about a user that these scopes release, and those asked for one by one (OpenID Connect Core section 5.5), which the
 * user agreed to as part of their scope. What the user does not have is left out.
 * @param allowed scopes of the client: a claim of another scope is not released, even if it is asked for
 */
export function userClaims(
  { config }: OAuthContext,
  user: User,
  scope: string,
  asked: readonly string[] = [],
  allowed: readonly string[] = [],
): Record<string, unknown> {
  const granted = scopesOf(scope);
  const all = everyClaimOf(user);
  const standard = CLAIM_SCOPES.filter((each) => granted.includes(each)).flatMap((each) => CLAIMS_BY_SCOPE[each]);
  const described = granted.flatMap((each) => config.scopes.get(each)?.claims ?? []);
  const extra = asked.filter((claim) => allowed.includes(releasedBy(claim) ?? ""));
  const released = [...new Set<string>([...standard, ...described, ...extra])].filter(
    (name) => all[name] !== undefined,
  );
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
