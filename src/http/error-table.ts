import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { AuthError, type AuthErrorCode } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { GATEWAY, type GatewayRow, wwwAuthenticate } from "../token/gateway.ts";
import { printable } from "./parameters.ts";

/** The codes of the account API. */
export type AccountCode =
  | "AUTH_INVALID_REQUEST"
  | "AUTH_EMAIL_DUPLICATE"
  | "AUTH_INVALID_CREDENTIALS"
  | "AUTH_RESET_TOKEN_INVALID"
  | "AUTH_VERIFICATION_TOKEN_INVALID"
  | "AUTH_NOT_FOUND"
  | "AUTH_RATE_LIMITED"
  | "AUTH_UNAVAILABLE"
  | "AUTH_INTERNAL";

/** What this edge answers: the status, `error` of an OAuth answer, `error.code` of an account answer (null: the gateway's table). */
interface Answer {
  readonly status: number;
  readonly oauth: string;
  readonly account: AccountCode | null;
}

const bad = (oauth: string, status = 400): Answer => ({ status, oauth, account: "AUTH_INVALID_REQUEST" });

const gateway = ({ status, error }: GatewayRow): Answer => ({ status, oauth: error, account: null });

/** One row a code: a forgotten one does not compile. */
export const ANSWERS: Record<AuthErrorCode, Answer> = {
  invalid_request: bad("invalid_request"),
  invalid_client: bad("invalid_client", 401),
  invalid_grant: bad("invalid_grant"),
  unauthorized_client: bad("unauthorized_client"),
  unsupported_grant_type: bad("unsupported_grant_type"),
  unsupported_response_type: bad("unsupported_response_type"),
  invalid_scope: bad("invalid_scope"),
  access_denied: bad("access_denied"),
  server_error: { status: 500, oauth: "server_error", account: "AUTH_INTERNAL" },
  invalid_target: bad("invalid_target"),
  login_required: bad("login_required"),
  consent_required: bad("consent_required"),
  interaction_required: bad("interaction_required"),
  request_not_supported: bad("request_not_supported"),
  request_uri_not_supported: bad("request_uri_not_supported"),
  registration_not_supported: bad("registration_not_supported"),
  unmet_authentication_requirements: bad("unmet_authentication_requirements"),
  invalid_request_uri: bad("invalid_request_uri"),
  invalid_dpop_proof: bad("invalid_dpop_proof"),
  use_dpop_nonce: bad("use_dpop_nonce"),
  authorization_pending: bad("authorization_pending"),
  slow_down: bad("slow_down"),
  expired_token: bad("expired_token"),
  invalid_redirect_uri: bad("invalid_redirect_uri"),
  invalid_client_metadata: bad("invalid_client_metadata"),
  // the error itself says whether it is 400 or 401
  refresh_rejected: bad("invalid_grant", 401),
  // the gateway's table: `error` is the whole body
  unauthorized: gateway(GATEWAY.unauthorized),
  invalid_token: gateway(GATEWAY.invalid_token),
  token_expired: gateway(GATEWAY.token_expired),
  forbidden: gateway(GATEWAY.forbidden),
  email_taken: { status: 409, oauth: "invalid_request", account: "AUTH_EMAIL_DUPLICATE" },
  invalid_input: bad("invalid_request"),
  invalid_credentials: { status: 400, oauth: "invalid_request", account: "AUTH_INVALID_CREDENTIALS" },
  reset_token_invalid: { status: 400, oauth: "invalid_request", account: "AUTH_RESET_TOKEN_INVALID" },
  verification_token_invalid: { status: 400, oauth: "invalid_request", account: "AUTH_VERIFICATION_TOKEN_INVALID" },
  account_closed: { status: 403, oauth: "access_denied", account: "AUTH_INVALID_CREDENTIALS" },
  email_unverified: bad("access_denied", 403),
  not_found: { status: 404, oauth: "invalid_request", account: "AUTH_NOT_FOUND" },
  rate_limited: { status: 429, oauth: "temporarily_unavailable", account: "AUTH_RATE_LIMITED" },
  unavailable: { status: 503, oauth: "temporarily_unavailable", account: "AUTH_UNAVAILABLE" },
};

/** The refusals that are answered by the gateway's table. */
const byBearer: Partial<Record<AuthErrorCode, GatewayRow>> = {
  unauthorized: GATEWAY.unauthorized,
  invalid_token: GATEWAY.invalid_token,
  token_expired: GATEWAY.token_expired,
  forbidden: GATEWAY.forbidden,
};
/** The same and these where a request came with scheme DPoP (RFC 9449 section 7.1). */
const byProof: Partial<Record<AuthErrorCode, GatewayRow>> = { ...byBearer, ...GATEWAY };

/** Any error as an AuthError. One that is none is logged with its cause and shown as server_error. */
export function toAuthError(ctx: OAuthContext, error: unknown): { error: AuthError; status: number } {
  if (error instanceof AuthError) {
    const own = (error as { statusCode?: number }).statusCode;
    if (error.code === "unavailable") ctx.log.warn({ err: error }, "answered as unavailable");
    return { error, status: own ?? ANSWERS[error.code].status };
  }
  const { statusCode, code } = error as FastifyError;
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const description =
      code === "FST_ERR_CTP_BODY_TOO_LARGE" ? "the body is larger than 64 KiB" : "the request is malformed";
    return { error: new AuthError("invalid_request", description), status: statusCode };
  }
  ctx.log.error({ err: error }, "unexpected error");
  return { error: new AuthError("server_error", "internal error; the service logged its cause"), status: 500 };
}

/** Sets Retry-After in whole seconds (RFC 9110 section 10.2.3) where a later attempt can succeed. */
export function setRetryAfter(reply: FastifyReply, seconds: number | undefined): void {
  if (seconds !== undefined) reply.header("retry-after", String(seconds));
}

/**
 * The refusal that a page shows beside its form; its status and Retry-After are set.
 * @param codes what the page can say
 * @throws what was thrown, where it is none of these
 */
export function refusalOn(reply: FastifyReply, thrown: unknown, codes: readonly AuthErrorCode[]): AuthError {
  if (!(thrown instanceof AuthError) || !codes.includes(thrown.code)) throw thrown;
  setRetryAfter(reply, thrown.retryAfter);
  reply.code(ANSWERS[thrown.code].status);
  return thrown;
}

/** Answers a refusal in the envelope of the route it happened on: OAuth (RFC 6749 section 5.2) or account API. */
export function sendError(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  thrown: unknown,
): FastifyReply {
  const { error, status } = toAuthError(ctx, thrown);
  const { oauth, account } = ANSWERS[error.code];
  reply.code(status).header("cache-control", "no-store");
  setRetryAfter(reply, error.retryAfter);
  const hasProof = /^dpop /i.test(request.headers.authorization ?? "");
  const refusal = (hasProof ? byProof : byBearer)[error.code];
  if (refusal !== undefined) {
    reply.code(refusal.status).header("www-authenticate", wwwAuthenticate(refusal, hasProof ? "DPoP" : "Bearer"));
    return reply.send({ error: refusal.error });
  }
  if (error.code === "invalid_client" && request.headers.authorization !== undefined) {
    reply.header("www-authenticate", 'Basic realm="client", charset="UTF-8"');
  }
  const details =
    error.violations.length === 0
      ? {}
      : { details: error.violations.map(({ field, rule, message }) => ({ field, rule, message })) };
  return sendEnvelope(request, reply, { oauth, account, description: error.description, details });
}

/** The path is there, and answers other methods: those that `allow` names (RFC 9110 section 15.5.6). */
export function sendMethodNotAllowed(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { oauth, account } = ANSWERS.invalid_request;
  return sendEnvelope(request, reply.code(405), { oauth, account, description: "method not allowed", details: {} });
}

function sendEnvelope(
  request: FastifyRequest,
  reply: FastifyReply,
  said: {
    readonly oauth: string;
    readonly account: string | null;
    readonly description: string;
    readonly details: object;
  },
): FastifyReply {
  const { oauth, account, description, details } = said;
  if (request.url.startsWith("/api/")) {
    return reply.send({ success: false, error: { code: account, message: description, ...details } });
  }
  return reply.send({ error: oauth, error_description: printable(description) });
}
