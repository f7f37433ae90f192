import { AsyncResource } from "node:async_hooks";
import type { Server as HttpServer, RequestListener } from "node:http";
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import type { Server, Socket } from "node:net";

/** A peer has this long to begin to speak, to send its whole request and to take its answer. Milliseconds. */
export const PATIENCE_MS = 10_000;
const sweepMs = 500;

/** On one listener of one process: a caller needs a handful, and each costs little while it is idle. */
const mostConnections = 4_096;

/**
 * Closes connections beyond the limit. A worker process would hand them back to its primary, which passes them on to the next one: for ever,
 * and as fast as they can, where all of them are full.
 */
export function limitConnections(server: Server, most = mostConnections): void {
  Object.assign(server, { maxConnections: most, dropMaxConnection: true });
}

/** On one connection, at once: browsers send none before they have the answer to the last one. */
const mostWaiting = 100;

/**
 * Begins the requests of an HTTP/1.1 connection one after another, as their answers have to follow each other (RFC 9112 section 9.3.2). Node
 * hands over everything that came in one piece, some thousand requests: they would be answered at the same time, before those of anybody
 * else, and their answers kept until the peer takes them. A connection on which more than a hundred wait is cut.
 */
export function oneAtATime(answer: RequestListener): RequestListener {
  const waiting = new WeakMap<Socket, number>();
  return (request, response) => {
    // a response has the connection when those before it are done
    if (response.socket !== null) return void answer(request, response);
    const { socket } = request;
    // the rest of what came is still handed over
    if (socket.destroyed) return;
    const ahead = waiting.get(socket) ?? 0;
    if (ahead >= mostWaiting) return void socket.destroy();
    waiting.set(socket, ahead + 1);
    // the answer before it runs in a context of its own
    const begin = AsyncResource.bind(() => answer(request, response));
    response.once("socket", () => {
      waiting.set(socket, (waiting.get(socket) ?? 1) - 1);
      setImmediate(begin);
    });
  };
}

/** How many compactions apart streams are looked through: what is gone must not be kept for long. */
const leastStreams = 256;

/**
 * Cuts slow and silent peers of an HTTP/2 server: connections that do not begin, requests that do not end, answers that are not
 * taken. Streams are noted in a list that is looked through now and then, because a listener on each would cost a hot call more
 * than the list does.
 */
export function guardHttp2(server: Http2Server): void {
  let streams: { readonly stream: ServerHttp2Stream; waitsFor: number; since: number }[] = [];
  let room = leastStreams;
  let tick = 0;

  const compact = () => {
    streams = streams.filter(({ stream }) => !stream.destroyed);
    room = Math.max(leastStreams, streams.length * 2);
  };
  server.prependListener("stream", (stream: ServerHttp2Stream) => {
    streams.push({ stream, waitsFor: itsRequest, since: tick });
    if (streams.length > room) compact();
  });
  server.on("session", (session: ServerHttp2Session) => {
    const late = setTimeout(() => session.destroy(), PATIENCE_MS).unref();
    session.once("remoteSettings", () => clearTimeout(late));
    session.once("close", () => clearTimeout(late));
  });
  const timer = setInterval(() => {
    tick++;
    compact();
    for (const entry of streams) {
      const waitsFor = whatItWaitsFor(entry.stream);
      if (waitsFor !== entry.waitsFor) {
        entry.waitsFor = waitsFor;
        entry.since = tick;
      } else if (waitsFor !== nothing && tick - entry.since > PATIENCE_MS / sweepMs) {
        entry.stream.close(constants.NGHTTP2_CANCEL);
      }
    }
  }, sweepMs).unref();
  server.once("close", () => clearInterval(timer));
}

const nothing = -1;
const itsRequest = -2;

/** Above -1: for its peer to take so many bytes. */
function whatItWaitsFor(stream: ServerHttp2Stream): number {
  if (stream.writableEnded || stream.writableLength > 0) return stream.writableLength;
  return stream.readableEnded ? nothing : itsRequest;
}

/** Cuts connections of an HTTP/1.1 server that do not take their answer. Slow requests are its own timeouts' business. */
export function guardHttp1(server: HttpServer): void {
  const sockets = new Set<Socket>();
  const stuckSince = new WeakMap<Socket, { readonly bytesWaiting: number; readonly at: number }>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const timer = setInterval(() => {
    const now = performance.now();
    for (const socket of sockets) {
      const bytesWaiting = bytesWaitingIn(socket);
      const stuck = stuckSince.get(socket);
      if (bytesWaiting === 0) stuckSince.delete(socket);
      else if (stuck === undefined || bytesWaiting < stuck.bytesWaiting)
        stuckSince.set(socket, { bytesWaiting, at: now });
      else if (now - stuck.at > PATIENCE_MS) socket.destroy();
    }
  }, sweepMs).unref();
  server.once("close", () => clearInterval(timer));
}

/** What its peer has not taken yet. A long answer is one piece of `writableLength`, of which the system says how much is left. */
function bytesWaitingIn(socket: Socket): number {
  const { _handle: handle } = socket as { readonly _handle?: { readonly writeQueueSize?: number } | null };
  return socket.writableLength + (handle?.writeQueueSize ?? 0);
}
