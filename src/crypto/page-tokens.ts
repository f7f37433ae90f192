import { createHmac } from "node:crypto";
import { AuthError } from "../errors.ts";
import { isSameSecret } from "./hashes.ts";

/**
 * Writes the page token of a list: a position and an HMAC over it, so that a changed or foreign token is refused.
 * @param key of 32 bytes, the same on every replica (derived-keys.ts)
 * @param list names the list; a token is valid for this list only
 */
export function writePageToken(key: Buffer, list: string, position: readonly [number, string]): string {
  const body = Buffer.from(JSON.stringify(position)).toString("base64url");
  return `${body}.${seal(key, list, body)}`;
}

/** @returns null for the first page. @throws AuthError invalid_request for anything that writePageToken did not write for this list */
export function readPageToken(key: Buffer, list: string, token: string): readonly [number, string] | null {
  if (token === "") return null;
  const [body = "", mac = ""] = token.split(".");
  if (`${body}.${mac}` !== token || !isSameSecret(mac, seal(key, list, body))) {
    throw new AuthError("invalid_request", "page_token is not one that this list returned");
  }
  return JSON.parse(Buffer.from(body, "base64url").toString()) as [number, string];
}

function seal(key: Buffer, list: string, body: string): string {
  return createHmac("sha256", key).update(`page token\n${list}\n${body}`).digest("base64url");
}
