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

/** Milliseconds without traffic after which a ping is sent, and without an answer to it after which the connection is closed. */
const ping = { pingIntervalMs: 10_000, pingTimeoutMs: 2_000 };
/** Bytes of the largest response that is read. A page of the snapshot is far smaller. */
const readMaxBytes = 16 * 1024 * 1024;

/**
 * Sessions whose late errors end nothing. A server that does not speak HTTP/2 makes a session fail twice, and the library listens to the
 * first error alone: the second one would end the process.
 */
class Sessions extends Http2SessionManager {
  readonly #guarded = new WeakSet<object>();

  override async request(
    ...call: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    const stream = await super.request(...call);
    const { session } = stream;
    if (session !== undefined && !this.#guarded.has(session)) {
      this.#guarded.add(session);
      session.on("error", () => {});
    }
    return stream;
  }
}

export function connectTo(connection: ServiceConnection): ServiceClient {
  const { baseUrl, credentials, tls } = connection;
  const sessionManager = new Sessions(baseUrl, ping, { ...tls });
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
              request.header.set("authorization", await unlessAborted(authorizationOf(credentials), request.signal));
              return next(request);
            },
          ],
  });
  return {
    calls: createClient(IntrospectionService, transport),
    close: () => sessionManager.abort(new ConnectError("closed", Code.Canceled)),
  };
}

/** The deadline of a call, and its end, hold for what its credentials wait for too. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** RFC 6749 section 2.3.1: id and secret are form-url-encoded before they are joined. */
async function authorizationOf(credentials: ServiceCredentials): Promise<string> {
  if ("token" in credentials) return `Bearer ${await credentials.token()}`;
  const pair = [credentials.clientId, credentials.clientSecret].map(encodeURIComponent).join(":");
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}
