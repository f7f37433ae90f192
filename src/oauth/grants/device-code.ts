import { randomUUID } from "node:crypto";
import { AuthError } from "../../errors.ts";
import { userLogin } from "../../events.ts";
import { hashOf } from "../../hashes.ts";
import type { Authorization } from "../../store.ts";
import { scopesOf } from "../clients.ts";
import type { Grant } from "../token.ts";
import { issueAccessToken, issueIdToken, issueRefreshToken, type TokenResponse, tokenTypeOf } from "../token-issuer.ts";

/** RFC 8628 section 3.5: what one slow_down adds to the interval. */
const slowDownMs = 5_000;

const refused = () =>
  new AuthError("invalid_grant", "the device code is unknown, used, or was issued to another client");

/** Device authorization (RFC 8628 section 3.4): polled until its user decided. */
export const deviceCodeGrant: Grant = async (ctx, { client, dpopJkt }, parameters) => {
  const presented = parameters["device_code"];
  if (presented === undefined) throw new AuthError("invalid_request", "device_code is missing");
  const hash = hashOf(presented);
  const { deviceCodes } = ctx.store;
  const code = await deviceCodes.find(hash);
  if (code === null || code.clientId !== client.clientId || code.redeemedAt !== null) throw refused();
  if (code.deniedAt !== null || code.revokedAt !== null) {
    throw new AuthError("access_denied", "the user did not allow it");
  }
  const now = ctx.clock.now();
  if (code.expiresAt <= now) throw new AuthError("expired_token", "the device code has expired: ask for a new one");
  if (code.allowedAt === null) {
    if ((await deviceCodes.poll(hash, slowDownMs, now)) === "in_time") {
      throw new AuthError("authorization_pending", "the user has not decided yet");
    }
    throw new AuthError("slow_down", "polled too soon: wait 5 seconds longer from now on");
  }

  const user = code.userId === null ? null : await ctx.store.users.find(code.userId);
  if (user === null || user.disabledAt !== null) throw new AuthError("access_denied", "the user is gone");
  const { resource, scope, ipAddress, userAgent } = code;
  const exp = ctx.clock.seconds() + ctx.config.refreshTokenTtl;
  const identity = { id: randomUUID(), subject: user.uuid, clientId: client.clientId, resource };
  const refresh = client.metadata.grant_types.includes("refresh_token")
    ? issueRefreshToken(ctx, identity, 0, exp)
    : null;
  const authorization: Authorization = {
    ...identity,
    grantType: "device_code",
    sessionHash: code.sessionHash,
    scope,
    nonce: null,
    claims: null,
    dpopJkt: client.metadata.token_endpoint_auth_method === "none" ? dpopJkt : null,
    authTime: code.authTime,
    ipAddress,
    userAgent,
    createdAt: now,
    expiresAt: refresh === null ? now + ctx.config.accessTokenTtl * 1000 : exp * 1000,
    lastUsedAt: null,
    revokedAt: null,
    refresh: refresh?.state ?? null,
    generation: 0,
    rotations: [],
  };
  const accessToken = issueAccessToken(ctx, client, authorization, user, scope, dpopJkt);
  const response: TokenResponse = {
    access_token: accessToken,
    ...(refresh === null ? {} : { refresh_token: refresh.token }),
    ...(scopesOf(scope).includes("openid")
      ? { id_token: issueIdToken(ctx, client, authorization, user, { accessToken, nonce: null }) }
      : {}),
    expires_in: ctx.config.accessTokenTtl,
    token_type: tokenTypeOf(dpopJkt),
    scope,
  };
  const redemption = { attemptId: randomUUID(), authorization, event: userLogin(user, { ipAddress, userAgent }, now) };
  if ((await deviceCodes.redeem(hash, redemption, now)) !== "redeemed") throw refused();
  return response;
};
