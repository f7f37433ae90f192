import type { Command } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import type { Client } from "../store/clients.ts";
import { clientJson, clientText, secretNote } from "./client-output.ts";
import { collect, leaf, outputOf, type Runtime, readText, UsageError, wholeNumber, withContext } from "./runtime.ts";

interface AddOptions {
  json?: boolean;
  fromFile?: string;
  name?: string;
  redirectUri?: string[];
  postLogoutRedirectUri?: string[];
  grantType?: string[];
  scope?: string;
  public?: boolean;
  authMethod?: string;
  firstParty?: boolean;
  rotation: boolean;
  reuseWindow?: string;
  resource?: string[];
  defaultResource?: string[];
  resourceServerFor?: string[];
  accessTokenTyp?: string;
  accessTokenAlg?: string;
  idTokenAlg?: string;
  tlsSubject?: string;
}

/** `client add`. */
export function addClientAdd(client: Command, runtime: Runtime): void {
  leaf(client, "add [client-id]", "register a client; its secret is generated and shown only once", [
    "client add billing --grant-type client_credentials --scope auth.introspect",
    "client add shop --public --redirect-uri https://shop.example.com/callback --scope 'openid profile'",
    "client add --from-file registration.json --json",
  ])
    .option("--from-file <file>", "a JSON object as in the clients file (- for standard input) instead of options")
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
    .option("--auth-method <method>", "client_secret_basic (default) or client_secret_post")
    .option("--first-party", "no consent page")
    .option("--no-rotation", "refresh tokens stay the same (RFC 9700 advises against it)")
    .option("--reuse-window <seconds>", "how long a replaced refresh token is still accepted (0 to 60)")
    .option("--resource <uri>", "resource that the client may request tokens for (RFC 8707); repeatable", collect)
    .option("--default-resource <uri>", "what its tokens are for where it asks for no resource; repeatable", collect)
    .option("--resource-server-for <audience>", "audience whose tokens the client may introspect; repeatable", collect)
    .option("--access-token-typ <typ>", "at+jwt or JWT")
    .option("--access-token-alg <alg>", "ES256 or RS256")
    .option("--id-token-alg <alg>", "RS256 or ES256")
    .option("--tls-subject <dn>", "subject of the TLS certificate that authenticates the client (RFC 8705)")
    .action((clientId: string | undefined, options: AddOptions) => runClientAdd(runtime, clientId, options));
}

async function runClientAdd(runtime: Runtime, clientId: string | undefined, options: AddOptions): Promise<void> {
  const json = await readRegistration(runtime, clientId, options);
  const { client, clientSecret } = await withContext(runtime, (ctx) => add(ctx, json));
  outputOf(runtime, options).print(
    { client: clientJson(client), ...(clientSecret === null ? {} : { client_secret: clientSecret }) },
    () => `${clientText(client)}${clientSecret === null ? "" : secretNote(clientSecret)}`,
  );
}

/** @returns the registration as the clients file would have it */
async function readRegistration(runtime: Runtime, clientId: string | undefined, options: AddOptions): Promise<object> {
  if (options.fromFile !== undefined) {
    const json = await readJsonObject(runtime, options.fromFile);
    return clientId === undefined ? json : { ...json, client_id: clientId };
  }
  if (clientId === undefined) throw new UsageError("name the client, or give --from-file");
  return registrationOf(clientId, options);
}

async function readJsonObject(runtime: Runtime, file: string): Promise<object> {
  const text = await readText(runtime, file);
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json;
  } catch {
    // reported below
  }
  throw new UsageError(`${file} must hold one JSON object`);
}

function registrationOf(clientId: string, options: AddOptions): object {
  const method = options.public ? "none" : (options.authMethod ?? "client_secret_basic");
  const given = {
    client_id: clientId,
    client_name: options.name,
    redirect_uris: options.redirectUri,
    post_logout_redirect_uris: options.postLogoutRedirectUri,
    grant_types: options.grantType,
    scope: options.scope,
    token_endpoint_auth_method: method,
    first_party: options.firstParty,
    refresh_token_rotation: options.rotation,
    refresh_token_reuse_window:
      options.reuseWindow === undefined ? undefined : wholeNumber("--reuse-window", options.reuseWindow, 60),
    resources: options.resource,
    default_resource: options.defaultResource,
    resource_server_for: options.resourceServerFor,
    access_token_typ: options.accessTokenTyp,
    access_token_signed_response_alg: options.accessTokenAlg,
    id_token_signed_response_alg: options.idTokenAlg,
    tls_client_auth_subject_dn: options.tlsSubject,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

async function add(ctx: OAuthContext, json: object): Promise<{ client: Client; clientSecret: string | null }> {
  const { addClient, getClient } = await import("../oauth/clients/clients.ts");
  const { readClientRegistration } = await import("../store/client-metadata.ts");
  const { randomToken } = await import("../crypto/hashes.ts");
  const { AuthError } = await import("../errors.ts");
  const { client_secret, token_endpoint_auth_method: method } = json as Record<string, unknown>;
  const generated = client_secret === undefined && typeof method === "string" && method.startsWith("client_secret_");
  const registration = readClientRegistration(
    generated ? { ...json, client_secret: randomToken() } : json,
    ctx.config.production,
  );
  if (Array.isArray(registration)) throw new AuthError("invalid_request", registration.join("; "));
  const { clientSecret } = await addClient(ctx, registration);
  // a secret from the file is known already, so it is not shown
  return { client: await getClient(ctx, registration.clientId), clientSecret: generated ? clientSecret : null };
}
