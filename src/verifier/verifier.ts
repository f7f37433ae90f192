import { setImmediate as nextTurn } from "node:timers/promises";
import { readAccessTokenClaims } from "../token/access-token.ts";
import { parseJws, verifyJws } from "../token/jws.ts";
import { haveSameUri } from "../token/uri.ts";
import {
  type Decision,
  FORBIDDEN,
  INVALID_TOKEN,
  type Refused,
  readBearer,
  readDpop,
  TOKEN_EXPIRED,
  UNAUTHORIZED,
  UNAVAILABLE,
  type VerifiedClaims,
  withDpopChallenge,
} from "./decision.ts";
import { DpopCheck, type SignedRequest } from "./dpop.ts";
import { Introspector } from "./introspector.ts";
import { KeySet } from "./key-set.ts";
import { readOptions, type Settings, type VerifierOptions, type VerifyOptions } from "./options.ts";
import { namingDocument, type ProtectedResource, protectedResourceOf } from "./protected-resource.ts";
import { RevocationStream } from "./revocation-stream.ts";
import { RevokedSet } from "./revoked-set.ts";
import { stepUpRefusal } from "./step-up.ts";
import { type RememberedToken, TokenMemory } from "./token-memory.ts";

export type { Allowed, Decision, Refused, VerifiedClaims } from "./decision.ts";
export { readBearer, toHttp } from "./decision.ts";
export type { SignedRequest } from "./dpop.ts";
export type {
  BindingCheck,
  DpopOptions,
  ServiceConnection,
  ServiceCredentials,
  StreamLostPolicy,
  VerifierLog,
  VerifierOptions,
  VerifyOptions,
} from "./options.ts";
export type { ProtectedResource, ProtectedResourceOptions } from "./protected-resource.ts";
export type { AuthenticationDemand } from "./step-up.ts";

/** The verifier's state, for a health endpoint or metrics. */
export interface VerifierStatus {
  /** `fresh`: all revocations are known; `lost`: they may not be; `off`: the verifier follows no stream. */
  readonly stream: "fresh" | "lost" | "off";
  /** Published keys that are known. */
  readonly keys: number;
  /** Unexpired revocations that are known. */
  readonly revocations: number;
  readonly rememberedTokens: number;
  /** At most `maxMemoryBytes`. */
  readonly rememberedBytes: number;
}

/** Decides about access tokens in this process, as the gateway's table says. */
export interface Verifier {
  /**
   * Decides about a token. Never rejects: if it cannot be known whether a token is good, the decision is 503.
   * @param token the access token, without `Bearer `; "" when the request carried none
   */
  verify(token: string, options?: VerifyOptions): Promise<Decision>;
  /**
   * The same without waiting, where memory is enough: always for tokens seen before while the stream is fresh.
   * @returns null if only `verify` can decide
   */
  verifyNow(token: string, options?: VerifyOptions): Decision | null;
  /**
   * `verify` for an Authorization header as received; null or undefined when there was none. A token that is bound to a DPoP key
   * is good with scheme DPoP and a proof of the request, where the verifier has `dpop`; any other one as Bearer only (RFC 9449
   * section 7). A good proof is used up.
   * @param request for tokens with scheme DPoP; without it they are refused
   */
  verifyHeader(header: string | null | undefined, options?: VerifyOptions, request?: SignedRequest): Promise<Decision>;
  /**
   * Resolves when keys are known and, with a stream, the first snapshot is complete. Wait for it before taking requests: until
   * then the policy decides. Rejects only when `close` comes first.
   */
  ready(): Promise<void>;
  status(): VerifierStatus;
  /** The metadata document of `protectedResource` (RFC 9728), for adapters of your own; null without that option. */
  protectedResource(): ProtectedResource | null;
  /** Ends the stream and all calls under way; every decision after it is 503. */
  close(): Promise<void>;
}

/**
 * Begins at once to fetch the keys and to follow the stream.
 * @throws TypeError that names everything that is wrong with the options
 * @throws Error on a Node that is too old
 */
export function createVerifier(options: VerifierOptions): Verifier {
  const { node } = process.versions;
  if (Number(node.split(".", 1)[0]) < 24) throw new Error(`the verifier needs Node 24.18.1 or newer; this is ${node}`);
  return new LocalVerifier(readOptions(options));
}

/** Milliseconds between two tries to get the first keys. */
const firstKeysEvery = 1_000;

/** Turns of the event loop in which waiting messages are read, if the stream was lost less than `catchUpMs` milliseconds ago. */
const catchUpTurns = 10;
const catchUpMs = 5_000;

/** `proof` of a token with scheme DPoP: its binding is checked after everything else. */
const checkedLater = Symbol("checked later");

class LocalVerifier implements Verifier {
  readonly #settings: Settings;
  readonly #keys: KeySet;
  readonly #memory: TokenMemory;
  readonly #revoked = new RevokedSet();
  readonly #stream: RevocationStream | null;
  readonly #introspector: Introspector | null;
  readonly #dpop: DpopCheck | null;
  readonly #resource: ProtectedResource | null;
  /** Refusals that name the metadata document, by what they were. */
  readonly #naming = new WeakMap<Refused, Refused>();
  readonly #ready: Promise<void>;
  readonly #closing = Promise.withResolvers<never>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(settings: Settings) {
    this.#settings = settings;
    const { issuer, jwksUri, stream, introspection, onStreamLost, log } = settings;
    this.#keys = new KeySet({
      issuer,
      jwksUri,
      log,
      fetchTimeoutMs: settings.jwksTimeoutMs,
      cooldownMs: settings.jwksCooldownMs,
    });
    this.#memory = new TokenMemory(settings.maxMemoryBytes);
    this.#stream =
      stream === undefined
        ? null
        : new RevocationStream({
            connection: stream,
            revoked: this.#revoked,
            maxStalenessMs: settings.maxStalenessMs,
            timeoutMs: settings.streamTimeoutMs,
            now: settings.now,
            log,
          });
    this.#introspector =
      onStreamLost !== "introspect" || introspection === undefined
        ? null
        : new Introspector({
            connection: introspection,
            timeoutMs: settings.introspectionTimeoutMs,
            maxUnderWay: settings.maxIntrospections,
            log,
          });
    this.#dpop = settings.dpop === undefined ? null : new DpopCheck(settings.dpop, settings.now, log);
    const { protectedResource, dpop } = settings;
    this.#resource =
      protectedResource === undefined ? null : protectedResourceOf(protectedResource, issuer, dpop !== undefined);
    this.#ready = Promise.race([
      Promise.all([this.#firstKeys(), this.#stream?.complete]).then(() => {}),
      this.#closing.promise,
    ]);
    this.#ready.catch(() => {});
  }

  verify(token: string, options?: VerifyOptions): Promise<Decision> {
    const decision = this.verifyNow(token, options);
    return decision === null || decision === UNAVAILABLE ? this.#ask(token, options) : Promise.resolve(decision);
  }

  verifyHeader(header: string | null | undefined, options?: VerifyOptions, request?: SignedRequest): Promise<Decision> {
    const decision = this.#verifyHeader(header, options, request);
    const resource = this.#resource;
    return resource === null ? decision : decision.then((each) => (each.allowed ? each : this.#named(each, resource)));
  }

  #named(refused: Refused, resource: ProtectedResource): Refused {
    const named = this.#naming.get(refused) ?? namingDocument(refused, resource);
    this.#naming.set(refused, named);
    return named;
  }

  #verifyHeader(
    header: string | null | undefined,
    options?: VerifyOptions,
    request?: SignedRequest,
  ): Promise<Decision> {
    const token = readBearer(header);
    if (token === null) {
      const isBound = this.#dpop !== null && /^dpop /i.test(header ?? "");
      return isBound ? this.#verifyBound(this.#dpop, header ?? "", options, request) : Promise.resolve(INVALID_TOKEN);
    }
    // RFC 9449 section 7.2: a token that is bound to a DPoP key is never accepted as Bearer, even if checkBinding accepts it
    return this.verify(token, options).then((decision) =>
      decision.allowed && decision.claims.cnf?.jkt !== undefined ? INVALID_TOKEN : decision,
    );
  }

  verifyNow(token: string, options?: VerifyOptions): Decision | null {
    if (this.#closed) return UNAVAILABLE;
    // also for programs without types that pass undefined
    if (!token) return UNAUTHORIZED;
    const now = performance.now();
    this.#keys.keepFresh(now);
    const read = this.#read(token);
    if (read === null) return INVALID_TOKEN;
    if (read === "unknown key") {
      const found = this.#keys.lookUp(now);
      return found === "none" ? INVALID_TOKEN : found === "unknowable" ? UNAVAILABLE : null;
    }
    if (!this.#isForUs(read, options)) return INVALID_TOKEN;
    if (this.#isRevoked(read)) return INVALID_TOKEN;
    if (this.#stream !== null && now <= this.#stream.freshUntil) return this.#judge(read, options);
    const policy = this.#settings.onStreamLost;
    if (policy === "accept-until-expiry") return this.#judge(read, options);
    return policy === "introspect" ? null : UNAVAILABLE;
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  status(): VerifierStatus {
    const isFresh = this.#stream !== null && performance.now() <= this.#stream.freshUntil;
    return {
      stream: this.#stream === null ? "off" : isFresh ? "fresh" : "lost",
      keys: this.#keys.size,
      revocations: this.#revoked.size,
      rememberedTokens: this.#memory.size,
      rememberedBytes: this.#memory.bytes,
    };
  }

  protectedResource(): ProtectedResource | null {
    return this.#resource;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#closing.reject(new Error("the verifier was closed"));
    this.#closing.promise.catch(() => {});
    this.#keys.close();
    this.#introspector?.close();
    await this.#stream?.close();
  }

  /** In the issuer's order: the token, its key, its scopes. */
  async #verifyBound(
    dpop: DpopCheck,
    header: string,
    options: VerifyOptions | undefined,
    request: SignedRequest | undefined,
  ): Promise<Decision> {
    const token = readDpop(header);
    if (token === null) return withDpopChallenge(INVALID_TOKEN);
    const { authentication, ...others } = options ?? {};
    const decision = await this.verify(token, { ...others, scopes: [], proof: checkedLater });
    if (!decision.allowed) return withDpopChallenge(decision);
    const { cnf, scope } = decision.claims;
    const refused = await dpop.refusalOf(request, token, cnf);
    if (refused !== null) return withDpopChallenge(refused);
    const held = scope.split(" ");
    if (options?.scopes?.every((one) => held.includes(one)) === false) return withDpopChallenge(FORBIDDEN);
    if (authentication === undefined) return decision;
    return stepUpRefusal(authentication, decision.claims, this.#settings.now() / 1000, "DPoP") ?? decision;
  }

  /** Decides where that takes a fetch of the keys or, while the stream is lost, an introspection. */
  async #ask(token: string, options: VerifyOptions | undefined): Promise<Decision> {
    if (await this.#catchUp()) {
      const decision = this.verifyNow(token, options);
      if (decision !== null) return decision;
    }
    let read = this.#read(token);
    if (read === "unknown key") {
      const found = this.#keys.lookUp(performance.now());
      if (typeof found !== "string") await found;
      // the key is known now, or known not to exist, or the issuer cannot be reached
      const decision = this.verifyNow(token, options);
      if (decision !== null) return decision;
      read = this.#read(token);
    }
    if (read === null) return INVALID_TOKEN;
    if (read === "unknown key" || this.#introspector === null || this.#closed) return UNAVAILABLE;
    if (!this.#isForUs(read, options)) return INVALID_TOKEN;
    const standing = await this.#introspector.ask(token);
    if (this.#closed) return UNAVAILABLE;
    if (standing === "revoked" || this.#isRevoked(read)) return INVALID_TOKEN;
    if (standing === "expired") return TOKEN_EXPIRED;
    return standing === "valid" ? this.#judge(read, options) : UNAVAILABLE;
  }

  /**
   * If this process was busy for longer than the stream may be silent, messages wait in its sockets. A few turns of the event loop
   * read them. @returns whether the stream is fresh
   */
  async #catchUp(): Promise<boolean> {
    if (this.#stream === null) return false;
    for (let turn = 0; turn < catchUpTurns; turn++) {
      const lostFor = performance.now() - this.#stream.freshUntil;
      if (lostFor <= 0) return true;
      if (lostFor > catchUpMs) return false;
      await nextTurn();
    }
    return false;
  }

  /** The token as remembered, or read and verified now. */
  #read(token: string): RememberedToken | "unknown key" | null {
    const known = this.#memory.get(token);
    if (known?.key.published) return known;
    if (known !== undefined) this.#memory.delete(token);
    // also for programs without types that pass something else
    const jws = typeof token === "string" ? parseJws(token) : null;
    if (jws === null) return null;
    const now = this.#settings.now() / 1000;
    const claims = readAccessTokenClaims(jws, this.#settings, now);
    if (claims === null) return null;
    if (claims.cnf !== undefined && this.#settings.checkBinding === undefined && this.#dpop === null) return null;
    const key = this.#keys.find(jws.header.kid);
    if (key === undefined) return "unknown key";
    if (!verifyJws(key.publicKey, key.alg, jws)) return null;
    deepFreeze(claims);
    const scopes = new Set(claims.scope.split(" "));
    const allowed = Object.freeze({ allowed: true, claims } as const);
    const read: RememberedToken = { claims, scopes, key, allowed, checkedAt: -1, revoked: false };
    if (claims.exp > now) this.#memory.add(token, read, now);
    return read;
  }

  /** Audience and binding, checked at every call and never remembered. */
  #isForUs({ claims }: RememberedToken, options: VerifyOptions | undefined): boolean {
    const audience = options?.audience ?? this.#settings.audience;
    if (!isFor(claims, audience)) return false;
    return claims.cnf === undefined || this.#isBound(claims, options?.proof);
  }

  #isBound(claims: VerifiedClaims, proof: unknown): boolean {
    if (proof === checkedLater) return true;
    try {
      return this.#settings.checkBinding?.(claims, proof) === true;
    } catch (error) {
      this.#settings.log.error({ err: error }, "checkBinding threw: the token is refused");
      return false;
    }
  }

  #isRevoked(token: RememberedToken): boolean {
    const { revision } = this.#revoked;
    if (token.checkedAt !== revision) {
      token.revoked ||= this.#revoked.has(token.claims, token.key.kid);
      token.checkedAt = revision;
    }
    return token.revoked;
  }

  #judge(token: RememberedToken, options: VerifyOptions | undefined): Decision {
    const { exp } = token.claims;
    if (exp + this.#settings.expiryToleranceSeconds <= this.#settings.now() / 1000) return TOKEN_EXPIRED;
    const scopes = options?.scopes;
    if (scopes !== undefined) for (const scope of scopes) if (!token.scopes.has(scope)) return FORBIDDEN;
    const demand = options?.authentication;
    if (demand === undefined) return token.allowed;
    return stepUpRefusal(demand, token.claims, this.#settings.now() / 1000, "Bearer") ?? token.allowed;
  }

  async #firstKeys(): Promise<void> {
    for (;;) {
      await this.#keys.load();
      if (this.#keys.loaded || this.#closed) return;
      await new Promise<void>((resolve) => {
        this.#timer = setTimeout(resolve, firstKeysEvery);
      });
    }
  }
}

/** Is one of these audiences among those of the token, or another spelling of one (RFC 3986 section 6.2.3)? */
function isFor({ aud }: VerifiedClaims, accepted: string | readonly string[]): boolean {
  const isAccepted = (one: string) => (typeof accepted === "string" ? accepted === one : accepted.includes(one));
  if (typeof aud === "string" ? isAccepted(aud) : aud.some(isAccepted)) return true;
  return haveSameUri([aud].flat(), [accepted].flat());
}

function deepFreeze(value: object): void {
  for (const member of Object.values(value)) if (member !== null && typeof member === "object") deepFreeze(member);
  Object.freeze(value);
}
