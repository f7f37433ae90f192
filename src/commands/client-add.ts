import type { Command } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import { DEVICE_CODE_GRANT } from "../store/client-metadata.ts";
import type { Client } from "../store/clients.ts";
import { clientJson, clientText, secretNote } from "./client-output.ts";
import { addMetadataOptions, type MetadataOptions, readMetadataOptions } from "./metadata-options.ts";
import { leaf, outputOf, type Runtime, readText, UsageError, withContext } from "./runtime.ts";

interface AddOptions extends MetadataOptions {
  json?: boolean;
  fromFile?: string;
}

/** `client add`. */
export function addClientAdd(client: Command, runtime: Runtime): void {
  const add = leaf(client, "add [client-id]", "register a client; its secret is generated and shown only once", [
    "client add billing --grant-type client_credentials --scope auth.introspect",
    "client add shop --public --redirect-uri https://shop.example.com/callback --scope 'openid profile'",
    "client add --from-file registration.json --json",
  ]);
  add.option("--from-file <file>", "a JSON object as in the clients file (- for standard input) instead of options");
  addMetadataOptions(add).action((clientId: string | undefined, options: AddOptions) =>
    runClientAdd(runtime, clientId, options),
  );
}

async function runClientAdd(runtime: Runtime, clientId: string | undefined, options: AddOptions): Promise<void> {
  const json = await readRegistration(runtime, clientId, options);
  // without a file a client has a secret unless it is said otherwise, and may send it by any method unless one is named
  const hasSecret = options.fromFile === undefined && !("token_endpoint_auth_method" in json);
  const { client, clientSecret, kept } = await withContext(runtime, (ctx) => add(ctx, json, hasSecret));
  // who names its grants knows what it is for
  const note = "grant_types" in json || isForPeople(client) ? "" : nobody;
  outputOf(runtime, options).print(
    { client: clientJson(client), ...(clientSecret === null ? {} : { client_secret: clientSecret }) },
    () => `${clientText(client, kept)}${clientSecret === null ? "" : secretNote(clientSecret)}${note}`,
  );
}

const nobody = "\n\nIt signs nobody in: that needs --redirect-uri.";

function isForPeople({ metadata }: Client): boolean {
  return metadata.redirect_uris.length > 0 || metadata.grant_types.includes(DEVICE_CODE_GRANT);
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

async function registrationOf(clientId: string, options: AddOptions): Promise<object> {
  const members = Object.entries(await readMetadataOptions(options)).filter(([, value]) => value !== null);
  return { client_id: clientId, ...Object.fromEntries(members) };
}

async function add(
  ctx: OAuthContext,
  json: object,
  hasSecret: boolean,
): Promise<{ client: Client; clientSecret: string | null; kept: readonly string[] }> {
  const { addClient } = await import("../oauth/clients/clients.ts");
  const { scopesKeptFrom } = await import("../oauth/scopes.ts");
  const { readClientRegistration } = await import("../store/client-metadata.ts");
  const { randomToken } = await import("../crypto/hashes.ts");
  const { AuthError } = await import("../errors.ts");
  const { client_secret, token_endpoint_auth_method: method } = json as Record<string, unknown>;
  const namesMethod = typeof method === "string" && method.startsWith("client_secret_");
  const generated = client_secret === undefined && (hasSecret || namesMethod);
  const registration = readClientRegistration(
    generated ? { ...json, client_secret: randomToken() } : json,
    ctx.config.production,
    ctx.config.privateUriSchemes,
  );
  if (Array.isArray(registration)) throw new AuthError("invalid_request", registration.join("; "));
  const { client, clientSecret } = await addClient(ctx, registration);
  // a secret from the file is known already, so it is not shown
  return { client, clientSecret: generated ? clientSecret : null, kept: scopesKeptFrom(ctx, client) };
}
