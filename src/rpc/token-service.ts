import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { IssueTokenRequest, TokenService } from "../../gen/auth/v1/token_pb.ts";
import { AuthError } from "../errors.ts";
import { withdrawConsent } from "../oauth/authorization/consents.ts";
import { authenticateClient } from "../oauth/clients/authentication.ts";
import { findClient } from "../oauth/clients/clients.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type AddedKey, distrustKey, rotateSigningKeys } from "../oauth/keys/rotation.ts";
import { exchangeToken } from "../oauth/token.ts";
import { listAuthorizations, revokeAuthorization, revokeToken } from "../oauth/tokens/revocation.ts";
import type { Authorization } from "../store/authorizations.ts";
import { callerOf, callOf } from "./caller.ts";
import { readId, readUuid } from "./identifiers.ts";
import { withinDeadline } from "./within-deadline.ts";

export function tokenService(ctx: OAuthContext): ServiceImpl<typeof TokenService> {
  return {
    async issueToken(request, context) {
      const { network } = callOf(context).credentials;
      const response = await withinDeadline(context, async () => {
        const credentials = await asRegistered(ctx, parametersOf(request));
        // gRPC carries no DPoP proof: clients whose tokens must be bound to a key are refused
        return exchangeToken(ctx, { ...credentials, network, dpop: null });
      });
      return {
        accessToken: response.access_token,
        refreshToken: response.refresh_token ?? "",
        idToken: response.id_token ?? "",
        expiresIn: response.expires_in,
        tokenType: response.token_type,
        scope: response.scope,
        issuedTokenType: response.issued_token_type ?? "",
      };
    },

    async revokeToken({ token, clientId, clientSecret }, context) {
      const { network } = callOf(context).credentials;
      if (clientId === "" && clientSecret !== "") throw new AuthError("invalid_request", "client_id is missing");
      const parameters = present({ client_id: clientId, client_secret: clientSecret });
      const { client } =
        clientId === ""
          ? callerOf(context)
          : await authenticateClient(ctx, { ...(await asRegistered(ctx, parameters)), network });
      if (token === "") throw new AuthError("invalid_request", "token is missing");
      await withinDeadline(context, () => revokeToken(ctx, client, token));
      return {};
    },

    async listAuthorizations({ uuid, pageSize, pageToken }) {
      const { authorizations, nextPageToken } = await listAuthorizations(ctx, readUuid("uuid", uuid), {
        size: pageSize,
        token: pageToken,
      });
      return { authorizations: authorizations.map(toAuthorization), nextPageToken };
    },

    async revokeAuthorization({ sid }) {
      await revokeAuthorization(ctx, readUuid("sid", sid));
      return {};
    },

    async getJwks() {
      return { jwks: JSON.stringify(ctx.keys.jwks()), maxAge: ctx.config.jwksMaxAge };
    },

    async withdrawConsent({ uuid, clientId }, context) {
      await withinDeadline(context, () => withdrawConsent(ctx, readUuid("uuid", uuid), readId("client_id", clientId)));
      return {};
    },

    async distrustSigningKey({ kid }, context) {
      const added = await withinDeadline(context, () => distrustKey(ctx, readId("kid", kid)));
      return { replacements: added.map(toSigningKey) };
    },

    async rotateSigningKey({ alg }, context) {
      if (alg !== "" && alg !== "ES256" && alg !== "RS256") {
        throw new AuthError("invalid_request", "alg must be ES256, RS256 or empty");
      }
      const keys = await withinDeadline(context, () => rotateSigningKeys(ctx, alg === "" ? null : alg));
      return { keys: keys.map(toSigningKey) };
    },
  };
}

function toSigningKey({ kid, alg, activeFrom }: AddedKey) {
  return { kid, alg, activeFrom: timestampFromMs(activeFrom) };
}

/** The token endpoint's parameters; an empty one is absent. */
function parametersOf(request: IssueTokenRequest): Record<string, string> {
  return present({
    grant_type: request.grantType,
    client_id: request.clientId,
    client_secret: request.clientSecret,
    code: request.code,
    redirect_uri: request.redirectUri,
    code_verifier: request.codeVerifier,
    refresh_token: request.refreshToken,
    scope: request.scope,
    resource: request.resource,
    device_code: request.deviceCode,
    subject_token: request.subjectToken,
    subject_token_type: request.subjectTokenType,
    actor_token: request.actorToken,
    actor_token_type: request.actorTokenType,
    audience: request.audience,
    requested_token_type: request.requestedTokenType,
  });
}

/**
 * The message's client credentials in the form its client is registered for: a message knows one way to send a secret, where
 * HTTP knows two.
 */
async function asRegistered(
  ctx: OAuthContext,
  parameters: Record<string, string>,
): Promise<{ parameters: Record<string, string>; authorization: string | null }> {
  const { client_id: clientId, client_secret: secret, ...others } = parameters;
  if (clientId === undefined || secret === undefined) return { parameters, authorization: null };
  const client = await findClient(ctx, clientId);
  if (client?.metadata.token_endpoint_auth_method !== "client_secret_basic") return { parameters, authorization: null };
  const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(secret)}`;
  return { parameters: others, authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

function present(parameters: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== ""));
}

function toAuthorization(authorization: Authorization) {
  const { id, clientId, subject, scope, createdAt, expiresAt, ipAddress, userAgent } = authorization;
  return {
    sid: id,
    clientId,
    sub: subject,
    scope,
    createdAt: timestampFromMs(createdAt),
    expiresAt: timestampFromMs(expiresAt),
    ipAddress,
    userAgent,
  };
}
