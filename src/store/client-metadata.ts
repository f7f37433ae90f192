import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { isLoopback } from "../net/loopback.ts";
import { ACR_VALUES } from "../token/authentication.ts";
import { PRIVATE_KEY, readPublicKey } from "../token/public-key.ts";
import { isResourceUri } from "../token/uri.ts";
import { plainProblem } from "./schema-problems.ts";
import { isVisible, NOT_VISIBLE } from "./visible-text.ts";

/** Scopes of internal callers. Never granted to a user's token. */
export const INTERNAL_SCOPES = [
  "auth.introspect",
  "auth.tokens",
  "auth.keys",
  "auth.users.read",
  "auth.users.write",
  "auth.users.admin",
] as const;

export const DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";

export const TOKEN_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";

export const GRANT_TYPES = [
  "authorization_code",
  "refresh_token",
  "client_credentials",
  DEVICE_CODE_GRANT,
  TOKEN_EXCHANGE_GRANT,
] as const;

export const CLIENT_AUTHENTICATION_METHODS = [
  "none",
  "client_secret_basic",
  "client_secret_post",
  "private_key_jwt",
] as const;

/** What may sign client assertions and DPoP proofs. */
export const ASSERTION_ALGS = ["ES256", "PS256", "EdDSA", "RS256"] as const;
/** FAPI 2.0 Security Profile section 5.4.1. */
export const FAPI_ALGS = ["ES256", "PS256", "EdDSA"] as const;

const dotlessScheme = "a private scheme must contain a dot, as com.example.app:/callback";

/**
 * Has a redirect URI a private-use scheme without a dot (RFC 8252 section 8.4) that the operator does not allow?
 * @param value an absolute URI
 */
export function usesDotlessScheme(value: string, privateUriSchemes: readonly string[]): boolean {
  const scheme = new URL(value).protocol.slice(0, -1);
  return !["http", "https", ...privateUriSchemes].includes(scheme) && !scheme.includes(".");
}

/**
 * Is this a redirect URI that a client may register? Absolute, without fragment or wildcard; https, http on loopback
 * (RFC 8252 section 7.3), or a private-use scheme (RFC 8252 section 7.1), whose dot `readClientRegistration` looks for.
 * @returns what is wrong with it, or null
 */
function redirectUriProblem(value: string): string | null {
  if (/[\s\\*]|[^\x21-\x7e]/.test(value)) return "must be printable ASCII without spaces, backslashes or wildcards";
  if (value.includes("#")) return "must not have a fragment";
  if (!URL.canParse(value)) return "must be an absolute URI";
  const url = new URL(value);
  if (url.username !== "" || url.password !== "") return "must not have user information";
  const isFarHttp = url.protocol === "http:" && !isLoopback(url.hostname);
  return isFarHttp ? "must use https; http only with localhost, 127.0.0.1 or [::1]" : null;
}

const redirectUri = z
  .string()
  .max(2000)
  .superRefine((value, ctx) => {
    const problem = redirectUriProblem(value);
    if (problem !== null) ctx.addIssue({ code: "custom", message: problem });
  });

const scope = z
  .string()
  .max(2000)
  .regex(/^$|^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/, "must be scopes separated by single spaces");

const resource = z.string().max(500).refine(isResourceUri, "must be an absolute URI without fragment (RFC 8707)");

/** A resource, a client id, or a name that resource servers agreed on. */
const audience = z.string().regex(/^[\x21-\x7e]{1,500}$/, "must be printable ASCII without spaces");

const webPage = z.string().max(2000).refine(isWebPage, "must be an https URL (http only on loopback)");

/** https, or http on this machine, without a fragment. */
function isWebPage(value: string): boolean {
  if (!URL.canParse(value) || value.includes("#")) return false;
  const { protocol, hostname, username } = new URL(value);
  return username === "" && (protocol === "https:" || (protocol === "http:" && isLoopback(hostname)));
}

/** Keys of kinds that are not known are left out (RFC 7517 section 5); a private key is a mistake that its owner has to hear of. */
const publicKeys = z
  .array(z.record(z.string(), z.unknown()))
  .min(1)
  .max(20)
  .transform((keys, ctx) => {
    const problems = keys.map(publicKeyProblem);
    const usable = keys.filter((_, index) => problems[index] === null);
    for (const [index, problem] of problems.entries()) {
      if (problem !== null && (usable.length === 0 || problem === PRIVATE_KEY)) {
        ctx.addIssue({ code: "custom", path: [index], message: problem });
      }
    }
    return usable;
  });

/** Is this a public key that assertions may be signed with? @returns what is wrong with it, or null */
export function publicKeyProblem(jwk: Readonly<Record<string, unknown>>): string | null {
  const key = readPublicKey(jwk);
  return typeof key === "string" ? key : null;
}

/**
 * Metadata of RFC 7591 section 2 and this service's extensions: the one definition. What a registration may say is checked by it,
 * `ClientMetadata` is inferred from it, and what the database holds of a client is completed by it.
 */
const metadata = z.object({
  client_name: z.string().min(1).max(200).refine(isVisible, NOT_VISIBLE).optional(),
  client_uri: webPage.optional(),
  logo_uri: webPage.optional(),
  policy_uri: webPage.optional(),
  tos_uri: webPage.optional(),
  contacts: z.array(z.string().min(1).max(254)).max(10).optional(),
  application_type: z.enum(["web", "native"]).default("web"),
  redirect_uris: z.array(redirectUri).max(50).default([]),
  post_logout_redirect_uris: z.array(redirectUri).max(50).default([]),
  grant_types: z.array(z.enum(GRANT_TYPES)).optional(),
  response_types: z.array(z.literal("code")).optional(),
  /** Space-separated scopes it may ask for. */
  scope: scope.optional(),
  token_endpoint_auth_method: z.enum(CLIENT_AUTHENTICATION_METHODS).optional(),
  /** The one algorithm of its assertions; absent: any that is supported. */
  token_endpoint_auth_signing_alg: z.enum(ASSERTION_ALGS).optional(),
  /** Public keys of its assertions (RFC 7517), here or at `jwks_uri`, not both. */
  jwks: z.object({ keys: publicKeys }).optional(),
  jwks_uri: webPage.optional(),
  id_token_signed_response_alg: z.enum(["RS256", "ES256"]).optional(),
  /** Its ID tokens have the claims of their scopes too, for a client that reads no userinfo (OpenID Connect Core section 5.4). */
  id_token_claims: z.boolean().default(false),
  /** RFC 9701: signs introspection answers to this client when it asks for a JWT. */
  introspection_signed_response_alg: z.enum(["RS256", "ES256"]).optional(),
  access_token_signed_response_alg: z.enum(["ES256", "RS256"]).default("ES256"),
  access_token_typ: z.enum(["at+jwt", "JWT"]).default("at+jwt"),
  /** Without a consent page. */
  first_party: z.boolean().default(false),
  /** Who signs in must have a verified e-mail address. */
  require_verified_email: z.boolean().default(false),
  /** Seconds; a request without `max_age` has this one. */
  default_max_age: z.int().min(0).max(999_999_999_999_999).optional(),
  require_auth_time: z.boolean().default(false),
  /** A request without `acr_values` has these, most wanted first. */
  default_acr_values: z.array(z.string().min(1).max(100)).max(10).optional(),
  /** The weakest class of sign-in with which its users get in. */
  require_acr: z.enum(ACR_VALUES).optional(),
  /** OpenID Connect Back-Channel Logout 1.0 section 2.2. */
  backchannel_logout_uri: webPage.optional(),
  backchannel_logout_session_required: z.boolean().default(false),
  /** False only by an operator, for a confidential client that knows no PKCE; every other request needs a challenge. */
  require_pkce: z.boolean().default(true),
  /** RFC 9126 section 6. */
  require_pushed_authorization_requests: z.boolean().optional(),
  /** RFC 9449 section 5.2. */
  dpop_bound_access_tokens: z.boolean().optional(),
  /** `fapi2`: FAPI 2.0 Security Profile, which sets and demands several other members. */
  profile: z.enum(["default", "fapi2"]).default("default"),
  refresh_token_rotation: z.boolean().optional(),
  /** HTTP status of a refused refresh; absent: REFRESH_REJECTED_STATUS, or by how the client authenticates. */
  refresh_rejected_status: z.literal([400, 401]).optional(),
  /** Seconds for which a replaced refresh token still gets the current one. */
  refresh_token_reuse_window: z.int().min(0).max(60).default(10),
  /** Seconds after which an unused refresh token ends; absent: only the absolute end counts. */
  refresh_token_idle_ttl: z.int().min(60).max(31_536_000).optional(),
  /** Resources it may ask tokens for (RFC 8707). */
  resources: z.array(resource).max(50).default([]),
  /** What its tokens are for where it asks for no resource: one or several, which it may ask for too. */
  default_resource: z.union([resource.transform((one) => [one]), z.array(resource).min(1).max(50)]).optional(),
  /** Audiences whose tokens it may introspect and exchange: resources, or the ids of other clients. */
  resource_server_for: z.array(audience).max(50).default([]),
  /** Audiences it may exchange tokens for (RFC 8693); none unless named. */
  token_exchange_audiences: z.array(audience).max(50).default([]),
  /** Subject of the TLS certificate (RFC 8705 section 2.1.2) that authenticates it on the internal listeners. */
  tls_client_auth_subject_dn: z.string().min(1).max(500).optional(),
});

type GivenMetadata = z.infer<typeof metadata>;

/** Members whose default depends on others: `complete` fills them in. */
type Completed =
  | "grant_types"
  | "response_types"
  | "scope"
  | "token_endpoint_auth_method"
  | "id_token_signed_response_alg"
  | "introspection_signed_response_alg"
  | "require_pushed_authorization_requests"
  | "dpop_bound_access_tokens"
  | "refresh_token_rotation";

/** What no one may change; lists of names are lists of strings to those who look for one. */
type Immutable<T> = T extends readonly (infer E)[]
  ? readonly (E extends string ? string : Immutable<E>)[]
  : T extends object
    ? { readonly [K in keyof T]: Immutable<T[K]> }
    : T;

/** The metadata of a client, complete with defaults. */
export type ClientMetadata = Immutable<
  Omit<GivenMetadata, Completed> & {
    [K in Completed]: NonNullable<GivenMetadata[K]>;
  } & {
    /** It has a secret and its registration named no method: it may send the secret by Basic and in the body. No member of a registration. */
    any_secret_method: boolean;
  }
>;

/** Every member that a registration may have, other than the client's id and secret. */
export const METADATA_MEMBERS: readonly string[] = [...Object.keys(metadata.shape), "subject_type"];

const registration = metadata.extend({
  /** The only one there is; not stored. */
  subject_type: z.literal("public").optional(),
  client_id: z.string().regex(/^[\x21-\x7e]{1,100}$/, "must be 1 to 100 printable ASCII characters without spaces"),
  client_secret: z.string().min(1).max(200).optional(),
});

/** Is this a value that a member of a registration may have, whatever the others are? */
export function isReadable(member: string, value: unknown): boolean {
  const schema: z.ZodType | undefined = Object.entries(registration.shape).find(([name]) => name === member)?.[1];
  return schema?.safeParse(value).success === true;
}

export interface ClientRegistration {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly metadata: ClientMetadata;
}

/**
 * Reads one client registration (RFC 7591 section 2 names and this service's extensions). A member that is null is absent (RFC 7592
 * section 2.2).
 * @param privateUriSchemes private-use schemes without a dot that redirect URIs may have
 * @returns the registration, or every problem as `member: what is wrong`
 */
export function readClientRegistration(
  json: unknown,
  production: boolean,
  privateUriSchemes: readonly string[] = [],
): ClientRegistration | string[] {
  const dotless = dotlessSchemes(json, privateUriSchemes);
  const parsed = registration.strict().safeParse(isObject(json) ? withoutNulls(json) : json, { error: plainProblem });
  if (!parsed.success) {
    const told = parsed.error.issues.map((issue) => `${issue.path.join(".") || "registration"}: ${issue.message}`);
    return [...told, ...dotless];
  }
  const { client_id: clientId, client_secret: clientSecret, subject_type: _, ...given } = parsed.data;
  const completed = complete(given, clientSecret !== undefined);
  const problems = [...problemsOf(completed, given), ...dotless];
  const method = completed.token_endpoint_auth_method;
  const needsSecret = method === "client_secret_basic" || method === "client_secret_post";
  if (!needsSecret && clientSecret !== undefined) {
    problems.push(`client_secret: a client with token_endpoint_auth_method ${method} has no secret`);
  }
  if (needsSecret && clientSecret === undefined && given.tls_client_auth_subject_dn === undefined) {
    problems.push(`client_secret: token_endpoint_auth_method ${method} needs one`);
  }
  if (clientSecret !== undefined && production && clientSecret.length < 32) {
    problems.push("client_secret: must have at least 32 characters in production");
  }
  if (problems.length > 0) return problems;
  return { clientId, clientSecret: clientSecret ?? null, metadata: completed };
}

function isObject(json: unknown): json is Readonly<Record<string, unknown>> {
  return json !== null && typeof json === "object" && !Array.isArray(json);
}

/** The members of a registration that are there. */
function withoutNulls(json: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
}

/** Does a member of this registration say what it would be without it? */
export function namesDefault(json: Readonly<Record<string, unknown>>, member: string): boolean {
  const { profile } = json;
  const given = { ...defaults, ...(profile === "fapi2" ? { profile } : {}) } as GivenMetadata;
  const completed: Readonly<Record<string, unknown>> = complete(given, false);
  return completed[member] !== undefined && isDeepStrictEqual(completed[member], json[member]);
}

/** Fills in what was not given; `profile: "fapi2"` brings its own defaults. */
function complete(given: GivenMetadata, hasSecret: boolean): ClientMetadata {
  const fapi = given.profile === "fapi2";
  const method =
    given.token_endpoint_auth_method ?? (fapi ? "private_key_jwt" : hasSecret ? "client_secret_basic" : "none");
  const grantTypes =
    given.grant_types ??
    (given.redirect_uris.length > 0 ? ["authorization_code", "refresh_token"] : ["client_credentials"]);
  return {
    ...given,
    token_endpoint_auth_method: method,
    any_secret_method: given.token_endpoint_auth_method === undefined && hasSecret,
    grant_types: grantTypes,
    response_types: grantTypes.includes("authorization_code") ? ["code"] : [],
    scope: given.scope ?? (grantTypes.includes("client_credentials") ? "" : "openid profile email"),
    id_token_signed_response_alg: given.id_token_signed_response_alg ?? (fapi ? "ES256" : "RS256"),
    introspection_signed_response_alg: given.introspection_signed_response_alg ?? (fapi ? "ES256" : "RS256"),
    require_pushed_authorization_requests: given.require_pushed_authorization_requests ?? fapi,
    dpop_bound_access_tokens: given.dpop_bound_access_tokens ?? fapi,
    refresh_token_rotation: given.refresh_token_rotation ?? !fapi,
  };
}

/** What a member has that a registration does not name, for those whose default depends on no other. */
const defaults = Object.fromEntries(
  Object.entries(metadata.shape).flatMap(([name, schema]) => {
    const { data } = schema.safeParse(undefined);
    return data === undefined ? [] : [[name, data]];
  }),
);

/**
 * The metadata of a stored client. One that was registered before a member existed has its default.
 * @param stored as `JSON.stringify` wrote it
 */
export function readStoredMetadata(stored: string): ClientMetadata {
  const members = JSON.parse(stored) as GivenMetadata & Partial<Pick<ClientMetadata, "any_secret_method">>;
  return { ...complete({ ...defaults, ...members }, false), any_secret_method: members.any_secret_method ?? false };
}

/** What does not go together, as `member: what is wrong`. */
function problemsOf(client: ClientMetadata, given: GivenMetadata): string[] {
  const problems: string[] = [];
  const { grant_types: grants, token_endpoint_auth_method: method } = client;
  const certificate = given.tls_client_auth_subject_dn !== undefined;
  if (grants.includes("authorization_code") && client.redirect_uris.length === 0) {
    problems.push("redirect_uris: the authorization_code grant needs at least one");
  }
  for (const grant of ["client_credentials", TOKEN_EXCHANGE_GRANT]) {
    if (grants.includes(grant) && method === "none") {
      problems.push(`grant_types: ${grant} needs a client that authenticates`);
    }
  }
  const internal = client.scope.split(" ").filter((s) => (INTERNAL_SCOPES as readonly string[]).includes(s));
  if (internal.length > 0 && method === "none" && !certificate) {
    problems.push(`scope: ${internal.join(" ")} only for a client that authenticates`);
  }
  if (client.jwks !== undefined && client.jwks_uri !== undefined) {
    problems.push("jwks_uri: give either jwks or jwks_uri, not both (RFC 7591 section 2)");
  }
  if (method === "private_key_jwt" && client.jwks === undefined && client.jwks_uri === undefined) {
    problems.push("jwks: private_key_jwt needs the client's public keys, in jwks or at jwks_uri");
  }
  if (!client.require_pkce && method === "none") {
    problems.push("require_pkce: a client that does not authenticate needs PKCE (RFC 9700 section 2.1.1)");
  }
  if (client.profile === "fapi2") {
    const demands: [keyof ClientMetadata, boolean, string][] = [
      ["token_endpoint_auth_method", method === "private_key_jwt", "must be private_key_jwt"],
      ["token_endpoint_auth_signing_alg", client.token_endpoint_auth_signing_alg !== "RS256", "must not be RS256"],
      ["id_token_signed_response_alg", client.id_token_signed_response_alg === "ES256", "must be ES256"],
      ["introspection_signed_response_alg", client.introspection_signed_response_alg === "ES256", "must be ES256"],
      ["access_token_signed_response_alg", client.access_token_signed_response_alg === "ES256", "must be ES256"],
      ["require_pushed_authorization_requests", client.require_pushed_authorization_requests, "must be true"],
      ["dpop_bound_access_tokens", client.dpop_bound_access_tokens, "must be true"],
      ["require_pkce", client.require_pkce, "must be true"],
      ["refresh_token_rotation", !client.refresh_token_rotation, "must be false"],
    ];
    for (const [member, met, demand] of demands) {
      if (!met) problems.push(`${member}: ${demand} with profile fapi2`);
    }
  }
  return problems;
}

/** Beside what the schema says, which does not know the operator's schemes. */
function dotlessSchemes(json: unknown, privateUriSchemes: readonly string[]): string[] {
  if (!isObject(json)) return [];
  return ["redirect_uris", "post_logout_redirect_uris"].flatMap((member) => {
    const uris: unknown = json[member];
    if (!Array.isArray(uris)) return [];
    const isDotless = (uri: unknown) =>
      typeof uri === "string" && redirectUriProblem(uri) === null && usesDotlessScheme(uri, privateUriSchemes);
    return [...uris.entries()].filter(([, uri]) => isDotless(uri)).map(([at]) => `${member}.${at}: ${dotlessScheme}`);
  });
}

/** Is a client registered to authenticate with a secret? */
export function hasSecret({ token_endpoint_auth_method: method }: ClientMetadata): boolean {
  return method === "client_secret_basic" || method === "client_secret_post";
}

/** The clients of the first start in development. */
export function developmentClients(): ClientRegistration[] {
  const registrations = [
    {
      client_id: "portal-client",
      client_name: "Portal",
      redirect_uris: ["http://localhost:3000/callback", "http://127.0.0.1:3000/callback"],
      post_logout_redirect_uris: ["http://localhost:3000/", "http://127.0.0.1:3000/"],
      scope: "openid profile email read write",
      first_party: true,
      refresh_token_rotation: false,
    },
    {
      client_id: "internal-service",
      client_name: "Internal service",
      client_secret: "internal-service-secret",
      grant_types: ["client_credentials"],
      scope: INTERNAL_SCOPES.join(" "),
    },
  ];
  return registrations.map((json) => {
    const read = readClientRegistration(json, false);
    if (Array.isArray(read)) throw new Error(`development client ${json.client_id}: ${read.join("; ")}`);
    return read;
  });
}
