import type { Command } from "commander";
import { collect, UsageError, wholeNumber } from "./runtime.ts";

/** What the options of `client add` and `client update` say about a client. */
export interface MetadataOptions {
  name?: string;
  redirectUri?: string[];
  postLogoutRedirectUri?: string[];
  grantType?: string[];
  scope?: string;
  public?: boolean;
  authMethod?: string;
  firstParty?: boolean;
  rotation?: boolean;
  reuseWindow?: string;
  resource?: string[];
  defaultResource?: string[];
  resourceServerFor?: string[];
  accessTokenTyp?: string;
  accessTokenAlg?: string;
  idTokenAlg?: string;
  tlsSubject?: string;
  set?: string[];
  unset?: string[];
}

export function addMetadataOptions(command: Command): Command {
  return command
    .option("--name <text>", "name shown on the consent page")
    .option("--redirect-uri <uri>", "where authorization codes may be sent; repeatable", collect)
    .option("--post-logout-redirect-uri <uri>", "where a logout may redirect to; repeatable", collect)
    .option(
      "--grant-type <type>",
      "authorization_code, refresh_token, client_credentials or an URN of RFC 8628, 8693; repeatable",
      collect,
    )
    .option("--scope <scopes>", "scopes that the client may request, separated by spaces")
    .option("--public", "no secret: an app in a browser or on a device")
    .option("--auth-method <method>", "client_secret_basic or client_secret_post; both unless one is named")
    .option("--first-party", "no consent page")
    .option("--no-first-party", "with a consent page")
    .option("--rotation", "each refresh gives a new refresh token")
    .option("--no-rotation", "refresh tokens stay the same (RFC 9700 advises against it)")
    .option("--reuse-window <seconds>", "how long a replaced refresh token is still accepted (0 to 60)")
    .option("--resource <uri>", "resource that the client may request tokens for (RFC 8707); repeatable", collect)
    .option("--default-resource <uri>", "what its tokens are for where it asks for no resource; repeatable", collect)
    .option("--resource-server-for <audience>", "audience whose tokens the client may introspect; repeatable", collect)
    .option("--access-token-typ <typ>", "at+jwt or JWT")
    .option("--access-token-alg <alg>", "ES256 or RS256")
    .option("--id-token-alg <alg>", "RS256 or ES256")
    .option("--tls-subject <dn>", "subject of the TLS certificate that authenticates the client (RFC 8705)")
    .option("--set <member=value>", "any other member of the metadata, as in the clients file; repeatable", collect)
    .option("--unset <member>", "a member goes back to its default; repeatable", collect);
}

/** The members that the options name, for the schema to check; null where one goes back to its default. */
export async function readMetadataOptions(options: MetadataOptions): Promise<Record<string, unknown>> {
  const reuseWindow =
    options.reuseWindow === undefined ? undefined : wholeNumber("--reuse-window", options.reuseWindow, 60);
  const given = {
    client_name: options.name,
    redirect_uris: options.redirectUri,
    post_logout_redirect_uris: options.postLogoutRedirectUri,
    grant_types: options.grantType,
    scope: options.scope,
    token_endpoint_auth_method: options.public ? "none" : options.authMethod,
    first_party: options.firstParty,
    refresh_token_rotation: options.rotation,
    refresh_token_reuse_window: reuseWindow,
    resources: options.resource,
    default_resource: options.defaultResource,
    resource_server_for: options.resourceServerFor,
    access_token_typ: options.accessTokenTyp,
    access_token_signed_response_alg: options.accessTokenAlg,
    id_token_signed_response_alg: options.idTokenAlg,
    tls_client_auth_subject_dn: options.tlsSubject,
  };
  const named = Object.entries(given).filter(([, value]) => value !== undefined);
  const set = (options.set ?? []).map((text): [string, unknown] => {
    const [, member, value] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (member === undefined || value === undefined) throw new UsageError(`--set needs member=value, not ${text}`);
    return [member, memberValue(value)];
  });
  const unset = (options.unset ?? []).map((member): [string, unknown] => [member, null]);
  const members = [...unset, ...set].map(([member]) => member);
  await demandKnown(members);
  const twice = members.find((member, at) => members.indexOf(member) < at);
  if (twice !== undefined) throw new UsageError(`${twice} is set or unset twice: a list is one value, ${twice}=[...]`);
  const both = members.find((member) => named.some(([name]) => name === member));
  if (both !== undefined) throw new UsageError(`${both} has an option of its own, and is set or unset too`);
  return Object.fromEntries([...named, ...unset, ...set]);
}

/** @throws UsageError that names all members that a client does not have */
async function demandKnown(members: readonly string[]): Promise<void> {
  const { METADATA_MEMBERS } = await import("../store/client-metadata.ts");
  const { unknownMember } = await import("../store/schema-problems.ts");
  const unknown = members.filter((member) => !METADATA_MEMBERS.includes(member));
  if (unknown.length === 0) return;
  const problems = unknown.map((member) => `a client ${unknownMember(member, METADATA_MEMBERS)}`);
  throw new UsageError(`${problems.join("; ")} (there are ${METADATA_MEMBERS.join(", ")})`);
}

/** JSON where it is a list, an object, a number or a truth value; everything else is text. */
function memberValue(text: string): unknown {
  if (!/^(\[.*\]|\{.*\}|".*"|\d+|true|false)$/s.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError(`${text} looks like JSON but is not`);
  }
}
