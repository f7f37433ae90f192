import type { FastifyInstance, FastifyRequest } from "fastify";
import { duringRequest, type RequestInfo, requestIdOf } from "../telemetry/request.ts";

const maxAgentLength = 256;
const known = new WeakMap<FastifyRequest, RequestInfo>();

/** Gives each request an id, which its log lines and its answer have. */
export function nameRequests(app: FastifyInstance): void {
  app.addHook("onRequest", (request, reply, done) => {
    const info = infoOf(request);
    reply.header("x-request-id", info.id);
    duringRequest(info, done);
  });
  // a body arrives in events of the connection, which belong to no request
  app.addHook("preValidation", (request, _reply, done) => duringRequest(infoOf(request), done));
}

/** An id comes from a proxy that TRUST_PROXY names, never from a stranger. */
export function infoOf(request: FastifyRequest): RequestInfo {
  const before = known.get(request);
  if (before !== undefined) return before;
  const cameByProxy = (request.ips?.length ?? 0) > 1;
  const info: RequestInfo = {
    id: requestIdOf(cameByProxy ? request.headers["x-request-id"] : undefined),
    address: request.ip,
    agent: request.headers["user-agent"]?.slice(0, maxAgentLength),
  };
  known.set(request, info);
  return info;
}
