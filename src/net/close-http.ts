import type { IncomingMessage, Server, ServerResponse } from "node:http";

/** How an HTTP/1.1 listener ends. */
export interface HttpEnd {
  /**
   * From now on each answer, those under way included, says that its connection ends.
   * @param onRequest called for each request that still comes
   */
  drain(onRequest: (request: IncomingMessage) => void): void;
  /**
   * Requests that came are answered, and told that their connection ends; connections without one are cut, and those that still keep it open
   * after the grace (half a request, a client that takes nothing) are cut too.
   * @param close stops listening and resolves when every connection has ended
   * @param graceMs milliseconds
   */
  close(close: () => PromiseLike<unknown>, graceMs: number): Promise<void>;
}

/** Call before the listener answers. */
export function endOf(server: Server): HttpEnd {
  const underWay = new Set<ServerResponse>();
  let onRequest: ((request: IncomingMessage) => void) | null = null;
  const endsConnection = (response: ServerResponse) => {
    response.shouldKeepAlive = false;
  };
  server.prependListener("request", (request, response) => {
    if (onRequest !== null) {
      endsConnection(response);
      return onRequest(request);
    }
    underWay.add(response);
    response.once("close", () => underWay.delete(response));
  });
  const drain: HttpEnd["drain"] = (heard) => {
    onRequest = heard;
    underWay.forEach(endsConnection);
  };
  return {
    drain,
    async close(close, graceMs) {
      drain(() => {});
      // a connection that was busy when the closing began is kept alive by its client
      const idle = setInterval(() => server.closeIdleConnections(), 50);
      const grace = setTimeout(() => server.closeAllConnections(), graceMs);
      try {
        await close();
      } finally {
        clearInterval(idle);
        clearTimeout(grace);
      }
    },
  };
}
