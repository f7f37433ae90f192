import type { Decision, Refused, VerifiedClaims } from "./decision.ts";
import { INVALID_TOKEN } from "./decision.ts";
import type { Verifier, VerifyOptions } from "./verifier.ts";

/** The parts of a call of @grpc/grpc-js that this library uses without depending on it. */
export interface GrpcCall {
  readonly metadata: { get(name: string): readonly (string | Buffer)[] };
}
export interface GrpcStream extends GrpcCall {
  emit(event: "error", error: GrpcRefusal): unknown;
}
/** A status as grpc-js sends it: UNAUTHENTICATED (16), PERMISSION_DENIED (7) or UNAVAILABLE (14) with the gateway's text. */
export interface GrpcRefusal {
  readonly code: number;
  readonly details: string;
}

const codes = { 401: 16, 403: 7, 503: 14 } as const;

/**
 * A handler of a unary or client-streaming method that is called for a good token only. It gets the claims as its last argument,
 * because interceptors of grpc-js cannot pass anything to a handler, not even through AsyncLocalStorage. Tokens that are bound to
 * a DPoP key are refused: clients of gRPC are not told the HTTP method and URL that they would sign (RFC 9449 section 4.2).
 */
export function protectUnary<Call extends GrpcCall, Callback extends (error: GrpcRefusal) => void>(
  verifier: Verifier,
  handler: (call: Call, callback: Callback, claims: VerifiedClaims) => void,
  options?: VerifyOptions,
): (call: Call, callback: Callback) => void {
  return (call, callback) => {
    void decide(verifier, call, options).then((decision) => {
      if (decision.allowed) handler(call, callback, decision.claims);
      else callback(toGrpc(decision));
    });
  };
}

/** The same for a method that streams to the client. */
export function protectStream<Call extends GrpcStream>(
  verifier: Verifier,
  handler: (call: Call, claims: VerifiedClaims) => void,
  options?: VerifyOptions,
): (call: Call) => void {
  return (call) => {
    void decide(verifier, call, options).then((decision) => {
      if (decision.allowed) handler(call, decision.claims);
      else call.emit("error", toGrpc(decision));
    });
  };
}

function decide(verifier: Verifier, call: GrpcCall, options: VerifyOptions | undefined): Promise<Decision> {
  const [header, ...others] = call.metadata.get("authorization");
  if (others.length > 0) return Promise.resolve(INVALID_TOKEN);
  return verifier.verifyHeader(header?.toString(), options);
}

function toGrpc({ status, error }: Refused): GrpcRefusal {
  return { code: codes[status], details: error };
}
