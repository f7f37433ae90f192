import { toHttp } from "./decision.ts";
import { DOCUMENT_HEADERS, DOCUMENT_METHODS, PREFLIGHT_HEADERS } from "./protected-resource.ts";
import { setClaims } from "./request-claims.ts";
import type { Verifier, VerifyOptions } from "./verifier.ts";

export { claimsOf } from "./request-claims.ts";

/** The parts of Fastify's request and reply that this library uses without depending on Fastify. */
export interface RequestLike {
  readonly headers: { readonly authorization?: string | undefined; readonly dpop?: string | string[] | undefined };
  readonly method: string;
  readonly originalUrl: string;
}
export interface ReplyLike {
  code(status: number): ReplyLike;
  headers(values: Record<string, string>): ReplyLike;
  send(body: string): ReplyLike;
}
type OnRequest = (request: RequestLike, reply: ReplyLike) => Promise<unknown>;
export interface InstanceLike {
  addHook(name: "onRequest", hook: OnRequest): unknown;
}

/**
 * An `onRequest` hook, for one route or many. Handlers behind it read `claimsOf(request)`; requests without a good token are
 * answered by the gateway's table and reach no handler.
 */
export function requireToken(verifier: Verifier, options?: VerifyOptions): OnRequest {
  return async (request, reply) => {
    const { headers, method, originalUrl } = request;
    // clients read it to find out where they get a token
    if (DOCUMENT_METHODS.includes(method) && originalUrl === verifier.protectedResource()?.path) return;
    const signed = { method, url: originalUrl, dpop: headers.dpop };
    const decision = await verifier.verifyHeader(headers.authorization, options, signed);
    if (decision.allowed) return setClaims(request, decision.claims);
    const answer = toHttp(decision);
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  };
}

/** The part of a Fastify instance that a route is added to. */
export interface RoutesLike {
  get(path: string, handler: (request: RequestLike, reply: ReplyLike) => unknown): unknown;
  options(path: string, handler: (request: RequestLike, reply: ReplyLike) => unknown): unknown;
}

/**
 * A plugin that serves the metadata document of the verifier's `protectedResource` (RFC 9728 section 3), without a token, also beside
 * `verifierPlugin`.
 * @throws Error the verifier has no such option
 */
export function protectedResourcePlugin(verifier: Verifier): (app: RoutesLike) => Promise<void> {
  const resource = verifier.protectedResource();
  if (resource === null) throw new Error("the verifier has no option protectedResource");
  const [path = ""] = resource.path.split("?");
  return async (app) => {
    app.get(path, (_request, reply) => reply.code(200).headers(DOCUMENT_HEADERS).send(resource.document));
    app.options(path, (_request, reply) => reply.code(204).headers(PREFLIGHT_HEADERS).send(""));
  };
}

/**
 * A plugin that puts `requireToken` before every route of the instance it is registered on, those added later included:
 * `app.register(verifierPlugin(verifier, { scopes: ["read"] }))`.
 */
export function verifierPlugin(verifier: Verifier, options?: VerifyOptions): (app: InstanceLike) => Promise<void> {
  const plugin = async (app: InstanceLike): Promise<void> => {
    app.addHook("onRequest", requireToken(verifier, options));
  };
  // for the instance itself, not for a child of it (what fastify-plugin does)
  return Object.assign(plugin, { [Symbol.for("skip-override")]: true });
}
