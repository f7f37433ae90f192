import type { FastifyRequest } from "fastify";
import type { Asker } from "../events.ts";

const tag = /^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$/;

/** The browser that sent a request, as events name it. */
export function askerOf(request: FastifyRequest): Asker {
  const userAgent = (request.headers["user-agent"] ?? "").slice(0, 500);
  return { ipAddress: request.ip, userAgent, language: languageOf(request) };
}

/** The language that the browser prefers; empty: it names none. */
function languageOf(request: FastifyRequest): string {
  const [first = ""] = request.languages();
  return tag.test(first) ? first : "";
}
