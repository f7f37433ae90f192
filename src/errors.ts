/**
 * Every way in which a request can be refused. OAuth codes are literal (RFC 6749, 6750, 7009, 7591, 8628, 8707, 9126, 9449, OpenID
 * Connect Core);
 * the others are this service's own. Each edge has one table from these codes to what it answers.
 */
export type AuthErrorCode =
  // RFC 6749 sections 4.1.2.1 and 5.2
  | "invalid_request"
  | "invalid_client"
  | "invalid_grant"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "unsupported_response_type"
  | "invalid_scope"
  | "access_denied"
  | "server_error"
  // RFC 8707
  | "invalid_target"
  // RFC 7009
  | "unsupported_token_type"
  // OpenID Connect Core section 3.1.2.6
  | "login_required"
  | "consent_required"
  | "interaction_required"
  | "request_not_supported"
  | "request_uri_not_supported"
  | "registration_not_supported"
  | "account_selection_required"
  | "unmet_authentication_requirements"
  // RFC 9126, RFC 9101
  | "invalid_request_uri"
  // RFC 9449
  | "invalid_dpop_proof"
  | "use_dpop_nonce"
  // RFC 8628 section 3.5
  | "authorization_pending"
  | "slow_down"
  | "expired_token"
  // RFC 7591 section 3.2.2
  | "invalid_redirect_uri"
  | "invalid_client_metadata"
  // a refresh token that was found refused (the status is REFRESH_REJECTED_STATUS)
  | "refresh_rejected"
  // the gateway's table
  | "unauthorized"
  | "invalid_token"
  | "token_expired"
  | "forbidden"
  // accounts
  | "email_taken"
  | "invalid_input"
  | "invalid_credentials"
  | "reset_token_invalid"
  | "not_found"
  // the request is fine, now is not the time
  | "rate_limited"
  | "unavailable";

export interface FieldViolation {
  readonly field: string;
  readonly message: string;
}

export interface AuthErrorOptions {
  readonly cause?: unknown;
  /** Seconds after which the same request is worth another try. */
  readonly retryAfter?: number;
  /** Every refused field. */
  readonly violations?: readonly FieldViolation[];
}

/** A refusal that may be shown to whoever asked: `description` never holds a secret, a token or an internal detail. */
export class AuthError extends Error {
  readonly code: AuthErrorCode;
  readonly description: string;
  readonly retryAfter: number | undefined;
  readonly violations: readonly FieldViolation[];

  constructor(code: AuthErrorCode, description: string, options: AuthErrorOptions = {}) {
    super(`${code}: ${description}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AuthError";
    this.code = code;
    this.description = description;
    this.retryAfter = options.retryAfter;
    this.violations = options.violations ?? [];
  }
}
