import { hashOf } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import { isOfEarlierClient } from "../clients/clients.ts";
import { firstTokens } from "./first-tokens.ts";
import type { Grant } from "./grant.ts";

/** RFC 8628 section 3.5: one slow_down adds this to the interval (milliseconds). */
const slowDownMs = 5_000;

const refused = () =>
  new AuthError("invalid_grant", "the device code is unknown, used, or was issued to another client");

/** Device authorization (RFC 8628 section 3.4): the client polls until the user has decided. */
export const deviceCodeGrant: Grant = async (ctx, grantee, parameters) => {
  const presented = parameters["device_code"];
  if (presented === undefined) throw new AuthError("invalid_request", "device_code is missing");
  const hash = hashOf(presented);
  const { deviceCodes } = ctx.store;
  const code = await deviceCodes.find(hash);
  if (code === null || code.clientId !== grantee.client.clientId || code.redeemedAt !== null) throw refused();
  if (isOfEarlierClient(grantee.client, code)) throw refused();
  if (code.deniedAt !== null || code.revokedAt !== null) {
    throw new AuthError("access_denied", "the user denied the request");
  }
  const now = ctx.clock.now();
  if (code.expiresAt <= now) throw new AuthError("expired_token", "the device code has expired: request a new one");
  if (code.allowedAt === null) {
    if ((await deviceCodes.poll(hash, slowDownMs, now)) === "in_time") {
      throw new AuthError("authorization_pending", "the user has not decided yet");
    }
    throw new AuthError("slow_down", "polled too soon: wait 5 seconds longer from now on");
  }

  const user = code.userId === null ? null : await ctx.store.users.find(code.userId);
  if (user === null || user.disabledAt !== null)
    throw new AuthError("access_denied", "the user was disabled or deleted");
  const { sessionHash, scope, resource, authTime, methods, ipAddress, userAgent, clientEpoch } = code;
  const signIn = { authTime, methods, acr: null };
  const from = { ipAddress, userAgent, clientEpoch };
  const allowed = { sessionHash, scope, resource, nonce: null, claims: null, ...signIn, ...from };
  const { redemption, response } = firstTokens(
    ctx,
    grantee,
    user,
    { grantType: "device_code", ...allowed },
    parameters["resource"],
  );
  if ((await deviceCodes.redeem(hash, redemption, now)) !== "redeemed") throw refused();
  return response;
};
