import type { FastifyInstance, FastifyRequest } from "fastify";
import { networkOf } from "../limits.ts";
import type { Caller } from "../oauth/callers/caller-memory.ts";
import { authenticateHttpCaller } from "../oauth/callers/callers.ts";
import type { ClientCredentials } from "../oauth/clients/authentication.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { introspect, isReused, signIntrospection } from "../oauth/tokens/introspection.ts";
import type { Introspection } from "../oauth/tokens/introspection-answer.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

const jwtType = "application/token-introspection+jwt";

/** Bodies of answers that are given again. */
const bodies = new WeakMap<Introspection, string>();

/**
 * POST /oauth2/introspect (RFC 7662, RFC 9701): the HTTP twin of IntrospectionService.Introspect. A caller and a token that are known
 * from before are answered without a promise.
 */
export function introspectEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  app.post(PATHS.introspect, (request, reply) => {
    const parameters = readForm(request);
    // a missing token is answered as inactive, as over gRPC
    const token = parameters["token"] ?? "";
    const answer = ({ client }: Caller, introspection: Introspection) => {
      if (asksForJwt(request.headers.accept)) {
        return reply.type(jwtType).send(signIntrospection(ctx, client, introspection));
      }
      return reply.type("application/json; charset=utf-8").send(bodyOf(introspection));
    };
    const caller = authenticateHttpCaller(ctx, new HttpCredentials(request, parameters));
    if (caller instanceof Promise) {
      return caller.then(async (authenticated) =>
        answer(authenticated, await introspectWithinLimits(ctx, authenticated, token)),
      );
    }
    const introspection = introspectWithinLimits(ctx, caller, token);
    if (introspection instanceof Promise) return introspection.then((read) => answer(caller, read));
    return answer(caller, introspection);
  });
}

/** @throws AuthError rate_limited, unavailable */
function introspectWithinLimits(
  ctx: OAuthContext,
  caller: Caller,
  token: string,
): Introspection | Promise<Introspection> {
  const load = ctx.callerLimits.enter(caller.client.clientId);
  let introspection: Introspection | Promise<Introspection> | undefined;
  try {
    introspection = introspect(ctx, caller, token);
  } finally {
    if (!(introspection instanceof Promise)) ctx.callerLimits.leave(load);
  }
  return introspection instanceof Promise ? introspection.finally(() => ctx.callerLimits.leave(load)) : introspection;
}

function bodyOf(introspection: Introspection): string {
  const known = bodies.get(introspection);
  if (known !== undefined) return known;
  const body = JSON.stringify(introspection);
  if (isReused(introspection)) bodies.set(introspection, body);
  return body;
}

/** RFC 9701 section 4: a caller gets a JWT only if it names the type and does not prefer JSON. */
function asksForJwt(accept: string | undefined): boolean {
  if (accept === undefined || !accept.toLowerCase().includes(jwtType)) return false;
  const wanted = new Map<string, number>();
  for (const each of accept.split(",")) {
    const [type = "", ...parameters] = each.split(";").map((part) => part.trim().toLowerCase());
    const q = parameters.find((parameter) => parameter.startsWith("q="));
    wanted.set(type, q === undefined ? 1 : Number(q.slice(2)));
  }
  const asked = wanted.get(jwtType) ?? 0;
  return asked > 0 && asked >= (wanted.get("application/json") ?? 0);
}

/** A class and no literal: a getter in a literal is another shape for every request, which V8 keeps and collects at a high price. */
class HttpCredentials implements ClientCredentials {
  readonly #request: FastifyRequest;
  readonly authorization: string | null;
  readonly parameters: Parameters;

  constructor(request: FastifyRequest, parameters: Parameters) {
    this.#request = request;
    this.authorization = request.headers.authorization ?? null;
    this.parameters = parameters;
  }

  /** Asked for only where the caller is not known from before. */
  get network(): string {
    return networkOf(addressOf(this.#request));
  }
}
