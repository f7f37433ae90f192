import { isDeepStrictEqual } from "node:util";
import { afterCall } from "../../call.ts";
import { isWithin, type Span } from "../../clock.ts";
import { AuthError } from "../../errors.ts";
import { HostAway, isAllowedHost, maxAgeOf, outboundFetch, refuseFault } from "../../net/outbound.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import type { Fetched } from "./document-memory.ts";
import { readDocumentMetadata } from "./registration.ts";

/** A document is asked for again after its own max-age within these bounds, and after the lower one where it cannot be used (milliseconds). */
const leastAge = 60_000;
const greatestAge = 3_600_000;
/** After a fault that passes, the document is asked for again after this (milliseconds). */
const faultAge = 5_000;
const maxBytes = 5 * 1024;
/** What the column holds. */
const maxLength = 191;

/**
 * Clients whose id is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document), where the operator allows it: brings the stored
 * client, of source `document`, up to date. The operator can disable it like any other.
 * @throws AuthError invalid_client: there is no usable document, and none was known before; rate_limited; unavailable: so too while the document's
 * host is away
 */
export async function refreshFromDocument(ctx: OAuthContext, clientId: string): Promise<void> {
  if (!ctx.config.clientIdDocuments || !/^https?:\/\//i.test(clientId)) return;
  const { fetched, fetching } = ctx.clientDocuments;
  const known = await ctx.clients.find(clientId);
  if (!isDocumentUrl(ctx, clientId)) {
    if (known === null)
      throw refusal("its URL must be https, with a path, written as URLs are sent, without fragment or user");
    return;
  }
  if (known !== null && (known.source !== "document" || known.disabledAt !== null)) return;
  const underWay = fetching.get(clientId);
  const last = fetched.get(clientId);
  if (underWay === undefined && last !== undefined && isWithin(last.resting, ctx.clock.now())) {
    if (known !== null) return;
    if (last.outcome === "unusable") throw refusal("it was not to be had a moment ago");
    // where it was good, an operator has removed the client since: its id is free
    if (last.outcome !== "good") throw comeAgain(ctx, last.outcome, last.resting);
  }
  try {
    await (underWay ?? fetchOnce(ctx, clientId));
  } catch (error) {
    if (known === null || !(error instanceof AuthError)) throw error;
    const last = "the client's metadata document cannot be used: the last one counts";
    ctx.log.warn({ client_id: clientId, err: error }, last);
  }
}

/** Callers share the fetch, which goes on though the first of them hangs up. */
function fetchOnce(ctx: OAuthContext, clientId: string): Promise<void> {
  const { fetched, fetching } = ctx.clientDocuments;
  const note = (outcome: Fetched["outcome"], ms: number): Span => {
    const resting = { from: ctx.clock.now(), ms };
    fetched.set(clientId, { outcome, resting });
    return resting;
  };
  const work = async () => {
    try {
      const { json, maxAge } = await load(ctx, clientId);
      await save(ctx, clientId, json);
      note("good", maxAge);
    } catch (error) {
      if (error instanceof HostAway) throw comeAgain(ctx, "away", note("away", faultAge));
      if (error instanceof AuthError && error.code === "invalid_client") note("unusable", leastAge);
      else note("unsaved", faultAge);
      throw error;
    }
  };
  const promise = afterCall(work).finally(() => fetching.delete(clientId));
  fetching.set(clientId, promise);
  return promise;
}

/** Section 3 of the draft: https, a path, and nothing that another spelling would change. A query is discouraged there, and taken. */
function isDocumentUrl(ctx: OAuthContext, clientId: string): boolean {
  if (clientId.length > maxLength || !/^https?:\/\//.test(clientId) || !URL.canParse(clientId)) return false;
  const url = new URL(clientId);
  const isPlain = url.href === clientId && url.pathname !== "/" && !clientId.includes("#");
  if (!isPlain || url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || isAllowedHost(ctx.config.outboundAllowedHosts, url);
}

/** @throws HostAway; AuthError invalid_client */
async function load(ctx: OAuthContext, url: string): Promise<{ json: Record<string, unknown>; maxAge: number }> {
  const call = { headers: { accept: "application/json" }, maxBytes };
  const answer = await outboundFetch(ctx.config.outboundAllowedHosts, url, call)
    .then(refuseFault)
    .catch((error: unknown) => {
      ctx.log.warn({ client_id: url, err: error }, "the client's metadata document was not fetched");
      throw error instanceof HostAway ? error : refusal("it was not to be had");
    });
  if (answer.status !== 200) throw refusal(`its host answered ${answer.status}`);
  // section 4 of the draft: every other type is an error
  if (!isJson(answer.headers["content-type"])) throw refusal("its host did not send it as application/json");
  const json = readObject(new TextDecoder().decode(answer.body));
  if (json === null) throw refusal("it is no JSON object");
  if (json["client_id"] !== url) throw refusal("its client_id is not its own URL");
  return { json, maxAge: Math.min(greatestAge, Math.max(leastAge, maxAgeOf(answer))) };
}

/** application/json, or a more specific type of JSON (RFC 6839), with any parameters. */
function isJson(contentType: string | string[] | undefined): boolean {
  return /^application\/([a-z0-9!#$&^_.-]+\+)?json[ \t]*(;|$)/i.test(String(contentType ?? ""));
}

/** @param text without a byte order mark */
function readObject(text: string): Record<string, unknown> | null {
  try {
    const json: unknown = JSON.parse(text);
    return json !== null && typeof json === "object" && !Array.isArray(json) ? (json as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

async function save(ctx: OAuthContext, clientId: string, json: Record<string, unknown>): Promise<void> {
  const metadata = await readDocumentMetadata(ctx, json).catch((error: unknown) => {
    throw error instanceof AuthError && error.code !== "unavailable" ? refusal(error.description) : error;
  });
  const { clients } = ctx.store;
  const known = await clients.find(clientId);
  if (known === null) {
    await ctx.limits.take("open_registration_total", "");
    await clients.create(
      { clientId, metadata, source: "document", createdAt: ctx.clock.now(), fileSecretHash: null },
      null,
    );
    securityEvent(ctx, "client_registered", { client_id: clientId });
  } else if (known.source === "document" && !isDeepStrictEqual(known.metadata, metadata)) {
    await clients.replaceMetadata(clientId, metadata, "document", ctx.clock.now());
  }
}

function comeAgain(ctx: OAuthContext, why: "away" | "unsaved", { from, ms }: Span): AuthError {
  const retryAfter = Math.max(1, Math.ceil((from + ms - ctx.clock.now()) / 1000));
  const text = {
    away: "the host of the metadata document that client_id names is away",
    unsaved: "the metadata document that client_id names could not be stored a moment ago",
  };
  return new AuthError("unavailable", text[why], { retryAfter });
}

function refusal(reason: string): AuthError {
  return new AuthError("invalid_client", `the metadata document that client_id names cannot be used: ${reason}`);
}
