import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";

/** What log lines say of the request they belong to. */
export interface RequestInfo {
  /** In every log line of the request and in its answer's header `x-request-id`. */
  readonly id: string;
  /** Where it came from; a command of this machine has none. */
  readonly address?: string | undefined;
  readonly agent?: string | undefined;
  /** Client id of who calls an internal listener, once that is known. */
  caller?: string;
  /** `command`: of the command line. */
  readonly by?: "command";
}

const current = new AsyncLocalStorage<RequestInfo>();
/** Unlike those of other processes. */
const prefix = randomBytes(9).toString("base64url");
let made = 0;

/** Runs `work`, whose log lines name the request. */
export function duringRequest<T>(request: RequestInfo, work: () => T): T {
  return current.run(request, work);
}

/** The request that the running code serves; undefined outside one. */
export function currentRequest(): RequestInfo | undefined {
  return current.getStore();
}

/** @param given an id that a caller we trust chose; anything that is none gets a new one */
export function requestIdOf(given: unknown): string {
  if (typeof given === "string" && /^[\w.:+/=@-]{1,128}$/.test(given)) return given;
  made++;
  return `${prefix}-${made.toString(36)}`;
}
