import type { FastifyInstance } from "fastify";
import { SCRIPTS } from "./pages/scripts.ts";

const yearSeconds = 31_536_000;

/** GET /assets/NAME.HASH.js: the scripts of the pages, from memory. Another content has another address. */
export function assets(app: FastifyInstance): void {
  for (const { path, body } of SCRIPTS.values()) {
    app.get(path, { exposeHeadRoute: true }, (_request, reply) =>
      reply
        .header("cache-control", `public, max-age=${yearSeconds}, immutable`)
        .type("text/javascript; charset=utf-8")
        .send(body),
    );
  }
}
