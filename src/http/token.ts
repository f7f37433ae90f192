import type { FastifyInstance } from "fastify";
import { LRUCache } from "lru-cache";
import { hashOf } from "../crypto/hashes.ts";
import { networkOf } from "../limits.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { RefreshRejected } from "../oauth/grants/refresh-token.ts";
import { PATHS } from "../oauth/paths.ts";
import { exchangeToken } from "../oauth/token.ts";
import { proofOf } from "./dpop.ts";
import { setRetryAfter } from "./error-table.ts";
import { REPEATABLE, readFormOrJson } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

/** A client that answers every 401 with a refresh would call without end: the third refusal of one token says 429. */
const refusalsBefore429 = 2;
const refusalMemoryMs = 60_000;

/** POST /oauth2/token (RFC 6749 section 3.2): a form, or the same members as a JSON object. */
export function tokenEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const refusals = new LRUCache<string, number>({ max: 10_000, ttl: refusalMemoryMs, noUpdateTTL: true });

  app.post(PATHS.token, async (request, reply) => {
    const parameters = readFormOrJson(request, REPEATABLE.target);
    try {
      const authorization = request.headers.authorization ?? null;
      const network = networkOf(addressOf(request));
      return await exchangeToken(ctx, { parameters, authorization, network, dpop: proofOf(ctx, request) });
    } catch (error) {
      if (!(error instanceof RefreshRejected)) throw error;
      const body = { error: "invalid_grant", error_description: error.description };
      if (error.statusCode === 400) return reply.code(400).send(body);
      const token = hashOf(parameters["refresh_token"] ?? "");
      const before = refusals.get(token) ?? 0;
      refusals.set(token, before + 1);
      if (before < refusalsBefore429) return reply.code(401).send(body);
      setRetryAfter(reply, refusalMemoryMs / 1000);
      return reply.code(429).send(body);
    }
  });
}
