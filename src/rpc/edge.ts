import type {
  DescMessage,
  DescMethod,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext, type MethodImpl, type ServiceImpl } from "@connectrpc/connect";
import { status } from "@grpc/grpc-js";
import type { Caller } from "../oauth/callers/caller-memory.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { currentRequest } from "../telemetry/request.ts";
import { type Authenticate, type Call, callOf, demandScope, requiredScope } from "./caller.ts";
import { toConnectError } from "./error-table.ts";

/** No call works longer than this, whatever deadline its client sets or leaves out. Milliseconds. */
export const MAX_CALL_MS = 30_000;

/**
 * A thousand tokens of BatchIntrospect at just under 2 KiB each are 2 MiB and their framing: 1 MiB does not hold them.
 */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** A service and the one object that serves it on every listener. */
export interface Registration {
  readonly service: DescService;
  readonly implementation: Readonly<Record<string, unknown>>;
}

export function register<S extends DescService>(service: S, implementation: ServiceImpl<S>): Registration {
  return { service, implementation: implementation as Readonly<Record<string, unknown>> };
}

/** What an edge is made of; tests bring their own. */
export interface EdgeParts {
  readonly registrations: readonly Registration[];
  readonly authenticate: Authenticate;
}

export type UnaryMethod = MethodImpl<DescMethodUnary<DescMessage, DescMessage>>;
export type StreamingMethod = MethodImpl<DescMethodServerStreaming<DescMessage, DescMessage>>;

/** A method as both fronts serve it. */
export interface Method {
  readonly desc: DescMethod;
  /** `auth.v1.UserService/GetUser` */
  readonly name: string;
  readonly scope: string;
  /** It changes something: who called it is written down. */
  readonly audited: boolean;
  readonly implementation: UnaryMethod | StreamingMethod;
}

/** The methods of all services. @throws where one names no scope, has no implementation or streams from the client */
export function methodsOf(registrations: readonly Registration[]): Method[] {
  return registrations.flatMap(({ service, implementation }) =>
    service.methods.map((desc): Method => {
      const name = `${service.typeName}/${desc.name}`;
      const scope = requiredScope(desc);
      const fn = implementation[desc.localName];
      if (typeof fn !== "function") throw new Error(`${name} has no implementation`);
      if (desc.methodKind !== "unary" && desc.methodKind !== "server_streaming") {
        throw new Error(`${name}: no listener serves ${desc.methodKind} methods`);
      }
      // Introspection carries tokens, so it is not marked as free of side effects (that would allow GET), but changes nothing.
      const reads = desc.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS || scope === "auth.introspect";
      return { desc, name, scope, audited: !reads, implementation: fn.bind(implementation) as UnaryMethod };
    }),
  );
}

/** What both fronts do around a handler. Each verb throws ConnectErrors only. */
export class Edge {
  readonly ctx: OAuthContext;
  readonly methods: readonly Method[];
  readonly #name: "grpc" | "connect";
  readonly #authenticate: Authenticate;

  constructor(name: "grpc" | "connect", ctx: OAuthContext, parts: EdgeParts) {
    this.#name = name;
    this.ctx = ctx;
    this.methods = methodsOf(parts.registrations);
    this.#authenticate = parts.authenticate;
  }

  /**
   * Authentication, authorization and the caller's limits, before anything looks at the message.
   * @returns undefined where the caller is known already: a hot call does not wait for a turn of the microtask queue
   */
  admit(method: Method, call: Call): Promise<void> | undefined {
    const refuse = (error: unknown): never => {
      const refused = this.refuse(method, call, error);
      if (call.caller !== null) this.#audit(method, call, null, null);
      throw refused;
    };
    try {
      const caller = this.#authenticate(this.ctx, call.credentials);
      if (caller instanceof Promise) return caller.then((known) => this.#enter(method, call, known)).catch(refuse);
      this.#enter(method, call, caller);
      return undefined;
    } catch (error) {
      return refuse(error);
    }
  }

  #enter(method: Method, call: Call, caller: Caller): void {
    call.caller = caller;
    const request = currentRequest();
    if (request !== undefined) request.caller = caller.client.clientId;
    demandScope(caller, method.scope);
    // what ends no more must not be counted as under way
    if (call.hasEnded) throw new ConnectError("the client hung up", Code.Canceled);
    call.load = this.ctx.callerLimits.enter(caller.client.clientId);
  }

  /** Any internal scope will do: reflection tells of every method. */
  async admitAny(call: Call): Promise<void> {
    try {
      call.caller = await this.#authenticate(this.ctx, call.credentials);
      const { scopes } = call.caller;
      if (!this.methods.some(({ scope }) => scopes.has(scope))) demandScope(call.caller, this.methods[0]?.scope ?? "");
    } catch (error) {
      throw toConnectError(error, (cause) => this.#report("reflection", cause));
    }
  }

  /** Runs a unary handler until its deadline. A call that arrives past its deadline starts no work. */
  perform(method: Method, request: unknown, context: HandlerContext): object | Promise<object> {
    const call = callOf(context);
    const succeed = (response: object): object => {
      call.outcome = "OK";
      this.#audit(method, call, request, response);
      return response;
    };
    const fail = (error: unknown): never => {
      const refused = this.refuse(method, call, error);
      this.#audit(method, call, request, null);
      throw refused;
    };
    try {
      const left = Math.min(context.timeoutMs() ?? MAX_CALL_MS, MAX_CALL_MS);
      if (left <= 0) throw deadlineExceeded();
      call.endsAt = performance.now() + left;
      const work = (method.implementation as UnaryMethod)(request as never, context);
      if (work instanceof Promise) return deadlines.until(left, work as Promise<object>).then(succeed, fail);
      return succeed(work as object);
    } catch (error) {
      return fail(error);
    }
  }

  /** Runs a streaming handler: it lives as long as its client's deadline and connection do and must honour the signal. */
  async *stream(method: Method, request: unknown, context: HandlerContext): AsyncGenerator<object> {
    const call = callOf(context);
    try {
      if ((context.timeoutMs() ?? 1) <= 0) throw deadlineExceeded();
      yield* (method.implementation as StreamingMethod)(request as never, context);
      call.outcome = "OK";
    } catch (error) {
      throw this.refuse(method, call, error);
    } finally {
      this.#audit(method, call, request, null);
    }
  }

  /** The status for an error, noted as the call's outcome. */
  refuse(method: Method, call: Call | null, error: unknown): ConnectError {
    const refused = toConnectError(error, (cause) => this.#report(method.name, cause));
    if (call !== null) call.outcome = status[refused.code] ?? "UNKNOWN";
    return refused;
  }

  /** Counts an ended call. */
  finish(method: Method, call: Call): void {
    call.hasEnded = true;
    if (call.load !== null) this.ctx.callerLimits.leave(call.load);
    this.ctx.metrics.requests.observe(
      { edge: this.#name, operation: method.desc.name, outcome: call.outcome ?? "UNKNOWN" },
      (performance.now() - call.startedAt) / 1000,
    );
  }

  #report(method: string, cause: unknown): void {
    this.ctx.log.error({ err: cause, method }, "unhandled error in RPC handler");
  }

  #audit(method: Method, call: Call, request: unknown, response: unknown): void {
    if (!method.audited) return;
    this.ctx.log.info(
      {
        audit: method.name,
        client: call.caller?.client.clientId,
        target: targetOf(request) ?? targetOf(response),
        network: call.credentials.network,
        outcome: call.outcome,
      },
      "administrative call",
    );
  }
}

/** Whom or what a message is about; never an address, a token or a password. */
function targetOf(message: unknown): string | undefined {
  const { uuid, sid, clientId, user } = (message ?? {}) as Record<string, unknown>;
  if (typeof user === "object" && user !== null) return targetOf(user);
  return [uuid, sid, clientId].find((value): value is string => typeof value === "string" && value !== "");
}

function deadlineExceeded(): ConnectError {
  return new ConnectError("the deadline passed", Code.DeadlineExceeded);
}

const sweepMs = 50;

/** Deadlines of the calls at work, looked through together: a timer for each would cost a hot call a tenth of its time. */
class Deadlines {
  readonly #calls = new Set<{ readonly at: number; readonly expire: () => void }>();
  #timer: NodeJS.Timeout | undefined;

  /** A result or rejection that arrives after the deadline is ignored. */
  until<T>(ms: number, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = { at: performance.now() + ms, expire: () => reject(deadlineExceeded()) };
      this.#calls.add(call);
      this.#timer ??= setInterval(() => this.#sweep(), sweepMs).unref();
      work.then(
        (result) => {
          this.#calls.delete(call);
          resolve(result);
        },
        (error: unknown) => {
          this.#calls.delete(call);
          reject(error);
        },
      );
    });
  }

  #sweep(): void {
    const now = performance.now();
    for (const call of this.#calls) {
      if (call.at > now) continue;
      this.#calls.delete(call);
      call.expire();
    }
    if (this.#calls.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

const deadlines = new Deadlines();
