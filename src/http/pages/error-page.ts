import type { FastifyReply, FastifyRequest } from "fastify";
import type { Context } from "../../context.ts";
import { FormRefused } from "../browser.ts";
import { toAuthError } from "../error-table.ts";
import { renderPage } from "./render.ts";

/** The error handler of the pages: a person reads it, so it is a page too. */
export function onErrorPage(ctx: Context) {
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const { error, status } = toAuthError(ctx, thrown);
    if (error.retryAfter !== undefined) reply.header("retry-after", String(error.retryAfter));
    reply.code(status === 401 ? 400 : status);
    renderPage(ctx, request, reply, "error", {
      code: thrown instanceof FormRefused ? "form" : error.code,
      description: error.description,
    });
  };
}
