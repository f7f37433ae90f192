import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { currentRequest } from "./request.ts";

/** Events about accounts and keys for operators. Events that may be an attack are logged as warnings. */
const securityEvents = {
  sign_up: "info",
  login: "info",
  login_failed: "info",
  login_throttled: "warn",
  logout: "info",
  logged_out_everywhere: "info",
  logout_notice_delivered: "info",
  password_changed: "info",
  password_reset_requested: "info",
  password_reset: "info",
  email_verification_requested: "info",
  email_verified: "info",
  email_changed: "info",
  second_factor_failed: "info",
  second_factor_throttled: "warn",
  factor_added: "info",
  factor_removed: "info",
  factors_reset: "warn",
  recovery_codes_made: "info",
  recovery_code_used: "warn",
  passkey_renamed: "info",
  passkey_refused: "info",
  passkey_cloned: "warn",
  user_disabled: "info",
  user_enabled: "info",
  user_closed: "info",
  user_reopened: "info",
  user_deleted: "info",
  user_changed: "info",
  events_discarded: "warn",
  events_retried: "info",
  consent_withdrawn: "info",
  access_token_revoked: "info",
  authorization_revoked: "info",
  token_exchanged: "info",
  device_code_allowed: "info",
  device_code_denied: "info",
  device_code_refused: "info",
  client_registered: "info",
  client_changed: "info",
  client_enabled: "info",
  client_disabled: "info",
  client_removed: "info",
  client_secret_rotated: "info",
  client_deleted: "info",
  signing_key_added: "info",
  signing_key_distrusted: "warn",
  everything_revoked: "warn",
  client_authentication_failed: "warn",
  authorization_refused: "info",
  token_refused: "info",
  code_replayed: "warn",
  refresh_token_reused: "warn",
  refresh_token_of_other_client: "warn",
  refresh_token_with_other_key: "warn",
  bound_token_without_proof: "warn",
  bound_token_with_other_key: "warn",
} as const;

/** One line in the log with `event`, and one more in `auth_security_events_total`. @param fields ids only, nothing secret */
export function securityEvent(
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
  event: keyof typeof securityEvents,
  fields: Readonly<Record<string, unknown>>,
): void {
  const { address, agent, caller, by } = currentRequest() ?? {};
  log[securityEvents[event]]({ event, address, agent, caller, by, ...fields }, event.replaceAll("_", " "));
  metrics.securityEvents.inc({ event });
}
