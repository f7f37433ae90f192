import { createServer } from "node:http";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { claimsOf, requireToken, serveProtectedResource } from "../../src/verifier/http.ts";
import type { Verifier } from "../../src/verifier/verifier.ts";

/** An MCP server whose only tool says who calls it. @returns what closes it */
export async function startMcpServer(verifier: Verifier, port: number): Promise<() => Promise<unknown>> {
  const [document, guard] = [serveProtectedResource(verifier), requireToken(verifier, { scopes: ["profile"] })];
  const server = createServer((request, response) =>
    document(request, response, () =>
      guard(request, response, async () => {
        const mcp = new McpServer({ name: "who", version: "1.0.0" });
        const { sub } = claimsOf(request);
        mcp.registerTool("who", {}, () => ({ content: [{ type: "text", text: sub }] }));
        const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
        await mcp.connect(transport as Transport);
        await transport.handleRequest(request, response);
      }),
    ),
  );
  await new Promise<void>((done) => void server.listen(port, "127.0.0.1", done));
  return () => {
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  };
}
