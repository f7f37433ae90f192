import { setImmediate as nextTurn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  type IntrospectionService,
  type IntrospectResponse,
  IntrospectResponseSchema,
  RevocationKind,
} from "../../gen/auth/v1/introspection_pb.ts";
import { AuthError } from "../errors.ts";
import { recheckCaller } from "../oauth/callers/callers.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { SlowWatcher, watchRevocations } from "../oauth/revocations/watch.ts";
import { authorizeToken, introspect, isReused } from "../oauth/tokens/introspection.ts";
import type { Introspection } from "../oauth/tokens/introspection-answer.ts";
import { callerOf, callOf, demandScope } from "./caller.ts";
import { encodeOnce } from "./message-writer.ts";

const maxBatch = 1000;

/** Tokens of a batch looked at before other calls have their turn: signatures are checked on the main thread. */
const batchStep = 32;

/** How often the credentials of an open watch are looked at again. */
const recheckMs = 1_000;

export function introspectionService(ctx: OAuthContext): ServiceImpl<typeof IntrospectionService> {
  return {
    introspect({ token }, context) {
      const introspection = introspect(ctx, callerOf(context), token);
      return introspection instanceof Promise ? introspection.then(toResponse) : toResponse(introspection);
    },

    async batchIntrospect({ tokens }, context) {
      if (tokens.length < 1 || tokens.length > maxBatch) {
        throw new AuthError("invalid_request", "tokens must hold 1 to 1,000 tokens");
      }
      const caller = callerOf(context);
      const { signal } = context;
      const responses: IntrospectResponse[] = [];
      for (let at = 0; at < tokens.length; at += batchStep) {
        if (at > 0) await nextTurn();
        signal.throwIfAborted();
        const step = tokens.slice(at, at + batchStep).map((token) => introspect(ctx, caller, token));
        const waits = step.some((answer) => answer instanceof Promise);
        const answers = waits ? await Promise.all(step) : (step as Introspection[]);
        for (const answer of answers) responses.push(toResponse(answer));
      }
      return { responses };
    },

    async authorize({ token, requiredScopes, bindingChecked }, context) {
      const decision = await authorizeToken(ctx, callerOf(context), token, requiredScopes, bindingChecked);
      if (decision.allowed) return { allowed: true, httpStatus: 200, error: "", token: toResponse(decision.token) };
      const { status, error } = decision.refusal;
      return { allowed: false, httpStatus: status, error };
    },

    async *watchRevocations({ resumeToken, userEpochs }, context) {
      let checkedAt = performance.now();
      try {
        for await (const response of watchRevocations(ctx, { resumeToken, userEpochs }, context.signal)) {
          // its credentials may end before the call does
          if (ctx.feed.fresh && performance.now() - checkedAt > recheckMs) {
            const caller = await recheckCaller(ctx, callOf(context).credentials);
            if (caller !== null) demandScope(caller, "auth.introspect");
            checkedAt = performance.now();
          }
          yield {
            revocations: response.revocations.map(({ kind, value, epoch, revokedAt, expiresAt }) => ({
              kind: revocationKinds[kind],
              value,
              revokedAt: timestampFromMs(revokedAt),
              expiresAt: timestampFromMs(expiresAt),
              epoch: BigInt(epoch ?? 0),
            })),
            resumeToken: response.resumeToken,
            snapshot: response.snapshot,
            completeUntil: timestampFromMs(response.completeUntil),
          };
        }
      } catch (error) {
        if (!(error instanceof SlowWatcher)) throw error;
        throw new ConnectError(error.description, Code.ResourceExhausted, { "resume-token": error.resumeToken });
      }
    },
  };
}

const revocationKinds = {
  token: RevocationKind.TOKEN,
  authorization: RevocationKind.AUTHORIZATION,
  user: RevocationKind.USER,
  subject: RevocationKind.SUBJECT,
  client: RevocationKind.CLIENT,
  key: RevocationKind.KEY,
  // never sent
  client_changed: RevocationKind.UNSPECIFIED,
};

/** Messages of answers that are given again. */
const messages = new WeakMap<Introspection, IntrospectResponse>();

function toResponse(introspection: Introspection): IntrospectResponse {
  const kept = messages.get(introspection);
  if (kept !== undefined) return kept;
  const message = toMessage(introspection);
  if (isReused(introspection)) {
    messages.set(introspection, message);
    encodeOnce(message);
  }
  return message;
}

function toMessage(introspection: Introspection): IntrospectResponse {
  if (!introspection.active) return create(IntrospectResponseSchema, { active: false });
  const { scope, client_id, username, token_type, exp, iat, sub, aud, iss, jti, sid, roles, nickname, cnf, act } =
    introspection;
  const { auth_time, acr, amr } = introspection;
  return create(IntrospectResponseSchema, {
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
    authTime: BigInt(auth_time ?? 0),
    acr: acr ?? "",
    amr: [...(amr ?? [])],
    ...(cnf === undefined ? {} : { cnf }),
    ...(act === undefined ? {} : { act }),
  });
}
