import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { type DescMethod, getOption, hasOption } from "@bufbuild/protobuf";
import { type ContextKey, type ContextValues, createContextKey, type HandlerContext } from "@connectrpc/connect";
import { required_scope } from "../../gen/auth/v1/options_pb.ts";
import { LANGUAGE_TAG } from "../config/languages.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER } from "../events.ts";
import type { Load } from "../oauth/callers/caller-limits.ts";
import type { Caller } from "../oauth/callers/caller-memory.ts";
import type { authenticateCaller } from "../oauth/callers/callers.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type RequestInfo, requestIdOf } from "../telemetry/request.ts";

/** What a call brings to say who makes it. */
export type Credentials = Parameters<typeof authenticateCaller>[1];

/** Swapped only by tests. */
export type Authenticate = (ctx: OAuthContext, credentials: Credentials) => Caller | Promise<Caller>;

/** One call from its arrival to its answer, on either listener. */
export class Call {
  readonly credentials: Credentials;
  readonly startedAt = performance.now();
  /** Null until admitted. */
  caller: Caller | null = null;
  /** What its caller has under way, this call included; null until admitted. */
  load: Load | null = null;
  /** When work on it must have ended, by `performance.now()`. */
  endsAt = Number.POSITIVE_INFINITY;
  /** gRPC status name, once there is one. */
  outcome: string | null = null;
  /** Its client may be gone before it was admitted. */
  hasEnded = false;

  constructor(credentials: Credentials) {
    this.credentials = credentials;
  }
}

/** What log lines say of a call. @param given the id that the caller chose, which internal callers may */
export function requestInfo(given: unknown, credentials: Credentials): RequestInfo {
  return {
    id: requestIdOf(given),
    // looked up only where something is logged
    get address() {
      return credentials.network;
    },
  };
}

const callKey: ContextKey<Call | null> = createContextKey<Call | null>(null, { description: "call" });

/** Context values that hold the call and make room for others only when somebody sets one. */
export class CallValues implements ContextValues {
  readonly #call: Call;
  #others: Map<symbol, unknown> | null = null;

  constructor(call: Call) {
    this.#call = call;
  }

  get<T>(key: ContextKey<T>): T {
    if (key.id === callKey.id) return this.#call as T;
    return this.#others?.has(key.id) ? (this.#others.get(key.id) as T) : key.defaultValue;
  }

  set<T>(key: ContextKey<T>, value: T): this {
    this.#others ??= new Map();
    this.#others.set(key.id, value);
    return this;
  }

  delete(key: ContextKey<unknown>): this {
    this.#others?.delete(key.id);
    return this;
  }
}

export function callOf(context: HandlerContext): Call {
  const call = context.values.get(callKey);
  if (call === null) throw new Error("a handler was reached without its call");
  return call;
}

/** What a caller may say of the person for whom it calls: metadata, or headers. */
const personKeys: readonly {
  readonly key: string;
  readonly member: keyof Asker;
  readonly isRight: (value: string) => boolean;
  readonly rule: string;
}[] = [
  {
    key: "person-ip-address",
    member: "ipAddress",
    isRight: (value) => isIP(value) !== 0 && !value.includes("%"),
    rule: "must be one IPv4 or IPv6 address",
  },
  {
    key: "person-user-agent",
    member: "userAgent",
    // cut where it is used, as those of browsers are
    isRight: (value) => /^[\x20-\x7e]+$/.test(value),
    rule: "must have printable ASCII characters alone",
  },
  {
    key: "person-language",
    member: "language",
    isRight: (value) => LANGUAGE_TAG.test(value),
    rule: "must be one language tag (BCP 47), such as de or pt-BR",
  },
];

/**
 * The person for whom another service calls, as far as it says who that is.
 * @throws AuthError invalid_request: what it says is malformed
 */
export function personOf({ requestHeader }: HandlerContext): Asker {
  const person: { -readonly [Member in keyof Asker]: Asker[Member] } = { ...UNKNOWN_ASKER };
  for (const { key, member, isRight, rule } of personKeys) {
    const value = requestHeader.get(key) ?? "";
    if (value === "") continue;
    if (!isRight(value)) throw new AuthError("invalid_request", `${key} ${rule}`);
    person[member] = value.slice(0, 500);
  }
  return person;
}

/** The same, with the network of the caller where it names no address: somebody is counted then, too. */
export function askerOf(context: HandlerContext): Asker {
  const person = personOf(context);
  return person.ipAddress === "" ? { ...person, ipAddress: callOf(context).credentials.network } : person;
}

/** The authenticated caller of the call that a handler serves. */
export function callerOf(context: HandlerContext): Caller {
  const { caller } = callOf(context);
  if (caller === null) throw new Error("a handler was reached without authentication");
  return caller;
}

/**
 * The scope of the method option; a method without one is a mistake of the contract and keeps the server from starting.
 */
export function requiredScope(method: DescMethod): string {
  const scope = hasOption(method, required_scope) ? getOption(method, required_scope) : "";
  if (scope === "") throw new Error(`${method.parent.typeName}/${method.name} names no required_scope`);
  return scope;
}

/** @throws AuthError forbidden */
export function demandScope(caller: Caller, scope: string): void {
  if (!caller.scopes.has(scope)) throw new AuthError("forbidden", `this call needs the scope ${scope}`);
}

/**
 * Subject of a client certificate as RFC 4514 writes it, most specific name first (RFC 8705 section 2.1.2).
 * Node prints one name a line, most general first, each escaped already.
 */
export function certificateSubject(certificate: X509Certificate | Buffer): string {
  const { subject } = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return subject.split("\n").reverse().join(",");
}
