import type { Client } from "../store/clients.ts";
import { fields, timeOf } from "./output.ts";

/** A client as JSON, with the names of RFC 7591. Hashes of secrets are left out. */
export function clientJson({ clientId, metadata, source, createdAt, disabledAt, disabledBy, secrets }: Client): object {
  const { any_secret_method: _, ...registered } = metadata;
  return {
    client_id: clientId,
    ...registered,
    source,
    created_at: timeOf(createdAt),
    disabled_at: disabledAt === null ? null : timeOf(disabledAt),
    disabled_by: disabledBy,
    secrets: secrets.map((secret) => ({
      created_at: timeOf(secret.createdAt),
      expires_at: secret.expiresAt === null ? null : timeOf(secret.expiresAt),
    })),
  };
}

/** The members that `clientText` puts into words, and one that no registration has. The others are shown by their names, so that none is hidden. */
const named: ReadonlySet<string> = new Set([
  "any_secret_method",
  "client_name",
  "token_endpoint_auth_method",
  "grant_types",
  "scope",
  "redirect_uris",
  "post_logout_redirect_uris",
  "first_party",
  "refresh_token_rotation",
  "refresh_token_reuse_window",
  "access_token_typ",
  "access_token_signed_response_alg",
  "resources",
  "default_resource",
  "resource_server_for",
  "tls_client_auth_subject_dn",
] satisfies (keyof Client["metadata"])[]);

function textOf(value: unknown): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.join(" ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A client as text. @param kept of its scopes, those that SCOPES_FILE keeps for others */
export function clientText(client: Client, kept: readonly string[]): string {
  const { clientId, metadata, source, createdAt, disabledAt, secrets } = client;
  const others = Object.entries(metadata).filter(([member]) => !named.has(member));
  return fields([
    ["client_id", clientId],
    ["name", metadata.client_name ?? ""],
    ["state", disabledAt === null ? "active" : `disabled since ${timeOf(disabledAt)}`],
    ["source", source],
    ["created", timeOf(createdAt)],
    [
      "authenticates",
      metadata.any_secret_method ? "client_secret_basic or client_secret_post" : metadata.token_endpoint_auth_method,
    ],
    ["grants", metadata.grant_types.join(" ")],
    ["scope", metadata.scope],
    ["not given", kept.length === 0 ? "" : `${kept.join(" ")} (SCOPES_FILE keeps that for others)`],
    ["redirect_uris", metadata.redirect_uris.join(" ")],
    ["post_logout_redirect_uris", metadata.post_logout_redirect_uris.join(" ")],
    ["first_party", String(metadata.first_party)],
    ["rotation", metadata.refresh_token_rotation ? `on, reuse window ${metadata.refresh_token_reuse_window} s` : "off"],
    ["access token", `${metadata.access_token_typ}, ${metadata.access_token_signed_response_alg}`],
    ["resources", metadata.resources.join(" ")],
    ["default_resource", (metadata.default_resource ?? []).join(" ")],
    ["resource_server_for", metadata.resource_server_for.join(" ")],
    ["tls subject", metadata.tls_client_auth_subject_dn ?? ""],
    ...others.map(([member, value]) => [member, textOf(value)] as const),
    [
      "secrets",
      secrets
        .map(
          ({ createdAt, expiresAt }) =>
            `of ${timeOf(createdAt)}${expiresAt === null ? "" : `, until ${timeOf(expiresAt)}`}`,
        )
        .join("; "),
    ],
  ]);
}

/** The last line of an output that shows a secret. */
export function secretNote(secret: string): string {
  return `\n\nclient_secret  ${secret}\nOnly its hash is stored: write it down now.`;
}
