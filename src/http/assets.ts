import { gzipSync } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { SCRIPTS, type Script } from "./pages/scripts.ts";

const yearSeconds = 31_536_000;

interface Named {
  readonly Params: { readonly name: string; readonly hash: string };
}

/**
 * GET /assets/NAME.HASH.js: the scripts of the pages, from memory. Another content has another address. A page of another release, which a replica made
 * that is not restarted yet, gets the script as it is here: without it, passkeys would not work on that page.
 */
export function assets(app: FastifyInstance): void {
  // the same bytes for every answer: of a text each one would keep a copy until its client has taken it
  const plain = new Map<Script, Buffer>([...SCRIPTS.values()].map((script) => [script, Buffer.from(script.body)]));
  const zipped = new Map<Script, Buffer>();
  const send = (request: FastifyRequest, reply: FastifyReply, script: Script, keeps: string) => {
    reply.header("cache-control", keeps).header("vary", "accept-encoding").type("text/javascript; charset=utf-8");
    if (!/\bgzip\b(?!\s*;\s*q=0(\.0*)?\b)/i.test(request.headers["accept-encoding"] ?? ""))
      return reply.send(plain.get(script));
    const body = zipped.get(script) ?? gzipSync(script.body);
    zipped.set(script, body);
    return reply.header("content-encoding", "gzip").send(body);
  };
  for (const script of SCRIPTS.values()) {
    const keeps = `public, max-age=${yearSeconds}, immutable`;
    app.get(script.path, { exposeHeadRoute: true }, (request, reply) => send(request, reply, script, keeps));
  }
  app.get<Named>("/assets/:name.:hash([0-9a-f]{16}).js", { exposeHeadRoute: true }, (request, reply) => {
    const script = SCRIPTS.get(request.params.name);
    if (script === undefined) return reply.callNotFound();
    return send(request, reply, script, "no-store");
  });
}
