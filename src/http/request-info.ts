import { isIP } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { bareAddress } from "../limits.ts";
import { duringRequest, type RequestInfo, requestIdOf } from "../telemetry/request.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Null until `infoOf` was asked for it. */
    info: RequestInfo | null;
  }
}

const maxAgentLength = 256;

/** Gives each request an id, which its log lines have. */
export function nameRequests(app: FastifyInstance): void {
  app.decorateRequest("info", null);
  // once the body has arrived: it does so in events of the connection, which belong to no request
  app.addHook("preValidation", (request, _reply, done) => duringRequest(infoOf(request), done));
}

/** An id comes from a proxy that TRUST_PROXY names, never from a stranger. */
export function infoOf(request: FastifyRequest): RequestInfo {
  request.info ??= new HttpRequestInfo(request);
  return request.info;
}

/**
 * The address that a request comes from, as the nearest proxy that TRUST_PROXY does not name, or nobody, has it. What is no address (`unknown`, what
 * a stranger wrote and a proxy passed on) names nobody: the request is then the proxy's.
 */
export function addressOf(request: FastifyRequest): string {
  return infoOf(request).address ?? "";
}

/** What is said of a request is looked up only where something is logged. */
class HttpRequestInfo implements RequestInfo {
  readonly id: string;
  caller?: string;
  #address: string | undefined;
  readonly #request: FastifyRequest;

  constructor(request: FastifyRequest) {
    this.#request = request;
    const given = request.headers["x-request-id"];
    const cameByProxy = given !== undefined && (request.ips?.length ?? 0) > 1;
    this.id = requestIdOf(cameByProxy ? given : undefined);
  }

  get address(): string {
    const { ips = [this.#request.ip] } = this.#request;
    this.#address ??= ips.map(bareAddress).findLast((each) => isIP(each) !== 0) ?? "";
    return this.#address;
  }

  get agent(): string | undefined {
    return this.#request.headers["user-agent"]?.slice(0, maxAgentLength);
  }
}
