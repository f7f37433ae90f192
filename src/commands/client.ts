import type { Command } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import type { Client } from "../store/clients.ts";
import { fields, table, timeOf } from "./output.ts";
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
  resourceServerFor?: string[];
  accessTokenTyp?: string;
  accessTokenAlg?: string;
  idTokenAlg?: string;
  tlsSubject?: string;
}

export function addClientCommands(program: Command, runtime: Runtime): void {
  const client = program.command("client").description("registered clients (RFC 7591)");

  leaf(client, "add [client-id]", "register a client; its secret is generated and shown this once", [
    "client add billing --grant-type client_credentials --scope auth.introspect",
    "client add shop --public --redirect-uri https://shop.example.com/callback --scope 'openid profile'",
    "client add --from-file registration.json --json",
  ])
    .option("--from-file <file>", "a JSON object as in the clients file (- for standard input) instead of options")
    .option("--name <text>", "name shown on the consent page")
    .option("--redirect-uri <uri>", "where codes may go; repeatable", collect)
    .option("--post-logout-redirect-uri <uri>", "where a logout may return to; repeatable", collect)
    .option(
      "--grant-type <type>",
      "authorization_code, refresh_token, client_credentials or an URN of RFC 8628, 8693; repeatable",
      collect,
    )
    .option("--scope <scopes>", "scopes it may ask for, separated by spaces")
    .option("--public", "no secret: an app in a browser or on a device")
    .option("--auth-method <method>", "client_secret_basic (default) or client_secret_post")
    .option("--first-party", "no consent page")
    .option("--no-rotation", "refresh tokens stay the same (RFC 9700 advises against it)")
    .option("--reuse-window <seconds>", "how long a replaced refresh token is still answered (0 to 60)")
    .option("--resource <uri>", "resource it may ask tokens for (RFC 8707); repeatable", collect)
    .option("--resource-server-for <uri>", "audience whose tokens it may introspect; repeatable", collect)
    .option("--access-token-typ <typ>", "at+jwt or JWT")
    .option("--access-token-alg <alg>", "ES256 or RS256")
    .option("--id-token-alg <alg>", "RS256 or ES256")
    .option("--tls-subject <dn>", "subject of the TLS certificate that authenticates it (RFC 8705)")
    .action(async (clientId: string | undefined, options: AddOptions) => {
      const json = await registrationOf(runtime, clientId, options);
      const added = await withContext(runtime, (ctx) => add(ctx, json));
      const { client, clientSecret } = added;
      outputOf(runtime, options).print(
        { client: shownClient(client), ...(clientSecret === null ? {} : { client_secret: clientSecret }) },
        () => `${describe(client)}${clientSecret === null ? "" : secretNote(clientSecret)}`,
      );
    });

  leaf(client, "registration-token", "a token with which clients may register themselves (RFC 7591); shown this once", [
    "client registration-token",
    "client registration-token --uses 20 --expires 3600",
  ])
    .option("--uses <number>", "how many clients may register with it", "1")
    .option("--expires <seconds>", "for how long", "86400")
    .action(async (options: { json?: boolean; uses: string; expires: string }) => {
      const uses = wholeNumber("--uses", options.uses, 1_000_000);
      const expiresIn = wholeNumber("--expires", options.expires, 31_536_000);
      if (uses === 0 || expiresIn === 0) throw new UsageError("--uses and --expires must be 1 at least");
      const { createInitialAccessToken } = await import("../oauth/clients/registration.ts");
      const { token, expiresAt } = await withContext(runtime, (ctx) =>
        createInitialAccessToken(ctx, { uses, expiresIn }),
      );
      outputOf(runtime, options).print(
        { initial_access_token: token, uses, expires_at: timeOf(expiresAt) },
        () =>
          `initial_access_token  ${token}\nGood for ${uses} registrations until ${timeOf(expiresAt)}. Kept only as a hash: write it down now.`,
      );
    });

  leaf(client, "list", "every client, disabled ones too", ["client list", "client list --json"]).action(
    async (options: { json?: boolean }) => {
      const { listClients } = await import("../oauth/clients/clients.ts");
      const clients = await withContext(runtime, listClients);
      outputOf(runtime, options).print({ clients: clients.map(shownClient) }, () =>
        table(
          ["CLIENT", "KIND", "SOURCE", "STATE", "GRANTS", "NAME"],
          clients.map((each) => [
            each.clientId,
            each.metadata.token_endpoint_auth_method === "none" ? "public" : "confidential",
            each.source,
            each.disabledAt === null ? "active" : "disabled",
            each.metadata.grant_types.join(" "),
            each.metadata.client_name ?? "",
          ]),
        ),
      );
    },
  );

  leaf(client, "show <client-id>", "one client", ["client show portal-client"]).action(
    async (clientId: string, options: { json?: boolean }) => {
      const { getClient } = await import("../oauth/clients/clients.ts");
      const found = await withContext(runtime, (ctx) => getClient(ctx, clientId));
      outputOf(runtime, options).print({ client: shownClient(found) }, () => describe(found));
    },
  );

  leaf(client, "disable <client-id>", "refuse a client from now on; the clients file does not undo it", [
    "client disable portal-client",
  ]).action(async (clientId: string, options: { json?: boolean }) => {
    const { disableClient, getClient } = await import("../oauth/clients/clients.ts");
    const disabled = await withContext(runtime, async (ctx) => {
      await disableClient(ctx, clientId);
      return getClient(ctx, clientId);
    });
    outputOf(runtime, options).print({ client: shownClient(disabled) }, () => `${clientId} is disabled`);
  });

  leaf(client, "rotate-secret <client-id>", "give a client a new secret, shown this once", [
    "client rotate-secret billing",
    "client rotate-secret billing --overlap 86400",
  ])
    .option("--overlap <seconds>", "how long the older secrets still work; 0 ends them and their tokens at once", "0")
    .action(async (clientId: string, options: { json?: boolean; overlap: string }) => {
      const overlap = wholeNumber("--overlap", options.overlap, 31_536_000);
      const { rotateClientSecret } = await import("../oauth/clients/clients.ts");
      const { clientSecret } = await withContext(runtime, (ctx) => rotateClientSecret(ctx, clientId, overlap));
      outputOf(runtime, options).print(
        { client_id: clientId, client_secret: clientSecret, older_secrets_end_in: overlap },
        () =>
          `${clientId} has a new secret; older ones ${overlap === 0 ? "work no more" : `work for ${overlap} s`}${secretNote(clientSecret)}`,
      );
    });
}

const secretNote = (secret: string) => `\n\nclient_secret  ${secret}\nKept only as a hash: write it down now.`;

async function registrationOf(runtime: Runtime, clientId: string | undefined, options: AddOptions): Promise<object> {
  if (options.fromFile !== undefined) {
    const text = await readText(runtime, options.fromFile);
    try {
      const json: unknown = JSON.parse(text);
      if (typeof json === "object" && json !== null && !Array.isArray(json)) {
        return clientId === undefined ? json : { ...json, client_id: clientId };
      }
    } catch {
      // said below
    }
    throw new UsageError(`${options.fromFile} must hold one JSON object`);
  }
  if (clientId === undefined) throw new UsageError("name the client, or give --from-file");
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
  // a secret that the file brought is known already
  return { client: await getClient(ctx, registration.clientId), clientSecret: generated ? clientSecret : null };
}

/** RFC 7591 names; hashes stay inside. */
function shownClient({ clientId, metadata, source, createdAt, disabledAt, disabledBy, secrets }: Client): object {
  return {
    client_id: clientId,
    ...metadata,
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

function describe({ clientId, metadata, source, createdAt, disabledAt, secrets }: Client): string {
  return fields([
    ["client_id", clientId],
    ["name", metadata.client_name ?? ""],
    ["state", disabledAt === null ? "active" : `disabled since ${timeOf(disabledAt)}`],
    ["source", source],
    ["created", timeOf(createdAt)],
    ["authenticates", metadata.token_endpoint_auth_method],
    ["grants", metadata.grant_types.join(" ")],
    ["scope", metadata.scope],
    ["redirect_uris", metadata.redirect_uris.join(" ")],
    ["post_logout_redirect_uris", metadata.post_logout_redirect_uris.join(" ")],
    ["first_party", String(metadata.first_party)],
    ["rotation", metadata.refresh_token_rotation ? `on, reuse window ${metadata.refresh_token_reuse_window} s` : "off"],
    ["access token", `${metadata.access_token_typ}, ${metadata.access_token_signed_response_alg}`],
    ["resources", metadata.resources.join(" ")],
    ["resource_server_for", metadata.resource_server_for.join(" ")],
    ["tls subject", metadata.tls_client_auth_subject_dn ?? ""],
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
