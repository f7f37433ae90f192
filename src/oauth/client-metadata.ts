import { z } from "zod";
import type { ClientMetadata } from "../store.ts";

/** Scopes of internal callers. Never granted to a user's token. */
export const INTERNAL_SCOPES = [
  "auth.introspect",
  "auth.tokens",
  "auth.keys",
  "auth.users.read",
  "auth.users.write",
  "auth.users.admin",
] as const;

export const GRANT_TYPES = ["authorization_code", "refresh_token", "client_credentials"] as const;

/**
 * Is this a redirect URI that a client may register? Absolute, without fragment or wildcard; https, http on loopback
 * (RFC 8252 section 7.3), or a private-use scheme with a dot (RFC 8252 section 7.1).
 * @returns what is wrong with it, or null
 */
export function redirectUriProblem(value: string): string | null {
  if (/[\s\\*]|[^\x21-\x7e]/.test(value)) return "must be printable ASCII without spaces, backslashes or wildcards";
  if (value.includes("#")) return "must not have a fragment";
  if (!URL.canParse(value)) return "must be an absolute URI";
  const url = new URL(value);
  if (url.username !== "" || url.password !== "") return "must not have user information";
  if (url.protocol === "https:") return null;
  if (url.protocol === "http:")
    return isLoopback(url.hostname) ? null : "must use https; http only with localhost, 127.0.0.1 or [::1]";
  if (!url.protocol.slice(0, -1).includes("."))
    return "a private scheme must contain a dot, as com.example.app:/callback";
  return null;
}

export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
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

const resource = z
  .string()
  .max(500)
  .refine(
    (value) => URL.canParse(value) && !value.includes("#"),
    "must be an absolute URI without fragment (RFC 8707)",
  );

const metadata = z.object({
  client_name: z.string().min(1).max(200).optional(),
  redirect_uris: z.array(redirectUri).max(50).default([]),
  post_logout_redirect_uris: z.array(redirectUri).max(50).default([]),
  grant_types: z.array(z.enum(GRANT_TYPES)).optional(),
  response_types: z.array(z.literal("code")).optional(),
  scope: scope.optional(),
  token_endpoint_auth_method: z.enum(["none", "client_secret_basic", "client_secret_post"]).optional(),
  id_token_signed_response_alg: z.enum(["RS256", "ES256"]).default("RS256"),
  access_token_signed_response_alg: z.enum(["ES256", "RS256"]).default("ES256"),
  access_token_typ: z.enum(["at+jwt", "JWT"]).default("at+jwt"),
  first_party: z.boolean().default(false),
  refresh_token_rotation: z.boolean().default(true),
  refresh_token_reuse_window: z.int().min(0).max(60).default(10),
  resources: z.array(resource).max(50).default([]),
  resource_server_for: z.array(resource).max(50).default([]),
  tls_client_auth_subject_dn: z.string().min(1).max(500).optional(),
});

const registration = metadata.extend({
  client_id: z.string().regex(/^[\x21-\x7e]{1,100}$/, "must be 1 to 100 printable ASCII characters without spaces"),
  client_secret: z.string().min(1).max(200).optional(),
});

export interface ClientRegistration {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly metadata: ClientMetadata;
}

/**
 * Reads one client registration (RFC 7591 section 2 names and this service's extensions).
 * @returns the registration, or every problem as `member: what is wrong`
 */
export function readClientRegistration(json: unknown, production: boolean): ClientRegistration | string[] {
  const parsed = registration.strict().safeParse(json);
  if (!parsed.success) {
    return parsed.error.issues.map((issue) => `${issue.path.join(".") || "registration"}: ${issue.message}`);
  }
  const { client_id: clientId, client_secret: clientSecret, ...given } = parsed.data;
  const problems: string[] = [];
  const method = given.token_endpoint_auth_method ?? (clientSecret === undefined ? "none" : "client_secret_basic");
  const grantTypes =
    given.grant_types ??
    (given.redirect_uris.length > 0 ? ["authorization_code", "refresh_token"] : ["client_credentials"]);
  const certificate = given.tls_client_auth_subject_dn !== undefined;
  if (method === "none" && clientSecret !== undefined) {
    problems.push("client_secret: a client with token_endpoint_auth_method none has no secret");
  }
  if (method !== "none" && clientSecret === undefined && !certificate) {
    problems.push(`client_secret: token_endpoint_auth_method ${method} needs one`);
  }
  if (clientSecret !== undefined && production && clientSecret.length < 32) {
    problems.push("client_secret: must have at least 32 characters in production");
  }
  if (grantTypes.includes("authorization_code") && given.redirect_uris.length === 0) {
    problems.push("redirect_uris: the authorization_code grant needs at least one");
  }
  if (grantTypes.includes("client_credentials") && method === "none") {
    problems.push("grant_types: client_credentials needs a client that authenticates");
  }
  const asked = (given.scope ?? "").split(" ").filter((s) => s !== "");
  const internal = asked.filter((s) => (INTERNAL_SCOPES as readonly string[]).includes(s));
  if (internal.length > 0 && method === "none" && !certificate) {
    problems.push(`scope: ${internal.join(" ")} only for a client that authenticates`);
  }
  if (problems.length > 0) return problems;
  return {
    clientId,
    clientSecret: clientSecret ?? null,
    metadata: {
      ...given,
      token_endpoint_auth_method: method,
      grant_types: grantTypes,
      response_types: grantTypes.includes("authorization_code") ? ["code"] : [],
      scope: given.scope ?? (grantTypes.includes("authorization_code") ? "openid profile email" : ""),
    },
  };
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
