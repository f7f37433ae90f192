import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { type Browser, type BrowserSession, type Login, storeLogin } from "../../sessions/sessions.ts";
import type { AnsweredPush, NewAuthorizationCode } from "../../store/authorizations.ts";
import { acrOf } from "../../token/authentication.ts";
import type { OAuthContext } from "../context.ts";
import { answerTo, type ClientAnswer } from "./client-answer.ts";
import { invalidRequestUri } from "./pushed-authorization.ts";
import { type AuthorizationRequest, ClientError, metAcr } from "./request.ts";

const codeLifeMs = 60_000;

interface Answer {
  readonly session: BrowserSession;
  readonly browser: Browser;
  readonly login: Login | null;
  readonly pushed: AnsweredPush | null;
}

/** @param hash of the request_uri; null: the request was not pushed @param mayRepeat a form that is sent again may end where it ended before */
export function pushedOf(hash: string | null, mayRepeat: boolean): AnsweredPush | null {
  return hash === null ? null : { hash, mayRepeat };
}

/**
 * Stores a code for what the request asks for, with the login where that is not stored yet, and answers the client with it.
 * @returns null: the session has ended meanwhile, or its user has another one since, as by a stronger sign-in in another tab
 * @throws ClientError invalid_request_uri: a form came after its pushed request was used
 * @throws AuthError invalid_request_uri: a pushed request was opened again after it was used
 */
export async function issueCode(
  ctx: OAuthContext,
  request: AuthorizationRequest,
  { session, browser, login, pushed }: Answer,
): Promise<ClientAnswer | null> {
  const { client, redirectUri, scope, nonce, claims, codeChallenge, dpopJkt, resource } = request;
  if (session.userId === null) throw new Error("a code needs a signed-in session");
  const code = randomToken();
  const now = ctx.clock.now();
  const record: NewAuthorizationCode = {
    codeHash: hashOf(code),
    clientId: client.clientId,
    userId: session.userId,
    sessionHash: session.idHash,
    redirectUri,
    scope,
    nonce,
    claims: claims === null ? null : JSON.stringify(claims),
    dpopJkt,
    codeChallenge,
    resource,
    authTime: session.authTime ?? now,
    methods: session.methods,
    acr: metAcr(request.acr, session.methods) ?? acrOf(session.methods),
    ipAddress: browser.ipAddress,
    userAgent: browser.userAgent.slice(0, 500),
    createdAt: now,
    expiresAt: now + codeLifeMs,
    clientEpoch: client.epoch,
  };
  return (await storeCode(ctx, record, pushed, login)) ? answerTo(ctx, request, { code }) : null;
}

/** @returns false: its session has ended */
async function storeCode(
  ctx: OAuthContext,
  code: NewAuthorizationCode,
  pushed: AnsweredPush | null,
  login: Login | null,
): Promise<boolean> {
  if (login !== null && !login.isStored) {
    if (await storeLogin(ctx, login, { code, pushed })) return true;
    throw requestUsed();
  }
  const outcome = await ctx.store.authorizations.createCode(code, pushed);
  // who opens a used request_uri again learns nothing of its client
  if (outcome === "request_used") throw pushed?.mayRepeat === true ? requestUsed() : invalidRequestUri();
  return outcome !== "session_ended";
}

/**
 * For a form that comes after another one used its pushed request, or long after that request expired. A page could lead nowhere; the client,
 * which is told, can push another request.
 */
function requestUsed(): ClientError {
  return new ClientError("invalid_request_uri", "the pushed request was used already, or has ended: push another one");
}
