import { AuthError } from "../../errors.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { ClientError, type Destination } from "./request.ts";

/** Where the browser goes with the answer to the client: by a redirect, or by a form that is sent at once (`response_mode=form_post`). */
export type ClientAnswer =
  | { readonly to: "client"; readonly location: string }
  | { readonly to: "client-form"; readonly action: string; readonly fields: Readonly<Record<string, string>> };

/** What a client with the right settings is answered as well: prompt=none, users who say no, and forms that come late. */
const ordinary: ReadonlySet<string> = new Set([
  "login_required",
  "interaction_required",
  "consent_required",
  "access_denied",
  "invalid_request_uri",
]);

/**
 * Does the work; what it throws about the request, or for want of a database, is told to the client.
 * @throws AuthError what only a page may tell
 */
export async function answeringClient<T>(
  ctx: OAuthContext,
  destination: Destination,
  work: () => Promise<T>,
): Promise<T | ClientAnswer> {
  try {
    return await work();
  } catch (error) {
    const told = (code: string, description: string) =>
      answerTo(ctx, destination, { error: code, error_description: description });
    if (error instanceof ClientError) {
      if (!ordinary.has(error.code)) {
        const { clientId } = destination.client;
        securityEvent(ctx, "authorization_refused", { client_id: clientId, error: error.code, reason: error.message });
      }
      return told(error.code, error.message);
    }
    if (error instanceof AuthError && error.code !== "unavailable") throw error;
    // RFC 6749 section 4.1.2.1: a status of 5xx would never reach the client
    ctx.log.error({ err: error }, "authorization request not answered");
    return error instanceof AuthError
      ? told("temporarily_unavailable", "try again in a moment")
      : told("server_error", "internal error; the service logged its cause");
  }
}

/** RFC 6749 section 4.1.2 with the issuer of RFC 9207; a query that the client registered is kept as it is. */
export function answerTo(ctx: OAuthContext, destination: Destination, answer: Record<string, string>): ClientAnswer {
  const { redirectUri, responseMode, state } = destination;
  const fields = { ...answer, ...(state === undefined ? {} : { state }), iss: ctx.config.issuer };
  if (responseMode === "form_post") return { to: "client-form", action: redirectUri, fields };
  const separator = redirectUri.includes("?") ? "&" : "?";
  return { to: "client", location: `${redirectUri}${separator}${new URLSearchParams(fields)}` };
}
