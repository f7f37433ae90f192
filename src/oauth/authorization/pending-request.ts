import { randomBytes } from "node:crypto";
import type { BrowserSession } from "../../sessions/sessions.ts";
import type { StoredRequest } from "../../store/sessions.ts";
import type { OAuthContext } from "../context.ts";
import type { Parameters } from "./request.ts";

/** A stored request ends after this time, and a login counts as one for its request so long (milliseconds). */
const lifeMs = 3_600_000;
/** What a sealed request belongs to. */
const purpose = "authorization request";
/** Tabs of one browser that may wait for a login at once, where requests are stored. */
const requestsPerSession = 20;

/**
 * An authorization request that waits for its user. It travels with the browser, sealed, in the URL and in the form of each page: every tab
 * has its own, any replica can go on with it, and nothing is stored for a browser in which no one has signed in.
 */
export interface PendingRequest {
  /** What URL and form carry. */
  readonly carried: string;
  /** Of the authorization endpoint; those of the device page (RFC 8628 section 3.3) have no `client_id`. */
  readonly parameters: Parameters;
  /** SHA-256 of the request_uri it came by (RFC 9126). */
  readonly pushedHash: string | null;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** The session that a login with this request's own form began; null: there was none yet. */
  readonly loginSession: string | null;
  /** The session with which its user chose to go on (`prompt=select_account`); null: not asked yet. */
  readonly chosenSession: string | null;
  /** The session whose user is not to go on with it, as they said ("not you?"); null: nobody did. */
  readonly declinedSession: string | null;
  /** The scopes that the consent page showed; null: it was not shown yet. */
  readonly shownScopes: readonly string[] | null;
  /** The epoch of the client whose name the consent page showed; null: it was not shown yet, or by a release that did not keep it. */
  readonly shownClientEpoch: number | null;
  /** Its id where it is stored, beside replicas of the previous release. */
  readonly storedId: string | null;
}

type Content = Omit<PendingRequest, "carried" | "storedId">;

/** What is not known of a request that has just come. */
const notYet = {
  loginSession: null,
  chosenSession: null,
  declinedSession: null,
  shownScopes: null,
  shownClientEpoch: null,
};

/** Seals a new request of the authorization endpoint (`AuthorizationRequest.carried`) or of the device page. */
export function newPendingRequest(
  ctx: OAuthContext,
  parameters: Parameters,
  pushedHash: string | null,
): PendingRequest {
  const createdAt = ctx.clock.now();
  return seal(ctx, { parameters, pushedHash, createdAt, ...notYet });
}

/** The same request once a login with its own form began a session: it meets `prompt=login` and `max_age`. */
export function withLogin(ctx: OAuthContext, pending: PendingRequest, { idHash }: BrowserSession): PendingRequest {
  return pending.storedId === null ? seal(ctx, { ...pending, loginSession: idHash }) : pending;
}

/** The same request once its user chose to go on with the session that there is: it meets `prompt=select_account`. */
export function withChoice(ctx: OAuthContext, pending: PendingRequest, { idHash }: BrowserSession): PendingRequest {
  return pending.storedId === null ? seal(ctx, { ...pending, chosenSession: idHash, declinedSession: null }) : pending;
}

/** The same request once its user asked for another account than that of this session: another session must begin before it goes on. */
export function withDeclined(ctx: OAuthContext, pending: PendingRequest, { idHash }: BrowserSession): PendingRequest {
  return pending.storedId === null ? seal(ctx, { ...pending, declinedSession: idHash }) : pending;
}

/** Did the user sign in for this request, within the last hour? */
export function isLoginOf(ctx: OAuthContext, pending: PendingRequest, session: BrowserSession): boolean {
  if (session.authTime === null || session.authTime + lifeMs <= ctx.clock.now()) return false;
  // the previous release keeps no more than the order of the two
  if (pending.storedId !== null) return session.authTime >= pending.createdAt;
  return pending.loginSession === session.idHash;
}

/** What a consent page shows of a request. */
export interface ShownConsent {
  readonly scopes: readonly string[];
  /** Of its client. */
  readonly clientEpoch: number | null;
}

/** The same request once the consent page shows this: what is granted later is at most these scopes, to this client. */
export function withShown(ctx: OAuthContext, pending: PendingRequest, shown: ShownConsent): PendingRequest {
  const { scopes: shownScopes, clientEpoch: shownClientEpoch } = shown;
  return pending.storedId === null ? seal(ctx, { ...pending, shownScopes, shownClientEpoch }) : pending;
}

/**
 * Opens what a browser brings back.
 * @param session whose requests the previous release stores
 * @returns null: it is none, was changed, or was sealed under a key that is gone
 */
export async function openPendingRequest(
  ctx: OAuthContext,
  session: BrowserSession | null,
  carried: string,
): Promise<PendingRequest | null> {
  if (isStoredId(carried)) {
    if (session === null) return null;
    const stored = await ctx.store.sessions.findRequest(carried, session.idHash, ctx.clock.now());
    return stored === null ? null : pendingOf(stored);
  }
  try {
    const content = JSON.parse(ctx.derivedKeys.pendingRequests.open(carried, purpose).toString()) as Content;
    // older ones were sealed with less
    return { ...notYet, ...content, carried, storedId: null };
  } catch {
    return null;
  }
}

function seal(ctx: OAuthContext, given: Content): PendingRequest {
  const { carried: _, storedId: __, ...content } = given as Content & Partial<PendingRequest>;
  let carried: string | undefined;
  return {
    ...content,
    storedId: null,
    // a request that ends here is never carried on
    get carried() {
      carried ??= ctx.derivedKeys.pendingRequests.seal(JSON.stringify(content), purpose);
      return carried;
    },
  };
}

/** Stores a request as the previous release does, whose replicas cannot open a sealed one. */
export async function storePendingRequest(
  ctx: OAuthContext,
  session: BrowserSession,
  parameters: Parameters,
  pushedHash: string | null,
): Promise<PendingRequest> {
  const createdAt = ctx.clock.now();
  const stored: StoredRequest = {
    id: randomBytes(16).toString("base64url"),
    sessionHash: session.idHash,
    parameters,
    pushedHash,
    createdAt,
    expiresAt: createdAt + lifeMs,
  };
  await ctx.store.sessions.saveRequest(stored, requestsPerSession);
  return pendingOf(stored);
}

/** The latest request that is stored for a session. */
export async function latestStoredRequest(ctx: OAuthContext, session: BrowserSession): Promise<PendingRequest | null> {
  const stored = await ctx.store.sessions.latestRequest(session.idHash, ctx.clock.now());
  return stored === null ? null : pendingOf(stored);
}

function isStoredId(carried: string): boolean {
  return /^[A-Za-z0-9_-]{22}$/.test(carried);
}

function pendingOf({ id, parameters, pushedHash, createdAt }: StoredRequest): PendingRequest {
  return { carried: id, parameters, pushedHash, createdAt, ...notYet, storedId: id };
}
