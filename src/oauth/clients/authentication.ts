import { hashOf, isSameSecret } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { ClientMetadata } from "../../store/client-metadata.ts";
import { hasSecret } from "../../store/client-metadata.ts";
import type { Client, ClientSecret } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { ASSERTION_TYPE, assertionProblem, claimedClient } from "./assertion.ts";
import { refreshFromDocument } from "./client-documents.ts";
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

type Method = ClientMetadata["token_endpoint_auth_method"];

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
  const { network } = credentials;
  const { clientId, method, secrets, assertion } = await presentedBy(ctx, credentials);
  const subject = `${clientId}\n${network}`;
  ctx.limits.refuseWhenUsedUp("failed_client_authentication", subject);
  await refreshFromDocument(ctx, clientId);
  const client = await findClient(ctx, clientId);
  const matching = secrets.length === 0 ? null : matchSecret(client, secrets, ctx.clock.now());
  let reason = reasonOf(clientId, client, method, matching !== null);
  if (client !== null && takes(client.metadata, method)) {
    if (method !== "private_key_jwt") {
      if (method === "none" || matching !== null) return { client, secret: matching };
    } else if (assertion !== undefined) {
      const problem = await assertionProblem(ctx, client, assertion);
      if (problem === null) return { client, secret: null };
      reason = `the client assertion ${problem}`;
    }
  }
  logFailure(ctx, { clientId, client, method, network, reason });
  // what a client may send and does not count as a guess: its right secret by another method, a secret where it has none
  if (client !== null && matching !== null && hasSecret(client.metadata)) throw otherMethod(client);
  if (client !== null && (matching !== null || client.metadata.token_endpoint_auth_method === "none")) throw refusal();
  throw await countedRefusal(ctx, subject);
}

/** Is a client that says who it is by this method taken at its word? One that named no method sends its secret as it likes. */
function takes(metadata: ClientMetadata, method: Method): boolean {
  if (metadata.token_endpoint_auth_method === method) return true;
  return metadata.any_secret_method && (method === "client_secret_basic" || method === "client_secret_post");
}

/** Said to a client alone that proved its secret (RFC 6749 section 5.2). */
function otherMethod({ metadata }: Client): AuthError {
  return new AuthError("invalid_client", `this client is registered for ${metadata.token_endpoint_auth_method}`);
}

function reasonOf(clientId: string, client: Client | null, method: Method, isRightSecret: boolean): string {
  if (method === "private_key_jwt" && clientId === "")
    return "the client assertion cannot be read, or is of another type";
  if (client === null) return "no such client, or it is disabled";
  if (isRightSecret) return "the secret is right, but not sent by the method the client is registered for";
  const registered = client.metadata.token_endpoint_auth_method;
  if (registered === "none") return "the client is public and has no secret or key";
  if (method === "none") return "no secret, or no client assertion, was sent";
  if (method === "private_key_jwt") {
    return registered === method
      ? "the client assertion cannot be read"
      : "the client is not registered for assertions";
  }
  return registered === "private_key_jwt" ? "the client authenticates with its key" : "the secret is wrong or over";
}

/** A failed authentication, as an operator reads of it. */
interface Failure {
  /** As it was presented: whatever the sender wrote. */
  readonly clientId: string;
  readonly client: Client | null;
  /** Null: it could not be told. */
  readonly method: Method | null;
  readonly network: string;
  readonly reason: string;
}

function logFailure(ctx: OAuthContext, { clientId, client, method, network, reason }: Failure): void {
  securityEvent(ctx, "client_authentication_failed", {
    client_id: clientId.slice(0, 100),
    method,
    registered_method: client === null ? null : registeredMethod(client),
    reason,
    network,
  });
}

/** Both ways to send a secret, where the registration named none. */
function registeredMethod({ metadata }: Client): string {
  return metadata.any_secret_method ? "client_secret_basic or client_secret_post" : metadata.token_endpoint_auth_method;
}

interface PresentedCredentials {
  readonly clientId: string;
  readonly method: Method;
  /** The presented secret, as it may be read; empty where there is none. */
  readonly secrets: readonly string[];
  /** Undefined where `method` is private_key_jwt: it was of another type, or missing. */
  readonly assertion?: string | undefined;
}

/** @throws AuthError invalid_client, invalid_request */
async function presentedBy(ctx: OAuthContext, credentials: ClientCredentials): Promise<PresentedCredentials> {
  const { authorization, network, parameters } = credentials;
  const basic = readBasic(ctx, authorization, network);
  try {
    return readCredentials(parameters, basic);
  } catch (error) {
    const clientId = basic?.clientId ?? parameters["client_id"] ?? "";
    const reason = error instanceof AuthError ? error.description : String(error);
    logFailure(ctx, { clientId, client: await findClient(ctx, clientId), method: null, network, reason });
    throw error;
  }
}

function readCredentials(
  parameters: ClientCredentials["parameters"],
  basic: BasicCredentials | null,
): PresentedCredentials {
  const { client_id: bodyId, client_secret: bodySecret, client_assertion: assertion } = parameters;
  const type = parameters["client_assertion_type"];
  // an empty secret is none: libraries send one for public clients, and beside the way that they really use
  const basicSecrets = basic?.secrets.some((secret) => secret !== "") ? basic.secrets : [];
  const bodySecrets = bodySecret === undefined || bodySecret === "" ? [] : [bodySecret];
  const asserts = assertion !== undefined || type !== undefined;
  if ([basicSecrets.length > 0, bodySecrets.length > 0, asserts].filter(Boolean).length > 1) {
    throw new AuthError(
      "invalid_request",
      "send one of: the client secret in the Authorization header, the client secret in the body, a client assertion",
    );
  }
  if (basic !== null && bodyId !== undefined && bodyId !== basic.clientId) {
    throw new AuthError("invalid_request", "client_id in the body differs from the Authorization header");
  }
  const named = bodyId ?? basic?.clientId;
  if (asserts) {
    const readable = type === ASSERTION_TYPE ? assertion : undefined;
    const clientId = named ?? (readable === undefined ? undefined : claimedClient(readable)) ?? "";
    return { clientId, method: "private_key_jwt", secrets: [], assertion: readable };
  }
  if (named === undefined) throw new AuthError("invalid_request", "client_id is missing");
  if (basicSecrets.length > 0) return { clientId: named, method: "client_secret_basic", secrets: basicSecrets };
  if (bodySecrets.length > 0) return { clientId: named, method: "client_secret_post", secrets: bodySecrets };
  return { clientId: named, method: "none", secrets: [] };
}

/** The client of a secret, however it is registered to send it: for callers of the internal listeners. */
export async function authenticateBasic(
  ctx: OAuthContext,
  authorization: string,
  network: string,
): Promise<AuthenticatedClient> {
  const method = "client_secret_basic";
  const basic = readBasic(ctx, authorization, network);
  if (basic === null) {
    logFailure(ctx, { clientId: "", client: null, method, network, reason: "the Basic header is empty" });
    throw refusal();
  }
  const { clientId } = basic;
  const subject = `${clientId}\n${network}`;
  ctx.limits.refuseWhenUsedUp("failed_client_authentication", subject);
  const client = await findClient(ctx, clientId);
  const secret = matchSecret(client, basic.secrets, ctx.clock.now());
  // a secret from before the client changed to keys is over
  if (client !== null && secret !== null && hasSecret(client.metadata)) return { client, secret };
  logFailure(ctx, { clientId, client, method, network, reason: reasonOf(clientId, client, method, false) });
  throw await countedRefusal(ctx, subject);
}

/** Counts a failure of this client and network. @throws AuthError rate_limited when there were too many */
async function countedRefusal(ctx: OAuthContext, subject: string): Promise<AuthError> {
  await ctx.limits.take("failed_client_authentication", subject);
  return refusal();
}

interface BasicCredentials {
  readonly clientId: string;
  /** The presented secret, as it may be read. */
  readonly secrets: readonly string[];
}

/**
 * RFC 6749 section 2.3.1: both parts are form-url-encoded before base64. Many programs send the secret as it is (RFC 7617), so it is read
 * both ways.
 * @returns null when it is no Basic header
 */
function readBasic(ctx: OAuthContext, authorization: string | null, network: string): BasicCredentials | null {
  const malformed = () => {
    const reason = "the Basic header cannot be read";
    logFailure(ctx, { clientId: "", client: null, method: "client_secret_basic", network, reason });
    return refusal();
  };
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization ?? "")?.[1];
  if (encoded === undefined) {
    if (/^basic\b/i.test(authorization ?? "")) throw malformed();
    return null;
  }
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw malformed();
  const [clientId, secret] = [text.slice(0, colon), text.slice(colon + 1)] as const;
  // neither id nor secret: a program's settings are empty, and it authenticates in another way
  if (clientId === "" && secret === "") return null;
  return {
    // no id has a space, so a plus sign stands for itself
    clientId: formDecoded(clientId.replaceAll("+", "%2B")) ?? clientId,
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
      // a secret may be given twice, as by a roll-over to the same one: the row that lives longest counts
      if (isSameSecret(each.hash, presented) && live && endOf(each) > endOf(found)) found = each;
    }
    // an unknown client costs one comparison too
    if (client === null) isSameSecret(nothing, presented);
  }
  return found;
}

function endOf(secret: ClientSecret | null): number {
  return secret === null ? 0 : (secret.expiresAt ?? Number.POSITIVE_INFINITY);
}
