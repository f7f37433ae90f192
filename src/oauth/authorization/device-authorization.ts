import { randomInt } from "node:crypto";
import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { Browser, BrowserSession } from "../../sessions/sessions.ts";
import { DEVICE_CODE_GRANT } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { DeviceCode } from "../../store/device-codes.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { Acr } from "../../token/authentication.ts";
import { authenticateClient, type ClientCredentials } from "../clients/authentication.ts";
import { findClient, isOfEarlierClient, isStrongEnoughFor } from "../clients/clients.ts";
import { isUnverified, shownName } from "../clients/names.ts";
import type { OAuthContext } from "../context.ts";
import { PATHS } from "../paths.ts";
import { askedScopes, readResources } from "../resources.ts";
import { scopesOf } from "../scopes.ts";
import { userScopesOf } from "./request.ts";
import { lacksVerifiedEmail } from "./verified-email.ts";

/** Seconds. */
const lifetime = 600;
const interval = 5;
/** RFC 8628 section 6.1: nothing that looks like another one, no vowels that make words. */
const letters = "BCDFGHJKLMNPQRSTVWXZ";
const userCodeForm = new RegExp(`^[${letters}]{8}$`);

/** RFC 8628 section 3.2. */
export interface DeviceAuthorizationResponse {
  readonly device_code: string;
  readonly user_code: string;
  readonly verification_uri: string;
  readonly verification_uri_complete: string;
  /** Seconds. */
  readonly expires_in: number;
  /** Seconds between polls, at least. */
  readonly interval: number;
}

/**
 * The device authorization endpoint (RFC 8628 section 3.1): the client authenticates as at the token endpoint.
 * @param device what asked, as the confirmation page will show it
 * @throws AuthError as `authenticateClient`, unauthorized_client, invalid_scope, invalid_target, unavailable
 */
export async function authorizeDevice(
  ctx: OAuthContext,
  credentials: ClientCredentials,
  device: Pick<Browser, "ipAddress" | "userAgent">,
): Promise<DeviceAuthorizationResponse> {
  const { client } = await authenticateClient(ctx, credentials);
  if (!client.metadata.grant_types.includes(DEVICE_CODE_GRANT)) {
    throw new AuthError("unauthorized_client", "this client is not registered for the device authorization grant");
  }
  const allowed = userScopesOf(ctx, client);
  const asked = askedScopes(ctx, client, allowed, credentials.parameters);
  if (!asked.every((each) => allowed.includes(each))) {
    throw new AuthError("invalid_scope", "the client may not request one of these scopes");
  }
  const resource = readResources(ctx, client, credentials.parameters["resource"], asked);
  const deviceCode = randomToken();
  const now = ctx.clock.now();
  let userCode: string;
  let saved: "saved" | "user_code_taken";
  do {
    userCode = newUserCode();
    const code = {
      deviceCodeHash: hashOf(deviceCode),
      userCodeHash: hashOf(userCode),
      clientId: client.clientId,
      scope: asked.join(" "),
      resource,
      dpopJkt: null,
      ipAddress: device.ipAddress,
      userAgent: device.userAgent.slice(0, 500),
      createdAt: now,
      expiresAt: now + lifetime * 1000,
      clientEpoch: client.epoch,
    };
    saved = await ctx.store.deviceCodes.save(code, interval * 1000);
  } while (saved === "user_code_taken");
  return {
    device_code: deviceCode,
    user_code: userCode,
    verification_uri: ctx.config.issuer + PATHS.device,
    verification_uri_complete: verificationUriComplete(ctx, userCode),
    expires_in: lifetime,
    interval,
  };
}

/** RFC 8628 section 3.3.1: opening it saves the typing, not the decision. */
export function verificationUriComplete(ctx: OAuthContext, userCode: string): string {
  return `${ctx.config.issuer}${PATHS.device}?user_code=${userCode}`;
}

/** A user code however it was typed: any case and width, with or without dash and spaces. @returns XXXX-XXXX; null: it cannot be one */
export function readUserCode(typed: string): string | null {
  if (typed.length > 50) return null;
  const code = typed
    .normalize("NFKC")
    .replaceAll(/[\s\p{Pd}\p{Cf}\u2212\u30fc]/gu, "")
    .toUpperCase();
  return userCodeForm.test(code) ? `${code.slice(0, 4)}-${code.slice(4)}` : null;
}

/** What the confirmation page shows of a device's request. */
export interface DeviceRequest {
  readonly userCode: string;
  readonly clientName: string;
  /** The client gave itself its name. */
  readonly unverified: boolean;
  readonly scopes: readonly string[];
  /** From where the device asked. */
  readonly ipAddress: string;
}

/** What the user decided about a code already: its form was sent again. */
export interface DeviceDecision {
  readonly decided: "allowed" | "denied";
}

/** The device's client demands a stronger sign-in than this session's (`require_acr`). */
export class WeakSignIn extends AuthError {
  readonly userCode: string;
  readonly acr: Acr;
  constructor({ userCode, acr }: { readonly userCode: string; readonly acr: Acr }) {
    super("unmet_authentication_requirements", `the client demands ${acr}`);
    this.userCode = userCode;
    this.acr = acr;
  }
}

function demandStrongEnough({ client, userCode }: OpenedCode, { methods }: BrowserSession): void {
  const acr = client.metadata.require_acr;
  if (acr !== undefined && !isStrongEnoughFor(client, methods)) throw new WeakSignIn({ userCode, acr });
}

/**
 * Opens the code that a signed-in user typed in, which binds it to this browser's session (RFC 8628 section 5.5). Ten wrong ones
 * in a quarter of an hour are all that an account has (section 5.1).
 * @returns the request, or this user's decision about it
 * @throws AuthError expired_token: unknown, decided by another user or expired; forbidden: another session opened it; rate_limited, login_required
 * @throws WeakSignIn
 */
export async function openDeviceCode(
  ctx: OAuthContext,
  session: BrowserSession,
  typed: string,
): Promise<DeviceRequest | DeviceDecision> {
  const opened = await open(ctx, session, typed);
  if ("decided" in opened) return opened;
  demandStrongEnough(opened, session);
  const { code, client, userCode } = opened;
  return {
    userCode,
    clientName: shownName(client),
    unverified: isUnverified(client),
    scopes: scopesOf(code.scope),
    ipAddress: code.ipAddress,
  };
}

/**
 * The user's decision about a code that this session opened.
 * @returns the decision that holds, which is the first one
 * @throws AuthError as `openDeviceCode`
 */
export async function decideDeviceCode(
  ctx: OAuthContext,
  session: BrowserSession,
  typed: string,
  allowed: boolean,
): Promise<DeviceDecision> {
  const opened = await open(ctx, session, typed);
  if ("decided" in opened) return opened;
  if (allowed) demandStrongEnough(opened, session);
  const { code, client, userId } = opened;
  if (allowed && (await lacksVerifiedEmail(ctx, client, userId))) {
    throw new AuthError("email_unverified", "this application needs a verified e-mail address");
  }
  if (allowed && !client.metadata.first_party) {
    const consent = { userId, sessionHash: session.idHash, client, scopes: scopesOf(code.scope) };
    const saved = await ctx.store.authorizations.addConsent(consent, ctx.clock.now());
    if (saved === "session_ended") throw refusalOf(saved);
  }
  const outcome = await ctx.store.deviceCodes.decide(code.userCodeHash, session.idHash, allowed, ctx.clock.now());
  if (outcome !== "decided") {
    // the button was pressed twice, and the other press was faster
    const decided = outcome === "over" ? await ctx.store.deviceCodes.findDecision(code.userCodeHash, userId) : null;
    if (decided !== null) return { decided };
    throw refusalOf(outcome === "over" ? null : outcome);
  }
  const event = allowed ? "device_code_allowed" : "device_code_denied";
  securityEvent(ctx, event, { client_id: code.clientId, sub: userId });
  return { decided: allowed ? "allowed" : "denied" };
}

interface OpenedCode {
  readonly code: DeviceCode;
  readonly client: Client;
  readonly userCode: string;
  readonly userId: string;
}

async function open(ctx: OAuthContext, session: BrowserSession, typed: string): Promise<OpenedCode | DeviceDecision> {
  const { idHash, userId, authTime, methods } = session;
  if (userId === null) throw refusalOf("session_ended");
  const userCode = readUserCode(typed);
  if (userCode === null) throw refusalOf(null);
  await ctx.limits.take("wrong_user_code", userId);
  const look = async () => {
    const now = ctx.clock.now();
    const opener = { idHash, userId, authTime: authTime ?? now, methods };
    const opened = await ctx.store.deviceCodes.open(hashOf(userCode), opener, now);
    const decided = opened === null ? await ctx.store.deviceCodes.findDecision(hashOf(userCode), userId) : null;
    if (decided !== null) return { decided };
    const client = opened === null || typeof opened === "string" ? null : await findClient(ctx, opened.clientId);
    if (opened === null || typeof opened === "string" || client === null || isOfEarlierClient(client, opened)) {
      securityEvent(ctx, "device_code_refused", {});
      throw refusalOf(typeof opened === "string" ? opened : null);
    }
    return { code: opened, client, userCode, userId };
  };
  return ctx.limits.checkCounted([["wrong_user_code", userId]], look, {
    isWrong: (error) => error instanceof AuthError && ["expired_token", "forbidden"].includes(error.code),
    onFault: (error) => ctx.log.warn({ err: error, sub: userId }, "a right code stays counted as a wrong one"),
  });
}

function refusalOf(outcome: "opened_elsewhere" | "session_ended" | null): AuthError {
  if (outcome === "opened_elsewhere") return new AuthError("forbidden", "another session opened this code");
  if (outcome === "session_ended") return new AuthError("login_required", "the session has ended");
  return new AuthError("expired_token", "the code is unknown, expired or used");
}

function newUserCode(): string {
  const code = Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join("");
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}
