import { setImmediate as nextTurn } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { IntrospectionService, IntrospectResponseSchema } from "../../gen/auth/v1/introspection_pb.ts";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { authorizeToken, type Introspection, introspect } from "../oauth/introspection.ts";
import { callerOf } from "./caller.ts";

const MAX_BATCH = 1000;

/** Tokens of a batch looked at before other calls have their turn: signatures are checked on the main thread. */
const BATCH_STEP = 32;

export function introspectionService(ctx: Context): ServiceImpl<typeof IntrospectionService> {
  return {
    async introspect({ token }, context) {
      return toResponse(await introspect(ctx, callerOf(context).client, token));
    },

    async batchIntrospect({ tokens }, context) {
      if (tokens.length < 1 || tokens.length > MAX_BATCH) {
        throw new AuthError("invalid_request", "tokens must hold 1 to 1,000 tokens");
      }
      const { client } = callerOf(context);
      const { signal } = context;
      const responses: MessageInitShape<typeof IntrospectResponseSchema>[] = [];
      for (let at = 0; at < tokens.length; at += BATCH_STEP) {
        signal.throwIfAborted();
        const step = tokens.slice(at, at + BATCH_STEP);
        const answers = await Promise.all(step.map((token) => introspect(ctx, client, token)));
        responses.push(...answers.map(toResponse));
        await nextTurn();
      }
      return { responses };
    },

    async authorize({ token, requiredScopes }, context) {
      const decision = await authorizeToken(ctx, callerOf(context).client, token, requiredScopes);
      const { allowed, httpStatus, error } = decision;
      return { allowed, httpStatus, error, ...(allowed ? { token: toResponse(decision.token) } : {}) };
    },
  };
}

function toResponse(introspection: Introspection): MessageInitShape<typeof IntrospectResponseSchema> {
  if (!introspection.active) return { active: false };
  const { scope, client_id, username, token_type, exp, iat, sub, aud, iss, jti, sid, roles, nickname } = introspection;
  return {
    active: true,
    scope,
    clientId: client_id,
    username: username ?? "",
    tokenType: token_type,
    exp: BigInt(exp),
    iat: BigInt(iat),
    nbf: BigInt(("nbf" in introspection && Number(introspection.nbf)) || 0),
    sub,
    aud: [...aud],
    iss,
    jti,
    sid,
    roles: [...(roles ?? [])],
    nickname: nickname ?? "",
  };
}
