import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { networkOf } from "../limits.ts";

/** Connections of a network that may break HTTP/2 before its next ones wait: a bug in one client must not slow its neighbours. */
const freeFaults = 3;
/** Milliseconds more that a connection waits for each further one that broke HTTP/2, and the most that it waits. */
const stepMs = 50;
const mostWaitMs = 1_000;
/** A network without faults for so long is like any other, and one with no more than the free ones in that time never waits. Milliseconds. */
const forgetMs = 10_000;
/** Networks that are remembered. */
const mostNetworks = 1_000;

/** What nghttp2 calls a connection that does not begin as HTTP/2 does. */
const badClientMagic = -903;

/** What Node calls a session that either side ended with a code, as clients do that are aborted: a GOAWAY that costs nothing. */
const endedWithCode = "ERR_HTTP2_SESSION_ERROR";

/**
 * Lets connections in late from networks whose connections were just cut because they flooded or broke HTTP/2. Each cut connection costs
 * its peer nothing but the next one, and the service a few hundred streams: without the wait a rapid reset (CVE-2023-44487) takes the
 * processor from everybody else. They wait, and are not refused, because others may come through the same proxy.
 * @param slow told when a network's connections begin to wait
 */
export function admitFloodersSlowly(server: Http2Server, slow: (network: string) => void): void {
  const faults = new Map<string, { count: number; lastAt: number }>();
  const networks = new WeakMap<ServerHttp2Session, string>();

  const faultsOf = (network: string) => {
    const { count = 0, lastAt = 0 } = faults.get(network) ?? {};
    const quietMs = performance.now() - lastAt;
    return { count: quietMs > forgetMs ? 0 : count, quietMs };
  };

  server.on("session", (session) => networks.set(session, networkOf(session.socket.remoteAddress ?? "")));
  server.on("sessionError", ({ syscall, errno, code }: NodeJS.ErrnoException, session: ServerHttp2Session) => {
    // a connection that was lost is no fault, and a proxy that checks with HTTP/1 is no flooder
    if (syscall !== undefined || errno === badClientMagic || code === endedWithCode) return;
    const network = networks.get(session) ?? "";
    const { count: before, quietMs } = faultsOf(network);
    const count = Math.max(0, before - (quietMs * freeFaults) / forgetMs) + 1;
    // the last one to be at fault stands last
    faults.delete(network);
    faults.set(network, { count, lastAt: performance.now() });
    if (before <= freeFaults && count > freeFaults) slow(network);
    const [oldest = ""] = faults.keys();
    if (faults.size > mostNetworks) faults.delete(oldest);
  });

  const admitting = server.listeners("connection") as ((socket: Socket) => void)[];
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    const admit = () => {
      for (const listener of admitting) listener.call(server, socket);
    };
    const beyond = faultsOf(networkOf(socket.remoteAddress ?? "")).count - freeFaults;
    if (beyond <= 0) return admit();
    const ignore = () => {};
    socket.on("error", ignore);
    setTimeout(
      () => {
        socket.off("error", ignore);
        if (!server.listening) socket.destroy();
        else if (!socket.destroyed) admit();
      },
      Math.min(mostWaitMs, stepMs * beyond),
    ).unref();
  });
}
