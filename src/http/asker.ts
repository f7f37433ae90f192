import type { FastifyRequest } from "fastify";
import type { Asker } from "../events.ts";
import { readerOf } from "./reader.ts";
import { addressOf } from "./request-info.ts";

/** The browser that sent a request, as events name it; the language is that of its pages. */
export function askerOf(request: FastifyRequest): Asker {
  const userAgent = (request.headers["user-agent"] ?? "").slice(0, 500);
  return { ipAddress: addressOf(request), userAgent, language: readerOf(request).tag };
}
