import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import type { ServiceConnection, ServiceCredentials } from "./options.ts";

/** A gRPC client of the issuer with a connection of its own. */
export interface ServiceClient {
  readonly calls: Client<typeof IntrospectionService>;
  /** Ends the connection and every call on it. */
  close(): void;
}

/** Milliseconds: a connection that has been quiet for the first is asked, and dead when it does not answer within the second. */
const ping = { pingIntervalMs: 10_000, pingTimeoutMs: 2_000 };
/** The most that a response may have: a page of the snapshot is far below. */
const readMaxBytes = 16 * 1024 * 1024;

export function connectTo(connection: ServiceConnection): ServiceClient {
  const { baseUrl, credentials, tls } = connection;
  const sessionManager = new Http2SessionManager(baseUrl, ping, { ...tls });
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    readMaxBytes,
    acceptCompression: [],
    interceptors:
      credentials === undefined
        ? []
        : [
            (next) => async (request) => {
              request.header.set("authorization", await authorizationOf(credentials));
              return next(request);
            },
          ],
  });
  return {
    calls: createClient(IntrospectionService, transport),
    close: () => sessionManager.abort(new ConnectError("closed", Code.Canceled)),
  };
}

/** RFC 6749 section 2.3.1: id and secret are form-url-encoded before they are joined. */
async function authorizationOf(credentials: ServiceCredentials): Promise<string> {
  if ("token" in credentials) return `Bearer ${await credentials.token()}`;
  const pair = [credentials.clientId, credentials.clientSecret].map(encodeURIComponent).join(":");
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}
