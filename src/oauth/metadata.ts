import { LANGUAGES } from "../config/languages.ts";
import {
  ASSERTION_ALGS,
  CLIENT_AUTHENTICATION_METHODS,
  GRANT_TYPES,
  INTERNAL_SCOPES,
} from "../store/client-metadata.ts";
import { USER_CLAIMS } from "../store/user-claims.ts";
import { offeredAcr } from "../token/authentication.ts";
import { DPOP_ALGS } from "../token/dpop-proof.ts";
import { PROMPTS, RESPONSE_MODES } from "./authorization/request.ts";
import type { OAuthContext } from "./context.ts";
import { PATHS } from "./paths.ts";
import { listedScopes } from "./scopes.ts";
import { CLAIM_SCOPES } from "./tokens/user-claims.ts";

/** RFC 8414 metadata: what is named here works, what is not is refused. */
export function authorizationServerMetadata(ctx: OAuthContext): Record<string, unknown> {
  const { issuer } = ctx.config;
  return {
    issuer,
    authorization_endpoint: issuer + PATHS.authorize,
    pushed_authorization_request_endpoint: issuer + PATHS.pushedAuthorization,
    require_pushed_authorization_requests: false,
    token_endpoint: issuer + PATHS.token,
    device_authorization_endpoint: issuer + PATHS.deviceAuthorization,
    registration_endpoint: issuer + PATHS.register,
    jwks_uri: issuer + PATHS.jwks,
    introspection_endpoint: issuer + PATHS.introspect,
    revocation_endpoint: issuer + PATHS.revoke,
    scopes_supported: ["openid", ...CLAIM_SCOPES, "offline_access", ...listedScopes(ctx), ...INTERNAL_SCOPES],
    response_types_supported: ["code"],
    response_modes_supported: [...RESPONSE_MODES],
    grant_types_supported: [...GRANT_TYPES],
    token_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION_METHODS],
    token_endpoint_auth_signing_alg_values_supported: [...ASSERTION_ALGS, "Ed25519"],
    introspection_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION_METHODS.filter((method) => method !== "none"),
    introspection_endpoint_auth_signing_alg_values_supported: [...ASSERTION_ALGS, "Ed25519"],
    introspection_signing_alg_values_supported: ["RS256", "ES256"],
    revocation_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION_METHODS],
    revocation_endpoint_auth_signing_alg_values_supported: [...ASSERTION_ALGS, "Ed25519"],
    code_challenge_methods_supported: ["S256"],
    dpop_signing_alg_values_supported: [...DPOP_ALGS],
    authorization_response_iss_parameter_supported: true,
    ...(ctx.config.clientIdDocuments ? { client_id_metadata_document_supported: true } : {}),
    // RFC 9728 section 4
    ...(ctx.config.resources.length === 0 ? {} : { protected_resources: ctx.config.resources }),
    ui_locales_supported: [...LANGUAGES],
  };
}

/** OpenID Connect Discovery 1.0 section 3: the same server, as OpenID Connect clients look for it. */
export function openidConfiguration(ctx: OAuthContext): Record<string, unknown> {
  const { issuer } = ctx.config;
  return {
    ...authorizationServerMetadata(ctx),
    userinfo_endpoint: issuer + PATHS.userinfo,
    end_session_endpoint: issuer + PATHS.logout,
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256", "ES256"],
    prompt_values_supported: [...PROMPTS],
    acr_values_supported: offeredAcr(ctx.config.passkeys !== null),
    claim_types_supported: ["normal"],
    claims_supported: ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", ...USER_CLAIMS],
    claims_parameter_supported: true,
    request_parameter_supported: false,
    request_uri_parameter_supported: false,
  };
}
