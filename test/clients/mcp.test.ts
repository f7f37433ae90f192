import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type OAuthClientProvider, UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { OAuthTokens } from "@modelcontextprotocol/sdk/shared/auth.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { type Account, claimsOf, signUp } from "../support/flow.ts";
import { startMcpServer } from "./mcp-server.ts";
import { answerOf } from "./sign-in.ts";

const redirectUri = "http://127.0.0.1:33418/callback";

/** What an MCP client keeps between its steps; it knows the URL of the MCP server and its own client id, and nothing of the issuer. */
class Provider implements OAuthClientProvider {
  readonly redirectUrl = redirectUri;
  readonly clientMetadata = { client_name: "Assistant", redirect_uris: [redirectUri] };
  sentTo: URL | undefined;
  kept: OAuthTokens | undefined;
  #verifier = "";

  clientInformation() {
    return { client_id: "assistant" };
  }
  tokens() {
    return this.kept;
  }
  saveTokens(tokens: OAuthTokens) {
    this.kept = tokens;
  }
  redirectToAuthorization(url: URL) {
    this.sentTo = url;
  }
  saveCodeVerifier(verifier: string) {
    this.#verifier = verifier;
  }
  invalidateCredentials() {
    this.kept = undefined;
  }
  codeVerifier() {
    return this.#verifier;
  }
}

describe("the MCP SDK in TypeScript as client and server", () => {
  let app: TestApp;
  let verifier: Verifier;
  let account: Account & { uuid: string };
  let resource: string;
  let closeServer: () => Promise<unknown>;

  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    resource = `http://127.0.0.1:${port}/mcp`;
    const assistant = {
      client_id: "assistant",
      redirect_uris: [redirectUri],
      scope: "openid profile",
      first_party: true,
    };
    app = await startApp({ RESOURCES: resource }, [assistant]);
    account = await signUp(app.url);
    verifier = createVerifier({
      issuer: app.url,
      audience: resource,
      onStreamLost: "accept-until-expiry",
      protectedResource: { resource, scopes: ["openid", "profile"] },
    });
    await verifier.ready();
    closeServer = await startMcpServer(verifier, port);
  });
  afterAll(async () => {
    await closeServer();
    await verifier.close();
    await app.close();
  });

  async function whoAmI(provider: Provider): Promise<unknown> {
    const client = new Client({ name: "assistant", version: "1.0.0" });
    await client.connect(new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider }) as Transport);
    const answer = await client.callTool({ name: "who" });
    await client.close();
    return answer.content;
  }

  async function signedIn(): Promise<Provider> {
    const provider = new Provider();
    await expect(whoAmI(provider)).rejects.toThrow(UnauthorizedError);
    const back = await answerOf(provider.sentTo ?? new URL("about:blank"), account);
    const transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
    await transport.finishAuth(back.searchParams.get("code") ?? "");
    return provider;
  }

  it("C-67 finds the issuer by the refusal of a server, signs in for that server, and calls it", async () => {
    const provider = await signedIn();
    expect(provider.sentTo?.origin).toBe(app.url);
    expect(provider.sentTo?.searchParams.get("resource")).toBe(resource);
    expect(claimsOf(provider.kept?.access_token ?? "")["aud"]).toEqual([resource, `${app.url}/userinfo`]);
    expect(await whoAmI(provider)).toEqual([{ type: "text", text: account.uuid }]);
  });

  it("C-67 refreshes for the same server when its token is refused, and signs in again when the refresh is", async () => {
    const provider = await signedIn();
    const { kept } = provider;
    if (kept === undefined) throw new Error("no tokens");
    provider.kept = { ...kept, access_token: "worthless" };
    provider.sentTo = undefined;
    expect(await whoAmI(provider)).toEqual([{ type: "text", text: account.uuid }]);
    expect(provider.sentTo).toBeUndefined();
    expect(provider.kept?.access_token).not.toBe("worthless");
    provider.kept = { ...kept, access_token: "worthless", refresh_token: "worthless" };
    await expect(whoAmI(provider)).rejects.toThrow(UnauthorizedError);
    expect(provider.sentTo).toBeInstanceOf(URL);
  });
});
