import type { Server, ServerResponse } from "node:http";

/**
 * @param close stops listening and resolves when every connection has ended
 * @param graceMs milliseconds
 */
type CloseHttp = (close: () => PromiseLike<unknown>, graceMs: number) => Promise<void>;

/**
 * Call before the listener answers. What it returns closes an HTTP/1.1 listener: requests that came are answered, and told that their
 * connection ends; connections without one are cut, and those that still keep it open after the grace (half a request, a client that takes
 * nothing) are cut too.
 */
export function closerOf(server: Server): CloseHttp {
  const underWay = new Set<ServerResponse>();
  let closing = false;
  const endsConnection = (response: ServerResponse) => {
    response.shouldKeepAlive = false;
  };
  server.prependListener("request", (_request, response) => {
    if (closing) return endsConnection(response);
    underWay.add(response);
    response.once("close", () => underWay.delete(response));
  });
  return async (close, graceMs) => {
    closing = true;
    for (const response of underWay) endsConnection(response);
    // a connection that was busy when the closing began is kept alive by its client
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    const grace = setTimeout(() => server.closeAllConnections(), graceMs);
    try {
      await close();
    } finally {
      clearInterval(idle);
      clearTimeout(grace);
    }
  };
}
