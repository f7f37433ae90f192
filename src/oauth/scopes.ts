import { AuthError } from "../errors.ts";

/** The scopes of a space-separated list (RFC 6749 section 3.3), each once. */
export function scopesOf(text: string): string[] {
  return [...new Set(text.split(" ").filter((scope) => scope !== ""))];
}

/** The scopes of an authorization that the client may still have: what was agreed to, without what the client has lost since. */
export function permittedScope(agreed: string, ofClient: string): string {
  const allowed = scopesOf(ofClient);
  return scopesOf(agreed)
    .filter((scope) => allowed.includes(scope))
    .join(" ");
}

/**
 * RFC 6749 section 6 and RFC 8693 section 2.1: a token request may ask for less than was granted, never for more.
 * @param asked the `scope` parameter; undefined: all that was granted
 * @throws AuthError invalid_scope
 */
export function narrowedScope(granted: string, asked: string | undefined): string {
  if (asked === undefined) return granted;
  const allowed = scopesOf(granted);
  const scopes = scopesOf(asked);
  if (scopes.length > 0 && scopes.every((scope) => allowed.includes(scope))) return scopes.join(" ");
  throw new AuthError("invalid_scope", "scope exceeds what was granted");
}
