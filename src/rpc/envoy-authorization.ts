import { Code, type ServiceImpl } from "@connectrpc/connect";
import { HeaderValueOption_HeaderAppendAction as AppendAction } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { AttributeContext_HttpRequest } from "../../gen/envoy/service/auth/v3/attribute_context_pb.ts";
import type { Authorization } from "../../gen/envoy/service/auth/v3/external_auth_pb.ts";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { decideForProxy } from "../oauth/tokens/forward-auth.ts";
import { type GatewayRow, wwwAuthenticate } from "../token/gateway.ts";
import { COME_AGAIN, identityOf, readDemands } from "./forward-auth.ts";

/** `/authorize-request` as Envoy's `ext_authz` asks it over gRPC. The route's `context_extensions` hold what is demanded. */
export function envoyAuthorization(ctx: OAuthContext): ServiceImpl<typeof Authorization> {
  return {
    async check({ attributes }) {
      const demands = readDemands(ctx, new URLSearchParams(attributes?.contextExtensions), "by context_extensions");
      if (demands === null) {
        throw new AuthError(
          "invalid_request",
          "context_extensions may hold scope and audience, neither of them empty, and nothing else",
        );
      }
      try {
        const decision = await decideForProxy(ctx, authorizationOf(attributes?.request?.http), demands);
        return decision.allowed ? allow(identityOf(decision.claims)) : deny(decision.refusal);
      } catch (error) {
        if (error instanceof AuthError && error.code === "unavailable") return comeAgain();
        throw error;
      }
    },
  };
}

/** The header of the request. Envoy sends each header by itself, undecoded, where its filter has `encode_raw_headers`. */
function authorizationOf(http: AttributeContext_HttpRequest | undefined): string | null {
  const named = http?.headers["authorization"];
  if (named !== undefined) return named;
  const [raw, ...more] = (http?.headerMap?.headers ?? []).filter(({ key }) => key.toLowerCase() === "authorization");
  // two of them are no token, as where Envoy joins them
  if (raw === undefined) return null;
  if (more.length > 0) return "";
  return raw.value === "" ? Buffer.from(raw.rawValue).toString("latin1") : raw.value;
}

function allow(identity: Readonly<Record<string, string>>) {
  const entries = Object.entries(identity);
  return {
    status: { code: 0 },
    httpResponse: {
      case: "okResponse" as const,
      value: {
        headers: entries.filter(([, value]) => value !== "").map(([key, value]) => header(key, value)),
        // Envoy sets no empty header, and would leave what the request's sender claimed
        headersToRemove: entries.filter(([, value]) => value === "").map(([key]) => key),
      },
    },
  };
}

function deny(refusal: GatewayRow) {
  const { status, error } = refusal;
  const code = status === 403 ? Code.PermissionDenied : Code.Unauthenticated;
  return denied(code, { status, error }, header("www-authenticate", wwwAuthenticate(refusal, "Bearer")));
}

/** Not as an error: Envoy takes one for a fault of its own filter, and answers 403 unless its `status_on_error` says otherwise. */
function comeAgain() {
  return denied(Code.Unavailable, COME_AGAIN, header("retry-after", String(COME_AGAIN.retryAfterSeconds)));
}

function denied(
  code: Code,
  { status, error }: { readonly status: 401 | 403 | 503; readonly error: string },
  named: ReturnType<typeof header>,
) {
  return {
    status: { code, message: error },
    httpResponse: {
      case: "deniedResponse" as const,
      value: {
        status: { code: status },
        headers: [named, header("content-type", "application/json; charset=utf-8")],
        body: JSON.stringify({ error }),
      },
    },
  };
}

function header(key: string, value: string) {
  return { header: { key, value }, appendAction: AppendAction.OVERWRITE_IF_EXISTS_OR_ADD };
}
