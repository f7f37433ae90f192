import type { Command } from "commander";
import { addClientAdd } from "./client-add.ts";
import { clientJson, clientText, secretNote } from "./client-output.ts";
import { addClientUpdate } from "./client-update.ts";
import { table, timeOf } from "./output.ts";
import { confirm, leaf, outputOf, type Runtime, wholeNumber, withContext } from "./runtime.ts";

const yearSeconds = 31_536_000;

interface Options {
  json?: boolean;
}

export function addClientCommands(program: Command, runtime: Runtime): void {
  const client = program.command("client").description("registered clients (RFC 7591)");
  addClientAdd(client, runtime);
  addClientRegistrationToken(client, runtime);
  addClientList(client, runtime);
  addClientShow(client, runtime);
  addClientUpdate(client, runtime);
  addClientDisable(client, runtime);
  addClientEnable(client, runtime);
  addClientRemove(client, runtime);
  addClientRotateSecret(client, runtime);
}

function addClientRegistrationToken(client: Command, runtime: Runtime): void {
  interface TokenOptions extends Options {
    uses: string;
    expires: string;
  }
  const run = async (options: TokenOptions) => {
    const uses = wholeNumber("--uses", options.uses, 1_000_000, 1);
    const expiresIn = wholeNumber("--expires", options.expires, yearSeconds, 1);
    const { createInitialAccessToken } = await import("../oauth/clients/registration.ts");
    const { token, expiresAt } = await withContext(runtime, (ctx) =>
      createInitialAccessToken(ctx, { uses, expiresIn }),
    );
    const until = timeOf(expiresAt);
    outputOf(runtime, options).print(
      { initial_access_token: token, uses, expires_at: until },
      () =>
        `initial_access_token  ${token}\nValid for ${uses} registration${uses === 1 ? "" : "s"} until ${until}. Only its hash is stored: write it down now.`,
    );
  };
  leaf(
    client,
    "registration-token",
    "create a token with which clients may register themselves (RFC 7591); it is shown only once",
    ["client registration-token", "client registration-token --uses 20 --expires 3600"],
  )
    .option("--uses <number>", "how many clients may register with it", "1")
    .option("--expires <seconds>", "how long it is valid", "86400")
    .action(run);
}

function addClientList(client: Command, runtime: Runtime): void {
  const run = async (options: Options) => {
    const { listClients } = await import("../oauth/clients/clients.ts");
    const clients = await withContext(runtime, listClients);
    outputOf(runtime, options).print({ clients: clients.map(clientJson) }, () =>
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
  };
  leaf(client, "list", "list every client, disabled ones too", ["client list", "client list --json"]).action(run);
}

function addClientShow(client: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: Options) => {
    const { getClient } = await import("../oauth/clients/clients.ts");
    const { scopesKeptFrom } = await import("../oauth/scopes.ts");
    const { found, kept } = await withContext(runtime, async (ctx) => {
      const found = await getClient(ctx, clientId);
      return { found, kept: scopesKeptFrom(ctx, found) };
    });
    outputOf(runtime, options).print({ client: clientJson(found) }, () => clientText(found, kept));
  };
  leaf(client, "show <client-id>", "show one client", ["client show portal-client"]).action(run);
}

function addClientDisable(client: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: Options) => {
    const { disableClient, getClient } = await import("../oauth/clients/clients.ts");
    const disabled = await withContext(runtime, async (ctx) => {
      await disableClient(ctx, clientId);
      return getClient(ctx, clientId);
    });
    outputOf(runtime, options).print({ client: clientJson(disabled) }, () => `${clientId} is disabled`);
  };
  leaf(client, "disable <client-id>", "refuse a client until `client enable`; the clients file does not undo it", [
    "client disable portal-client",
  ]).action(run);
}

function addClientEnable(client: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: Options) => {
    const { enableClient, getClient } = await import("../oauth/clients/clients.ts");
    const enabled = await withContext(runtime, async (ctx) => {
      await enableClient(ctx, clientId);
      return getClient(ctx, clientId);
    });
    outputOf(runtime, options).print({ client: clientJson(enabled) }, () => `${clientId} is enabled`);
  };
  leaf(client, "enable <client-id>", "accept a disabled client again; it gets new access tokens", [
    "client enable portal-client",
  ]).action(run);
}

function addClientRemove(client: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: Options & { yes?: boolean }) => {
    await confirm(
      runtime,
      options,
      `${clientId} would be gone with its secrets, its tokens and the consents of its users; \`client disable\` can be undone`,
    );
    const { removeClient } = await import("../oauth/clients/clients.ts");
    await withContext(runtime, (ctx) => removeClient(ctx, clientId));
    outputOf(runtime, options).print({ removed: clientId }, () => `${clientId} is removed`);
  };
  leaf(client, "remove <client-id>", "delete a client with its secrets, tokens and consents", [
    "client remove old-shop --yes",
  ])
    .option("--yes", "I know that this cannot be undone")
    .action(run);
}

function addClientRotateSecret(client: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: Options & { overlap: string }) => {
    const overlap = wholeNumber("--overlap", options.overlap, yearSeconds);
    const { rotateClientSecret } = await import("../oauth/clients/clients.ts");
    const { clientSecret } = await withContext(runtime, (ctx) => rotateClientSecret(ctx, clientId, overlap));
    const older = overlap === 0 ? "no longer work" : `work for ${overlap} s more`;
    outputOf(runtime, options).print(
      { client_id: clientId, client_secret: clientSecret, older_secrets_end_in: overlap },
      () => `${clientId} has a new secret; older ones ${older}${secretNote(clientSecret)}`,
    );
  };
  leaf(client, "rotate-secret <client-id>", "give a client a new secret, shown only once", [
    "client rotate-secret billing",
    "client rotate-secret billing --overlap 86400",
  ])
    .option("--overlap <seconds>", "how long older secrets still work; 0 ends them and their tokens at once", "0")
    .action(run);
}
