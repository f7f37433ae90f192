import type { Command } from "commander";
import { clientJson, clientText, secretNote } from "./client-output.ts";
import { addMetadataOptions, type MetadataOptions, readMetadataOptions } from "./metadata-options.ts";
import { leaf, outputOf, type Runtime, UsageError, withContext } from "./runtime.ts";

/** `client update`. */
export function addClientUpdate(group: Command, runtime: Runtime): void {
  const run = async (clientId: string, options: MetadataOptions & { json?: boolean }) => {
    const change = await readMetadataOptions(options);
    if (Object.keys(change).length === 0) throw new UsageError("name what to change; see --help");
    const { updateClient } = await import("../oauth/clients/clients.ts");
    const { scopesKeptFrom } = await import("../oauth/scopes.ts");
    const { client, clientSecret, kept } = await withContext(runtime, async (ctx) => {
      const updated = await updateClient(ctx, clientId, change);
      return { ...updated, kept: scopesKeptFrom(ctx, updated.client) };
    });
    outputOf(runtime, options).print(
      { client: clientJson(client), ...(clientSecret === null ? {} : { client_secret: clientSecret }) },
      () => `${clientText(client, kept)}${clientSecret === null ? "" : secretNote(clientSecret)}`,
    );
  };
  addMetadataOptions(
    leaf(group, "update <client-id>", "change members of a client; those that are not named stay as they are", [
      "client update shop --redirect-uri https://shop.example.com/callback",
      "client update shop --scope 'openid profile' --no-first-party --set logo_uri=https://shop.example.com/logo.png",
      "client update shop --set contacts='[\"ops@example.com\"]' --unset client_uri",
    ]),
  ).action(run);
}
