import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { AuthError, type AuthErrorCode } from "../errors.ts";
import { GATEWAY, type GatewayRow } from "../token/gateway.ts";

interface Refusal {
  readonly status: Code;
  /** `ErrorDetail.code`: what the HTTP twin of the call answers with. */
  readonly wireCode: string;
  /** Status message, where it is one fixed text; else it is the description. */
  readonly message?: string;
}

const gateway = (status: Code, { error }: GatewayRow): Refusal => ({ status, wireCode: error, message: error });

/** What each refusal is on gRPC and Connect. */
const refusals: Record<AuthErrorCode, Refusal> = {
  invalid_request: { status: Code.InvalidArgument, wireCode: "invalid_request" },
  invalid_client: { status: Code.Unauthenticated, wireCode: "invalid_client" },
  invalid_grant: { status: Code.FailedPrecondition, wireCode: "invalid_grant" },
  unauthorized_client: { status: Code.PermissionDenied, wireCode: "unauthorized_client" },
  unsupported_grant_type: { status: Code.InvalidArgument, wireCode: "unsupported_grant_type" },
  unsupported_response_type: { status: Code.InvalidArgument, wireCode: "unsupported_response_type" },
  invalid_scope: { status: Code.InvalidArgument, wireCode: "invalid_scope" },
  access_denied: { status: Code.PermissionDenied, wireCode: "access_denied" },
  server_error: { status: Code.Internal, wireCode: "server_error", message: "internal error" },
  invalid_target: { status: Code.InvalidArgument, wireCode: "invalid_target" },
  login_required: { status: Code.FailedPrecondition, wireCode: "login_required" },
  consent_required: { status: Code.FailedPrecondition, wireCode: "consent_required" },
  interaction_required: { status: Code.FailedPrecondition, wireCode: "interaction_required" },
  request_not_supported: { status: Code.InvalidArgument, wireCode: "request_not_supported" },
  request_uri_not_supported: { status: Code.InvalidArgument, wireCode: "request_uri_not_supported" },
  registration_not_supported: { status: Code.InvalidArgument, wireCode: "registration_not_supported" },
  unmet_authentication_requirements: { status: Code.FailedPrecondition, wireCode: "unmet_authentication_requirements" },
  invalid_request_uri: { status: Code.InvalidArgument, wireCode: "invalid_request_uri" },
  invalid_dpop_proof: { status: Code.InvalidArgument, wireCode: "invalid_dpop_proof" },
  use_dpop_nonce: { status: Code.FailedPrecondition, wireCode: "use_dpop_nonce" },
  authorization_pending: { status: Code.FailedPrecondition, wireCode: "authorization_pending" },
  slow_down: { status: Code.FailedPrecondition, wireCode: "slow_down" },
  expired_token: { status: Code.FailedPrecondition, wireCode: "expired_token" },
  invalid_redirect_uri: { status: Code.InvalidArgument, wireCode: "invalid_redirect_uri" },
  invalid_client_metadata: { status: Code.InvalidArgument, wireCode: "invalid_client_metadata" },
  refresh_rejected: { status: Code.FailedPrecondition, wireCode: "invalid_grant" },
  unauthorized: gateway(Code.Unauthenticated, GATEWAY.unauthorized),
  invalid_token: gateway(Code.Unauthenticated, GATEWAY.invalid_token),
  token_expired: gateway(Code.Unauthenticated, GATEWAY.token_expired),
  forbidden: gateway(Code.PermissionDenied, GATEWAY.forbidden),
  email_taken: { status: Code.AlreadyExists, wireCode: "AUTH_EMAIL_DUPLICATE" },
  invalid_input: { status: Code.InvalidArgument, wireCode: "AUTH_INVALID_REQUEST" },
  invalid_credentials: { status: Code.FailedPrecondition, wireCode: "AUTH_INVALID_CREDENTIALS" },
  reset_token_invalid: { status: Code.FailedPrecondition, wireCode: "AUTH_RESET_TOKEN_INVALID" },
  verification_token_invalid: { status: Code.FailedPrecondition, wireCode: "AUTH_VERIFICATION_TOKEN_INVALID" },
  account_closed: { status: Code.FailedPrecondition, wireCode: "AUTH_INVALID_CREDENTIALS" },
  email_unverified: { status: Code.FailedPrecondition, wireCode: "access_denied" },
  not_found: { status: Code.NotFound, wireCode: "AUTH_NOT_FOUND" },
  rate_limited: { status: Code.ResourceExhausted, wireCode: "AUTH_RATE_LIMITED" },
  unavailable: { status: Code.Unavailable, wireCode: "AUTH_UNAVAILABLE" },
};

/**
 * The status that a failed call answers with. A ConnectError is one already; whatever is neither that nor an AuthError goes
 * to `report` and is shown as INTERNAL "internal error".
 */
export function toConnectError(error: unknown, report: (error: unknown) => void): ConnectError {
  if (error instanceof ConnectError) return error;
  if (!(error instanceof AuthError)) {
    report(error);
    return new ConnectError("internal error", Code.Internal);
  }
  if (error.code === "server_error") report(error);
  const refusal = refusals[error.code];
  const retryAfter = error.retryAfter === undefined ? 0 : Math.max(1, Math.ceil(error.retryAfter));
  const status = new ConnectError(
    refusal.message ?? error.description,
    refusal.status,
    retryAfter === 0 ? undefined : { "retry-after": String(retryAfter) },
    [
      {
        desc: ErrorDetailSchema,
        value: {
          code: refusal.wireCode,
          description: error.code === "server_error" ? "internal error" : error.description,
          retryAfterSeconds: retryAfter,
          violations: error.violations.map(({ field, message }) => ({ field, message })),
        },
      },
    ],
  );
  if (retryAfter > 0) status.details.push({ type: "google.rpc.RetryInfo", value: retryInfo(retryAfter) });
  return status;
}

/** google.rpc.RetryInfo { Duration retry_delay = 1 } */
function retryInfo(seconds: number): Uint8Array {
  const delay = toBinary(DurationSchema, create(DurationSchema, { seconds: BigInt(seconds) }));
  return new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(delay).finish();
}

/** google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3 }, or null without details. */
export function statusDetails(error: ConnectError): Buffer | null {
  if (error.details.length === 0) return null;
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int32(error.code);
  writer.tag(2, WireType.LengthDelimited).string(error.rawMessage);
  for (const detail of error.details) {
    const type = "desc" in detail ? detail.desc.typeName : detail.type;
    const value = "desc" in detail ? toBinary(detail.desc, create(detail.desc, detail.value)) : detail.value;
    writer.tag(3, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(`type.googleapis.com/${type}`);
    writer.tag(2, WireType.LengthDelimited).bytes(value);
    writer.join();
  }
  return Buffer.from(writer.finish());
}
