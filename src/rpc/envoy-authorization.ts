import { Code, type ServiceImpl } from "@connectrpc/connect";
import { HeaderValueOption_HeaderAppendAction as AppendAction } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { Authorization } from "../../gen/envoy/service/auth/v3/external_auth_pb.ts";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { decideForProxy } from "../oauth/tokens/forward-auth.ts";
import { type GatewayRow, wwwAuthenticate } from "../token/gateway.ts";
import { identityOf, readDemands } from "./forward-auth.ts";

/** `/authorize-request` as Envoy's `ext_authz` asks it over gRPC. The route's `context_extensions` hold what is demanded. */
export function envoyAuthorization(ctx: OAuthContext): ServiceImpl<typeof Authorization> {
  return {
    async check({ attributes }) {
      const demands = readDemands(ctx, new URLSearchParams(attributes?.contextExtensions));
      if (demands === null) {
        throw new AuthError("invalid_request", "context_extensions may hold scope and audience, and nothing else");
      }
      const authorization = attributes?.request?.http?.headers["authorization"] ?? null;
      const decision = await decideForProxy(ctx, authorization, demands);
      return decision.allowed ? allow(identityOf(decision.claims)) : deny(decision.refusal);
    },
  };
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
  return {
    status: { code: status === 403 ? Code.PermissionDenied : Code.Unauthenticated, message: error },
    httpResponse: {
      case: "deniedResponse" as const,
      value: {
        status: { code: status },
        headers: [
          header("www-authenticate", wwwAuthenticate(refusal, "Bearer")),
          header("content-type", "application/json; charset=utf-8"),
        ],
        body: JSON.stringify({ error }),
      },
    },
  };
}

function header(key: string, value: string) {
  return { header: { key, value }, appendAction: AppendAction.OVERWRITE_IF_EXISTS_OR_ADD };
}
