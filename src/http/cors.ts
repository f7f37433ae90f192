import type { FastifyCorsOptionsDelegateCallback } from "@fastify/cors";
import type { FastifyReply, FastifyRequest } from "fastify";
import { isLoopback } from "../net/loopback.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { isPublicDocument } from "./well-known.ts";

/** What applications call from a browser; the paths begin so. */
export const BROWSER_PATHS = [
  PATHS.pushedAuthorization,
  PATHS.token,
  PATHS.deviceAuthorization,
  PATHS.revoke,
  PATHS.userinfo,
  PATHS.register,
  "/api/users/",
];

/** What an application in a browser may read of an answer. */
const exposedHeaders = ["retry-after", "www-authenticate", "dpop-nonce"];

/**
 * A refusal before the endpoint was reached (too many requests, a header twice, a body too large, no such path or method) is one that the
 * application in the browser must be able to read too.
 */
export function letOriginRead(ctx: OAuthContext, request: FastifyRequest, reply: FastifyReply): void {
  const { origin } = request.headers;
  if (origin === undefined || reply.getHeader("access-control-allow-origin") !== undefined) return;
  reply.headers(readableBy(ctx, request.url, origin));
}

export const READABLE_BY_ALL = { "access-control-allow-origin": "*" } as const;

/**
 * The headers with which a script of this origin may read an answer; none where it may not.
 * @param origin undefined: it is not known, and the answer is the same for everybody
 */
export function readableBy(
  ctx: OAuthContext,
  url: string,
  origin: string | undefined,
): Readonly<Record<string, string>> {
  const [path = ""] = url.split("?", 1);
  if (isPublicDocument(url)) return READABLE_BY_ALL;
  if (!BROWSER_PATHS.some((each) => path.startsWith(each))) return {};
  if (origin === undefined) return READABLE_BY_ALL;
  if (!isAllowedOrigin(ctx, origin)) return {};
  const exposed = exposedHeaders.join(", ");
  return { "access-control-allow-origin": origin, vary: "Origin", "access-control-expose-headers": exposed };
}

export function corsOf(ctx: OAuthContext): FastifyCorsOptionsDelegateCallback {
  return (request: FastifyRequest, done) => {
    const { origin } = request.headers;
    // the same for everyone: any origin may read them, with whatever headers its client library sends
    if (isPublicDocument(request.url)) {
      return done(null, { origin: "*", methods: ["GET"], strictPreflight: false, maxAge: 600 });
    }
    done(null, {
      origin: origin !== undefined && isAllowedOrigin(ctx, origin) ? origin : false,
      strictPreflight: false,
      // PUT and DELETE: a client changes or removes its own registration (RFC 7592)
      methods: ["GET", "POST", "PUT", "DELETE"],
      allowedHeaders: [
        "authorization",
        "content-type",
        "dpop",
        "traceparent",
        "tracestate",
        "baggage",
        "mcp-protocol-version",
      ],
      exposedHeaders,
      maxAge: 600,
    });
  };
}

function isAllowedOrigin({ config }: OAuthContext, origin: string): boolean {
  if (config.corsOrigins !== "loopback") return config.corsOrigins.includes(origin);
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname) && new URL(origin).origin === origin;
}
