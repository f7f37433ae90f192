import { Code, ConnectError, type ContextKey, createContextKey, type Interceptor } from "@connectrpc/connect";
import type { VerifiedClaims } from "./decision.ts";
import type { Verifier, VerifyOptions } from "./verifier.ts";

const key: ContextKey<VerifiedClaims | null> = createContextKey<VerifiedClaims | null>(null, {
  description: "claims of the verified token",
});
const codes = { 401: Code.Unauthenticated, 403: Code.PermissionDenied, 503: Code.Unavailable } as const;

/**
 * A server interceptor for Connect routes (Connect, gRPC and gRPC-Web): calls without a good token end as UNAUTHENTICATED,
 * PERMISSION_DENIED or UNAVAILABLE with the gateway's text. Handlers read `claimsOf(context)`.
 * @param options one set for all methods, or by method
 */
export function requireToken(
  verifier: Verifier,
  options?:
    | VerifyOptions
    | ((method: { readonly name: string; readonly parent: { readonly typeName: string } }) => VerifyOptions),
): Interceptor {
  return (next) => async (request) => {
    const own = typeof options === "function" ? options(request.method) : options;
    const { header, requestMethod, url } = request;
    const { pathname, search } = new URL(url);
    const signed = { method: requestMethod, url: `${pathname}${search}`, dpop: header.get("dpop") };
    const decision = await verifier.verifyHeader(header.get("authorization"), own, signed);
    if (!decision.allowed) {
      const metadata: Record<string, string> =
        decision.status === 503
          ? { "retry-after": String(decision.retryAfter) }
          : { "www-authenticate": decision.wwwAuthenticate };
      throw new ConnectError(decision.error, codes[decision.status], metadata);
    }
    request.contextValues.set(key, decision.claims);
    return next(request);
  };
}

/**
 * The claims of the token that a call was let through with.
 * @param context the handler's context
 * @throws Error if `requireToken` did not run before the handler
 */
export function claimsOf(context: { readonly values: { get<T>(key: ContextKey<T>): T } }): VerifiedClaims {
  const claims = context.values.get(key);
  if (claims === null) throw new Error("no token was verified for this call: is requireToken missing?");
  return claims;
}
