import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { Authorization } from "../../gen/envoy/service/auth/v3/external_auth_pb.ts";
import { authenticateCaller } from "../oauth/callers/callers.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type EdgeParts, register } from "./edge.ts";
import { envoyAuthorization } from "./envoy-authorization.ts";
import { introspectionService } from "./introspection-service.ts";
import { tokenService } from "./token-service.ts";
import { userService } from "./user-service.ts";

/** The services of auth.v1, and what Envoy asks, over the domain, as both fronts serve them. */
export function domainParts(ctx: OAuthContext): EdgeParts {
  return {
    authenticate: authenticateCaller,
    registrations: [
      register(IntrospectionService, introspectionService(ctx)),
      register(TokenService, tokenService(ctx)),
      register(UserService, userService(ctx)),
      register(Authorization, envoyAuthorization(ctx)),
    ],
  };
}
