import type { Server } from "node:http";

/**
 * Closes an HTTP/1.1 listener: requests that came are answered, connections without one are cut, and those that still keep it open after
 * `graceMs` milliseconds (half a request, a client that takes nothing) are cut too.
 * @param close stops listening and resolves when every connection has ended
 */
export async function closeHttp(server: Server, close: () => PromiseLike<unknown>, graceMs: number): Promise<void> {
  // a connection that was busy when the closing began is kept alive by its client
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const grace = setTimeout(() => server.closeAllConnections(), graceMs);
  try {
    await close();
  } finally {
    clearInterval(idle);
    clearTimeout(grace);
  }
}
