import { gzipSync } from "node:zlib";
import type { FastifyInstance } from "fastify";
import { SCRIPTS } from "./pages/scripts.ts";

const yearSeconds = 31_536_000;

/** GET /assets/NAME.HASH.js: the scripts of the pages, from memory. Another content has another address. */
export function assets(app: FastifyInstance): void {
  for (const { path, body } of SCRIPTS.values()) {
    // the same bytes for every answer: of a text each one would keep a copy until its client has taken it
    const bytes = Buffer.from(body);
    let zipped: Buffer | null = null;
    app.get(path, { exposeHeadRoute: true }, (request, reply) => {
      reply
        .header("cache-control", `public, max-age=${yearSeconds}, immutable`)
        .header("vary", "accept-encoding")
        .type("text/javascript; charset=utf-8");
      if (!/\bgzip\b(?!\s*;\s*q=0(\.0*)?\b)/i.test(request.headers["accept-encoding"] ?? "")) return reply.send(bytes);
      zipped ??= gzipSync(bytes);
      return reply.header("content-encoding", "gzip").send(zipped);
    });
  }
}
