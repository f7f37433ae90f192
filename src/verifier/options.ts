import { haveSameUri } from "../token/uri.ts";
import type { VerifiedClaims } from "./decision.ts";
import type { ProtectedResourceOptions } from "./protected-resource.ts";
import type { AuthenticationDemand } from "./step-up.ts";

/** A logger; pino fits. Tokens and credentials are never passed to it. */
export interface VerifierLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/** How the verifier authenticates to the issuer. Its client needs the scope `auth.introspect`. */
export type ServiceCredentials =
  | { readonly clientId: string; readonly clientSecret: string }
  /** Called for each call and each opening of the stream. @returns an access token from client credentials */
  | { readonly token: () => string | Promise<string> };

/** The issuer's internal gRPC listener. */
export interface ServiceConnection {
  /** `http://host:9091`, or `https://...` for TLS. */
  readonly baseUrl: string;
  readonly credentials?: ServiceCredentials;
  /** PEM; `cert` and `key` are a client certificate's, which can take the place of `credentials`. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

/** What happens while revocations are not known. */
export type StreamLostPolicy = "introspect" | "fail-closed" | "accept-until-expiry";

/**
 * Called by `verify` and `verifyNow` at every call for a token that is bound to a key (`cnf`, RFC 7800), and by `verifyHeader` for
 * one that came as Bearer. Without it they refuse such tokens as Invalid Token. Tokens with scheme DPoP are checked by `dpop`.
 * @param proof what the caller of `verify` gave as `proof`
 * @returns whether the sender holds the key
 */
export type BindingCheck = (claims: VerifiedClaims, proof: unknown) => boolean;

/** Tokens that are bound to a DPoP key (RFC 9449), as `verifyHeader` and the HTTP and Connect middlewares take them. */
export interface DpopOptions {
  /**
   * What clients put before the path of a request, as `https://api.example`, with the prefix that a proxy takes off: proofs must
   * name this URL. The Host header is not used, because the sender of the request chooses it.
   */
  readonly publicUrl: string;
  /**
   * Where several processes answer to `publicUrl`: the memory of used proofs that they share (RFC 9449 section 11.1). Without it
   * each process remembers its own, and a stolen proof is good once in each other one while it lasts: 70 seconds at the most.
   * Where it throws or rejects the answer is 503.
   * @param id of the proof: hash of its key and `jti`, 43 characters of base64url
   * @param expiresAt milliseconds since 1970 until which to remember it
   * @returns whether it is new, as one atomic step with remembering it
   */
  readonly rememberProof?: (id: string, expiresAt: number) => boolean | Promise<boolean>;
  /** Used proofs that are remembered in this process, about 120 bytes each; the oldest go. 100,000 unless given, at least 1. */
  readonly maxProofs?: number;
}

export interface VerifierOptions {
  /** `iss` of the tokens, exactly. */
  readonly issuer: string;
  /**
   * The client ids or resources that are accepted as `aud` of a token. Client ids are compared exactly, URIs by RFC 3986 section 6.2.3: scheme and
   * host without case, default port and empty path, percent-encoding.
   */
  readonly audience: string | readonly string[];
  /** Where the key set is; without it: what the issuer's discovery document says. */
  readonly jwksUri?: string;
  /** The issuer's stream of revocations. Without it `onStreamLost` decides at every call, and must be given. */
  readonly stream?: ServiceConnection;
  /** Where to introspect; without it: the connection of `stream`. */
  readonly introspection?: ServiceConnection;
  /** With `stream`: "introspect" unless given. */
  readonly onStreamLost?: StreamLostPolicy;
  /** Milliseconds without news from the stream after which it is lost. 1000 unless given, at least 500. */
  readonly maxStalenessMs?: number;
  /** Seconds that `iat` and `nbf` may lie in the future. 10 unless given, which is the most. */
  readonly clockToleranceSeconds?: number;
  /** Seconds that a token is accepted after its `exp`. 0 unless given, at most 10. */
  readonly expiryToleranceSeconds?: number;
  /** Accept header typ `JWT` as well as `at+jwt`, for clients registered with `access_token_typ: "JWT"`. False unless given. */
  readonly allowJwtTyp?: boolean;
  /** Accept tokens that are bound to a DPoP key. Without it requests with scheme DPoP are answered Invalid Token. */
  readonly dpop?: DpopOptions;
  readonly checkBinding?: BindingCheck;
  /** Lets clients find the issuer (RFC 9728): refusals name the metadata document, which the middlewares serve. */
  readonly protectedResource?: ProtectedResourceOptions;
  /** Bytes for remembered tokens, about 3 KB each. 64 MiB unless given. */
  readonly maxMemoryBytes?: number;
  /** Milliseconds for an introspection. 500 unless given. */
  readonly introspectionTimeoutMs?: number;
  /** Introspections under way at once; more are Unavailable. 200 unless given. */
  readonly maxIntrospections?: number;
  /** Milliseconds between two fetches of the keys because of an unknown `kid`. 1000 unless given, at least 100. */
  readonly jwksCooldownMs?: number;
  /** Milliseconds for a fetch of the keys. 5000 unless given. */
  readonly jwksTimeoutMs?: number;
  /** Milliseconds without any message after which the stream is opened again. 3000 unless given. */
  readonly streamTimeoutMs?: number;
  /** Silent unless given. */
  readonly log?: VerifierLog;
  /** The time in milliseconds since 1970, for tests. `Date.now` unless given. */
  readonly now?: () => number;
}

/** Options of one call. */
export interface VerifyOptions {
  /** Scopes that must all be held. */
  readonly scopes?: readonly string[];
  /** How well and how recently the user must have signed in; otherwise the answer is a challenge (RFC 9470). */
  readonly authentication?: AuthenticationDemand;
  /** In place of the verifier's. */
  readonly audience?: string | readonly string[];
  /** For `checkBinding`. */
  readonly proof?: unknown;
}

export interface Settings
  extends Required<
    Omit<VerifierOptions, "jwksUri" | "stream" | "introspection" | "checkBinding" | "dpop" | "protectedResource">
  > {
  readonly jwksUri: string | undefined;
  readonly stream: ServiceConnection | undefined;
  readonly introspection: ServiceConnection | undefined;
  readonly checkBinding: BindingCheck | undefined;
  readonly dpop: DpopOptions | undefined;
  readonly protectedResource: ProtectedResourceOptions | undefined;
}

const silent: VerifierLog = { info() {}, warn() {}, error() {} };
const policies: readonly unknown[] = ["introspect", "fail-closed", "accept-until-expiry"];

/** The options with their defaults. @throws TypeError that names everything that is wrong with them */
export function readOptions(options: VerifierOptions): Settings {
  const problems: string[] = [];
  const demand = (holds: boolean, problem: string) => {
    if (!holds) problems.push(problem);
  };
  const number = (name: NumberOption, standard: number, min: number, max: number): number => {
    const value = options[name] ?? standard;
    demand(Number.isFinite(value) && value >= min && value <= max, `${name} must be ${min} to ${max}`);
    return value;
  };
  const { issuer, audience, jwksUri, stream, onStreamLost, dpop, protectedResource } = options;
  demand(isHttp(issuer), "issuer must be an http or https URL");
  const audiences = typeof audience === "string" ? [audience] : audience;
  const isList = Array.isArray(audiences) && audiences.length > 0;
  demand(isList && audiences.every((one) => typeof one === "string" && one !== ""), "audience must name at least one");
  demand(jwksUri === undefined || isHttp(jwksUri), "jwksUri must be an http or https URL");
  for (const name of ["stream", "introspection"] as const) {
    const connection = options[name];
    if (connection === undefined) continue;
    demand(isHttp(connection.baseUrl), `${name}.baseUrl must be an http or https URL, as http://auth.internal:9091`);
    const named = connection.credentials !== undefined || connection.tls?.cert !== undefined;
    demand(named, `${name} needs credentials or a client certificate`);
  }
  if (dpop !== undefined) {
    const { publicUrl, maxProofs = 1 } = dpop;
    const isBase = isHttp(publicUrl) && !/[?#@]/.test(publicUrl);
    demand(isBase, "dpop.publicUrl must be an http or https URL without query, as https://api.example");
    demand(Number.isInteger(maxProofs) && maxProofs >= 1, "dpop.maxProofs must be 1 or more");
  }
  if (protectedResource !== undefined) {
    const { resource } = protectedResource;
    const isUrl = isHttp(resource) && !/[#"\\]/.test(resource);
    demand(isUrl, "protectedResource.resource must be an http or https URL without fragment");
    demand(isList && haveSameUri(audiences, [resource]), "audience must name protectedResource.resource");
  }
  const policy = onStreamLost ?? (stream === undefined ? undefined : "introspect");
  demand(policy !== undefined, "without stream, onStreamLost must say what to do: introspect or accept-until-expiry");
  demand(
    policy === undefined || policies.includes(policy),
    "onStreamLost must be introspect, fail-closed or accept-until-expiry",
  );
  demand(stream !== undefined || policy !== "fail-closed", "fail-closed without stream would refuse every token");
  const introspection = options.introspection ?? stream;
  demand(
    policy !== "introspect" || introspection !== undefined,
    "introspect needs introspection or stream: where to ask",
  );
  const settings: Settings = {
    issuer,
    audience: audiences,
    jwksUri,
    stream,
    introspection,
    onStreamLost: policy ?? "fail-closed",
    maxStalenessMs: number("maxStalenessMs", 1000, 500, 3_600_000),
    clockToleranceSeconds: number("clockToleranceSeconds", 10, 0, 10),
    expiryToleranceSeconds: number("expiryToleranceSeconds", 0, 0, 10),
    allowJwtTyp: options.allowJwtTyp ?? false,
    checkBinding: options.checkBinding,
    dpop,
    protectedResource,
    maxMemoryBytes: number("maxMemoryBytes", 64 * 1024 * 1024, 0, Number.MAX_SAFE_INTEGER),
    introspectionTimeoutMs: number("introspectionTimeoutMs", 500, 1, 60_000),
    maxIntrospections: number("maxIntrospections", 200, 1, 100_000),
    jwksCooldownMs: number("jwksCooldownMs", 1000, 100, 3_600_000),
    jwksTimeoutMs: number("jwksTimeoutMs", 5000, 1, 60_000),
    streamTimeoutMs: number("streamTimeoutMs", 3000, 100, 3_600_000),
    log: options.log ?? silent,
    now: options.now ?? Date.now,
  };
  if (problems.length > 0) throw new TypeError(`createVerifier: ${problems.join("; ")}`);
  return settings;
}

type NumberOption = {
  [Name in keyof VerifierOptions]-?: VerifierOptions[Name] extends number | undefined ? Name : never;
}[keyof VerifierOptions];

function isHttp(url: unknown): boolean {
  return typeof url === "string" && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}
