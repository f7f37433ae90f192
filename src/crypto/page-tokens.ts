import { AuthError } from "../errors.ts";
import type { Mac } from "./mac.ts";

/**
 * Writes the page token of a list: a position and an HMAC over it, so that a changed or foreign token is refused.
 * @param macs of page tokens (derived-keys.ts)
 * @param list names the list; a token is valid for this list only
 */
export function writePageToken(macs: Mac, list: string, position: readonly [number, string]): string {
  const body = Buffer.from(JSON.stringify(position)).toString("base64url");
  return `${body}.${macs.of(textOf(list, body))}`;
}

/** @returns null for the first page. @throws AuthError invalid_request for anything that writePageToken did not write for this list */
export function readPageToken(macs: Mac, list: string, token: string): readonly [number, string] | null {
  if (token === "") return null;
  const [body = "", mac = ""] = token.split(".");
  if (`${body}.${mac}` !== token || !macs.verifies(textOf(list, body), mac)) {
    throw new AuthError("invalid_request", "page_token is not one that this list returned");
  }
  return JSON.parse(Buffer.from(body, "base64url").toString()) as [number, string];
}

function textOf(list: string, body: string): string {
  return `page token\n${list}\n${body}`;
}

/** What a caller asks of a list. */
export interface PageRequest {
  /** Entries; 0: the list's usual number. */
  readonly size: number;
  /** Of the page before; empty: the first page. */
  readonly token: string;
}

export interface PagedList<Entry> {
  /** Names the list and whom it is of: a token is valid for this list only. */
  readonly name: string;
  readonly usualSize: number;
  readonly maxSize: number;
  /** Entries after a position, at most `limit`. */
  read(after: readonly [number, string] | null, limit: number): Promise<Entry[]>;
  positionOf(entry: Entry): readonly [number, string];
}

/** One page of a list, and the token of the next one; empty: there is none. @throws AuthError invalid_request */
export async function readPage<Entry>(
  macs: Mac,
  list: PagedList<Entry>,
  page: PageRequest,
): Promise<{ entries: Entry[]; nextPageToken: string }> {
  const size = page.size === 0 ? list.usualSize : page.size;
  if (!Number.isInteger(size) || size < 1 || size > list.maxSize) {
    throw new AuthError("invalid_request", `page_size must be 1 to ${list.maxSize.toLocaleString("en")}`);
  }
  const found = await list.read(readPageToken(macs, list.name, page.token), size + 1);
  const entries = found.slice(0, size);
  const last = entries.at(-1);
  const more = found.length > size && last !== undefined;
  return { entries, nextPageToken: more ? writePageToken(macs, list.name, list.positionOf(last)) : "" };
}
