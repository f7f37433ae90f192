import { OutboundFailure, outboundFetch } from "../../net/outbound.ts";
import type { Client } from "../../store/clients.ts";
import { LONGEST_NOTICE_PAUSE_MS, type LogoutNotice } from "../../store/logout-notices.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";

/** OpenID Connect Back-Channel Logout 1.0: clients are told, server to server, that an authorization of theirs ended. */

const event = "http://schemas.openid.net/event/backchannel-logout";
const tokenLifeSeconds = 120;
/** Between attempts, doubled each time up to an hour. Notices older than a day are given up, but not before they were tried so often. */
const firstPauseMs = 1_000;
const giveUpMs = 86_400_000;
const leastAttempts = 10;

/** Tells a client. What it does not take is written down, to be tried again. */
export async function deliverLogoutNotice(ctx: OAuthContext, notice: LogoutNotice): Promise<void> {
  const { logoutNotices } = ctx.store;
  const client = await findClient(ctx, notice.clientId);
  const uri = client?.metadata.backchannel_logout_uri;
  if (client === null || uri === undefined) return logoutNotices.delivered(notice.id);
  const problem = await tell(ctx, client, uri, notice);
  if (problem === null) {
    securityEvent(ctx, "logout_notice_delivered", { client_id: notice.clientId, sid: notice.sid });
    return logoutNotices.delivered(notice.id);
  }
  const pause = Math.min(firstPauseMs * 2 ** notice.attempts, LONGEST_NOTICE_PAUSE_MS) * (0.75 + Math.random() / 4);
  const next = ctx.clock.now() + pause;
  const isOld = next - notice.createdAt > giveUpMs && notice.attempts + 1 >= leastAttempts;
  const parked = problem.isFinal || isOld;
  await logoutNotices.failed(notice.id, problem.reason, parked ? null : Math.round(next));
  const told = { client_id: notice.clientId, sid: notice.sid, attempts: notice.attempts + 1, reason: problem.reason };
  if (parked) ctx.log.error(told, "back-channel logout given up: the client was not told");
  else ctx.log.warn(told, "back-channel logout not delivered; it will be tried again");
}

interface Problem {
  readonly reason: string;
  /** No other attempt will be better. */
  readonly isFinal: boolean;
}

/** Section 2.5. @returns null when the client took it, else what was wrong. 400 says that it never will (section 2.8) */
async function tell(ctx: OAuthContext, client: Client, uri: string, notice: LogoutNotice): Promise<Problem | null> {
  const body = new URLSearchParams({ logout_token: logoutToken(ctx, client, notice) }).toString();
  const headers = { "content-type": "application/x-www-form-urlencoded", "cache-control": "no-store" };
  try {
    const { status } = await outboundFetch(ctx.config.outboundAllowedHosts, uri, { method: "POST", headers, body });
    if (status === 200 || status === 204) return null;
    return { reason: `the client answered ${status}`, isFinal: status === 400 };
  } catch (error) {
    if (error instanceof OutboundFailure) return { reason: error.message, isFinal: false };
    throw error;
  }
}

/** Section 2.4. Made at each attempt, so that it is never old; `jti` stays, so that a repeat is known for one. */
function logoutToken(ctx: OAuthContext, client: Client, { id, sid, sub }: LogoutNotice): string {
  const iat = ctx.clock.seconds();
  const claims = {
    iss: ctx.config.issuer,
    aud: client.clientId,
    iat,
    exp: iat + tokenLifeSeconds,
    jti: id,
    sub,
    sid,
    events: { [event]: {} },
  };
  return ctx.keys.sign("access", client.metadata.id_token_signed_response_alg, "logout+jwt", claims).token;
}
