import { z } from "zod";
import { releasedBy } from "../tokens/user-claims.ts";

const wanted = z
  .object({
    essential: z.boolean().optional(),
    value: z.union([z.string().max(500), z.number(), z.boolean()]).optional(),
    values: z
      .array(z.union([z.string().max(500), z.number(), z.boolean()]))
      .max(20)
      .optional(),
  })
  .nullable();
const members = z.record(z.string().max(100), wanted);
/** Null is nothing asked for, as of a single claim. */
const place = members.nullish().transform((given) => given ?? undefined);
const claimsRequest = z.object({ id_token: place.optional(), userinfo: place.optional() });

/** The `claims` parameter (OpenID Connect Core section 5.5). */
export type ClaimsRequest = z.infer<typeof claimsRequest>;

const maxLength = 4_000;

/** @returns null for what is no such object, or too long */
export function readClaimsRequest(text: string): ClaimsRequest | null {
  if (text.length > maxLength) return null;
  try {
    const parsed = claimsRequest.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Names of the claims that an authorization's request asked for one by one, for the ID token or for userinfo. */
export function askedClaims(authorization: { claims: string | null }, place: "id_token" | "userinfo"): string[] {
  if (authorization.claims === null) return [];
  return Object.keys(readClaimsRequest(authorization.claims)?.[place] ?? {});
}

/** The scopes that would have released these claims: what the user is asked about. */
export function scopesOfClaims(claims: ClaimsRequest | null): string[] {
  const names = [...Object.keys(claims?.id_token ?? {}), ...Object.keys(claims?.userinfo ?? {})];
  const scopes = names.map((name) => releasedBy(name)).filter((scope) => scope !== null);
  return [...new Set(scopes)];
}

/**
 * The request without the claims that none of these scopes releases: what is recorded with the authorization. A client that gets a scope
 * later does not get its claims by an authorization that was given before.
 */
export function withinScopes(claims: ClaimsRequest, scopes: readonly string[]): ClaimsRequest {
  const within = (members: ClaimsRequest["userinfo"]) =>
    Object.fromEntries(
      Object.entries(members ?? {}).filter(([name]) => {
        const scope = releasedBy(name);
        return scope === null || scopes.includes(scope);
      }),
    );
  const { id_token: idToken, userinfo } = claims;
  return {
    ...(idToken === undefined ? {} : { id_token: within(idToken) }),
    ...(userinfo === undefined ? {} : { userinfo: within(userinfo) }),
  };
}
