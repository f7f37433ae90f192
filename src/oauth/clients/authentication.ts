import { hashOf, isSameSecret } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { ClientMetadata } from "../../store/client-metadata.ts";
import { hasSecret } from "../../store/client-metadata.ts";
import type { Client, ClientSecret } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { ASSERTION_TYPE, authenticates, claimedClient } from "./assertion.ts";
import { findClient } from "./clients.ts";

export interface ClientCredentials {
  /** The Authorization header, if any. */
  readonly authorization: string | null;
  readonly parameters: Readonly<Record<string, string>>;
  /** Of the caller, as `networkOf` names it. */
  readonly network: string;
}

export interface AuthenticatedClient {
  readonly client: Client;
  /** The secret it authenticated with; null for a public client, and for one that signed an assertion with its key. */
  readonly secret: ClientSecret | null;
}

/** Answers the same for an unknown client and a wrong secret. */
const refusal = () => new AuthError("invalid_client", "client authentication failed");
const nothing = hashOf("");

/**
 * Authenticates the client of a request (RFC 6749 section 2.3, RFC 7523 section 2.2) by the one method it is registered for. A
 * Bearer header is not client authentication and is ignored.
 * @throws AuthError invalid_client, invalid_request (two methods at once, no client), rate_limited
 */
export async function authenticateClient(
  ctx: OAuthContext,
  credentials: ClientCredentials,
): Promise<AuthenticatedClient> {
  const presented = readCredentials(credentials);
  const { clientId, method, secrets, assertion } = presented;
  const subject = `${clientId}\n${credentials.network}`;
  ctx.limits.refuseWhenUsedUp("failed_client_authentication", subject);
  const client = await findClient(ctx, clientId);
  const matching = secrets.length === 0 ? null : matchSecret(client, secrets, ctx.clock.now());
  if (client?.metadata.token_endpoint_auth_method === method) {
    const authentic =
      method === "private_key_jwt"
        ? assertion !== undefined && (await authenticates(ctx, client, assertion))
        : method === "none" || matching !== null;
    if (authentic) return { client, secret: matching };
  }
  // what a client may send and does not count as a guess: its right secret by another method, a secret where it has none
  if (client !== null && (matching !== null || client.metadata.token_endpoint_auth_method === "none")) throw refusal();
  throw await countedRefusal(ctx, subject);
}

interface PresentedCredentials {
  readonly clientId: string;
  readonly method: ClientMetadata["token_endpoint_auth_method"];
  /** The presented secret, as it may be read; empty where there is none. */
  readonly secrets: readonly string[];
  /** Undefined where `method` is private_key_jwt: it was of another type, or missing. */
  readonly assertion?: string | undefined;
}

function readCredentials({ authorization, parameters }: ClientCredentials): PresentedCredentials {
  const basic = readBasic(authorization);
  const { client_id: bodyId, client_secret: bodySecret, client_assertion: assertion } = parameters;
  const type = parameters["client_assertion_type"];
  const asserts = assertion !== undefined || type !== undefined;
  if ([basic !== null, bodySecret !== undefined, asserts].filter(Boolean).length > 1) {
    throw new AuthError(
      "invalid_request",
      "send one of: the client secret in the Authorization header, the client secret in the body, a client assertion",
    );
  }
  if (basic !== null && bodyId !== undefined && bodyId !== basic.clientId) {
    throw new AuthError("invalid_request", "client_id in the body differs from the Authorization header");
  }
  if (asserts) {
    const readable = type === ASSERTION_TYPE ? assertion : undefined;
    const clientId = bodyId ?? (readable === undefined ? undefined : claimedClient(readable)) ?? "";
    return { clientId, method: "private_key_jwt", secrets: [], assertion: readable };
  }
  const clientId = basic?.clientId ?? bodyId;
  if (clientId === undefined) throw new AuthError("invalid_request", "client_id is missing");
  // an empty secret is none: libraries send one for public clients
  if (basic?.secrets.some((secret) => secret !== "")) {
    return { clientId, method: "client_secret_basic", secrets: basic.secrets };
  }
  if (bodySecret === undefined || bodySecret === "") return { clientId, method: "none", secrets: [] };
  return { clientId, method: "client_secret_post", secrets: [bodySecret] };
}

/** The client of a secret, however it is registered to send it: for callers of the internal listeners. */
export async function authenticateBasic(
  ctx: OAuthContext,
  authorization: string,
  network: string,
): Promise<AuthenticatedClient> {
  const basic = readBasic(authorization);
  if (basic === null) throw refusal();
  const subject = `${basic.clientId}\n${network}`;
  ctx.limits.refuseWhenUsedUp("failed_client_authentication", subject);
  const client = await findClient(ctx, basic.clientId);
  const secret = matchSecret(client, basic.secrets, ctx.clock.now());
  // a secret from before the client changed to keys is over
  if (client !== null && secret !== null && hasSecret(client.metadata)) return { client, secret };
  throw await countedRefusal(ctx, subject);
}

/** @throws AuthError rate_limited when this client and network failed too often */
async function countedRefusal(ctx: OAuthContext, subject: string): Promise<AuthError> {
  await ctx.limits.take("failed_client_authentication", subject);
  securityEvent(ctx, "client_authentication_failed", { network: subject.split("\n")[1] });
  return refusal();
}

/**
 * RFC 6749 section 2.3.1: both parts are form-url-encoded before base64. Many programs send the secret as it is (RFC 7617), so it is read
 * both ways.
 * @returns null when it is no Basic header
 */
function readBasic(authorization: string | null): { clientId: string; secrets: readonly string[] } | null {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization ?? "")?.[1];
  if (encoded === undefined) {
    if (/^basic\b/i.test(authorization ?? "")) throw refusal();
    return null;
  }
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw refusal();
  const [clientId, secret] = [text.slice(0, colon), text.slice(colon + 1)] as const;
  return {
    clientId: formDecoded(clientId) ?? clientId,
    secrets: [...new Set([formDecoded(secret) ?? secret, secret])],
  };
}

/** @returns null for what is not form-url-encoded */
function formDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return null;
  }
}

function matchSecret(client: Client | null, secrets: readonly string[], now: number): ClientSecret | null {
  let found: ClientSecret | null = null;
  for (const secret of secrets) {
    const presented = hashOf(secret);
    for (const each of client?.secrets ?? []) {
      const live = each.expiresAt === null || each.expiresAt > now;
      if (isSameSecret(each.hash, presented) && live) found = each;
    }
    // an unknown client costs one comparison too
    if (client === null) isSameSecret(nothing, presented);
  }
  return found;
}
