import type { ClientAssertionAlg } from "../token/foreign-jwt.ts";
import type { Authorization } from "./authorizations.ts";

/** Metadata of RFC 7591 section 2 and this service's extensions, complete with defaults. */
export interface ClientMetadata {
  readonly client_name?: string | undefined;
  readonly redirect_uris: readonly string[];
  readonly post_logout_redirect_uris: readonly string[];
  readonly grant_types: readonly string[];
  readonly response_types: readonly string[];
  /** Space-separated scopes it may ask for. */
  readonly scope: string;
  readonly token_endpoint_auth_method: "none" | "client_secret_basic" | "client_secret_post" | "private_key_jwt";
  /** The one algorithm of its assertions; absent: any that is supported. */
  readonly token_endpoint_auth_signing_alg?: ClientAssertionAlg | undefined;
  /** Public keys of its assertions (RFC 7517), here or at `jwks_uri`, not both. */
  readonly jwks?: { readonly keys: readonly Readonly<Record<string, unknown>>[] } | undefined;
  readonly jwks_uri?: string | undefined;
  readonly application_type: "web" | "native";
  readonly contacts?: readonly string[] | undefined;
  readonly client_uri?: string | undefined;
  readonly logo_uri?: string | undefined;
  readonly policy_uri?: string | undefined;
  readonly tos_uri?: string | undefined;
  readonly id_token_signed_response_alg: "RS256" | "ES256";
  /** RFC 9701: signs introspection answers to this client when it asks for a JWT. */
  readonly introspection_signed_response_alg: "RS256" | "ES256";
  /** Seconds; a request without `max_age` has this one. */
  readonly default_max_age?: number | undefined;
  readonly require_auth_time: boolean;
  /** OpenID Connect Back-Channel Logout 1.0 section 2.2. */
  readonly backchannel_logout_uri?: string | undefined;
  readonly backchannel_logout_session_required: boolean;
  /** False only by an operator, for a confidential client that knows no PKCE; every other request needs a challenge. */
  readonly require_pkce: boolean;
  /** RFC 9126 section 6. */
  readonly require_pushed_authorization_requests: boolean;
  /** RFC 9449 section 5.2. */
  readonly dpop_bound_access_tokens: boolean;
  /** `fapi2`: FAPI 2.0 Security Profile, which sets and demands a good part of the above. */
  readonly profile: "default" | "fapi2";
  /** Audiences it may exchange tokens for (RFC 8693); none unless named. */
  readonly token_exchange_audiences: readonly string[];
  /** Seconds after which an unused refresh token ends; absent: only the absolute end counts. */
  readonly refresh_token_idle_ttl?: number | undefined;
  readonly access_token_signed_response_alg: "RS256" | "ES256";
  readonly access_token_typ: "at+jwt" | "JWT";
  readonly first_party: boolean;
  readonly refresh_token_rotation: boolean;
  /** HTTP status of a refused refresh; absent: REFRESH_REJECTED_STATUS, or by how the client authenticates. */
  readonly refresh_rejected_status?: 400 | 401 | undefined;
  /** Seconds. */
  readonly refresh_token_reuse_window: number;
  readonly resources: readonly string[];
  readonly resource_server_for: readonly string[];
  /** Subject of the TLS certificate (RFC 8705 section 2.1.2) that authenticates it on the internal listeners. */
  readonly tls_client_auth_subject_dn?: string | undefined;
}

export type ClientSource = "development" | "file" | "command" | "registration";

export interface ClientSecret {
  readonly id: string;
  /** SHA-256, hex. */
  readonly hash: string;
  readonly createdAt: number;
  /** Null: until rotated. */
  readonly expiresAt: number | null;
  /** `sid` of the standing authorization of the client's own tokens; null before the first. */
  readonly authorizationId: string | null;
}

export interface Client {
  readonly clientId: string;
  readonly metadata: ClientMetadata;
  readonly source: ClientSource;
  readonly createdAt: number;
  readonly disabledAt: number | null;
  /** `file`: it went from the clients file; `command`: somebody disabled it, which the file never undoes. */
  readonly disabledBy: "file" | "command" | null;
  /** SHA-256 of the secret the clients file last named: tells a changed file from a rotated secret. */
  readonly fileSecretHash: string | null;
  /** Newest first, expired ones included until they are cleaned up. */
  readonly secrets: readonly ClientSecret[];
}

export interface ClientStore {
  find(clientId: string): Promise<Client | null>;
  list(): Promise<Client[]>;
  create(
    client: Pick<Client, "clientId" | "metadata" | "source" | "createdAt" | "fileSecretHash">,
    secretHash: string | null,
  ): Promise<"created" | "exists">;
  /** A token that lets clients register themselves (RFC 7591 section 3), known by its SHA-256. */
  saveInitialAccessToken(token: {
    tokenHash: string;
    uses: number;
    createdAt: number;
    expiresAt: number;
  }): Promise<void>;
  /** Is it unexpired, with a use left? */
  hasInitialAccessToken(tokenHash: string, now: number): Promise<boolean>;
  /** Registers a client for one use of an initial access token: both or neither. */
  register(
    client: Pick<Client, "clientId" | "metadata" | "createdAt">,
    hashes: { initialToken: string; registrationToken: string; secret: string | null },
  ): Promise<"registered" | "token_refused">;
  /** The client that registered itself and got this token for it (RFC 7592); null: no such pair, or disabled. */
  findRegistered(clientId: string, registrationTokenHash: string): Promise<Client | null>;
  /** `source` changes too, when given: a file may take over a client of the development set. */
  replaceMetadata(clientId: string, metadata: ClientMetadata, source: ClientSource, now: number): Promise<void>;
  disable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /** Undoes what `by` did and nothing else. */
  enable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /**
   * A new secret; every older one ends at `olderEndAt` at the latest, and what ended by `now` takes its standing authorization
   * with it (revoked in the same transaction). `fileSecretHash` is recorded when given.
   */
  addSecret(
    clientId: string,
    secretHash: string,
    options: { now: number; olderEndAt: number; fileSecretHash?: string | null },
  ): Promise<void>;
  /** Revokes the standing authorizations of secrets whose overlap is over. */
  endSecrets(now: number): Promise<void>;
  /**
   * The standing authorization of a secret: the current one when it is live, else `fresh` is recorded and returned.
   * Of N callers at once all get the same.
   * @param secretId null: of a client without one, which authenticates with its key
   */
  standingAuthorization(secretId: string | null, fresh: Authorization, now: number): Promise<string>;
}
