/**
 * Every reason to refuse a request. The codes of a standard are its own words; the others are this service's. HTTP and gRPC each have
 * one table from these codes to their answers.
 */
export type AuthErrorCode =
  // RFC 6749 sections 4.1.2.1 and 5.2 (RFC 7009 and RFC 9126 take them over)
  | "invalid_request"
  | "invalid_client"
  | "invalid_grant"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "unsupported_response_type"
  | "invalid_scope"
  | "access_denied"
  | "server_error"
  // RFC 8707 section 2
  | "invalid_target"
  // OpenID Connect Core section 3.1.2.6
  | "login_required"
  | "consent_required"
  | "interaction_required"
  | "request_not_supported"
  | "request_uri_not_supported"
  | "registration_not_supported"
  // OpenID Connect Unmet Authentication Requirements 1.0 section 3
  | "unmet_authentication_requirements"
  // RFC 9101 section 6
  | "invalid_request_uri"
  // RFC 9449 sections 5 and 8
  | "invalid_dpop_proof"
  | "use_dpop_nonce"
  // RFC 8628 section 3.5
  | "authorization_pending"
  | "slow_down"
  | "expired_token"
  // RFC 7591 section 3.2.2
  | "invalid_redirect_uri"
  | "invalid_client_metadata"
  // a refused refresh token; its status depends on the client and REFRESH_REJECTED_STATUS
  | "refresh_rejected"
  // the gateway's table; invalid_token is also RFC 6750 section 3.1
  | "unauthorized"
  | "invalid_token"
  | "token_expired"
  | "forbidden"
  // accounts
  | "email_taken"
  | "invalid_input"
  | "invalid_credentials"
  | "reset_token_invalid"
  | "verification_token_invalid"
  | "email_unverified"
  | "account_closed"
  | "not_found"
  // the same request may succeed later
  | "rate_limited"
  | "unavailable";

/**
 * The rules of the fields that people fill in. Texts are chosen by field and rule, never by `message`: `FieldTexts` of the pages does not
 * compile where one has no text.
 */
export interface FormRules {
  readonly email: "wrong_type" | "too_long" | "not_an_email";
  readonly nickname: "wrong_type" | "wrong_length" | "forbidden_characters";
  readonly password: "wrong_type" | "too_short" | "too_long" | "forbidden_characters" | "too_common";
}

/** What is wrong with a field. */
export type FieldRule = FormRules[keyof FormRules] | "wrong_format" | "unknown_field";

export interface FieldViolation {
  readonly field: string;
  readonly rule: FieldRule;
  /** English, for developers: the field's name goes before it. */
  readonly message: string;
}

/** What only an operator can change keeps the service from starting: exit status 78. The message says what to do. */
export class StartRefused extends Error {}

export interface AuthErrorOptions {
  readonly cause?: unknown;
  /** Seconds after which the client may repeat the request. */
  readonly retryAfter?: number;
  /** Every refused field. */
  readonly violations?: readonly FieldViolation[];
}

/** A refusal that the caller may see: `description` never holds a secret, a token or an internal detail. */
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

/** What a thrown value says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
