import { isAscii } from "node:buffer";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * A JSON object as this service writes it: without white space, escapes that are not needed, or a member name given twice.
 * Such JSON serializes to the text it was read from.
 * @param part one part of a compact JWS: canonical unpadded base64url of UTF-8
 * @returns null for anything else
 */
export function readOwnJson(part: string): Record<string, unknown> | null {
  return readObject(part, isAsWritten);
}

/**
 * A JSON object that others wrote: white space is allowed, a duplicate member name is not, at any depth, because readers differ
 * on which of the two counts (RFC 8725 section 2.4).
 * @param part one part of a compact JWS: canonical unpadded base64url of UTF-8
 * @returns null for anything else
 */
export function readForeignJson(part: string): Record<string, unknown> | null {
  return readObject(part, namesEachMemberOnce);
}

/** The bytes of canonical unpadded base64url (RFC 7515 section 2). @returns null for anything else, and for no bytes */
export function readBase64url(part: string): Buffer | null {
  const bytes = Buffer.from(part, "base64url");
  return bytes.length > 0 && bytes.toString("base64url") === part ? bytes : null;
}

function readObject(part: string, isStrict: (text: string, json: object) => boolean): Record<string, unknown> | null {
  const bytes = readBase64url(part);
  if (bytes === null) return null;
  try {
    const text = isAscii(bytes) ? bytes.toString("latin1") : utf8.decode(bytes);
    const json: unknown = JSON.parse(text);
    if (json === null || typeof json !== "object" || Array.isArray(json) || !isStrict(text, json)) return null;
    return json as Record<string, unknown>;
  } catch {
    return null;
  }
}

function isAsWritten(text: string, json: object): boolean {
  return JSON.stringify(json) === text;
}

function namesEachMemberOnce(text: string): boolean {
  return repeatedMember(text) === null;
}

/** The first member that an object names twice, at any depth. @param text known to be JSON @returns null: there is none */
export function repeatedMember(text: string): string | null {
  const seen = new Map<number, Set<string>>();
  for (const { name, object } of membersOf(text)) {
    const names = seen.get(object) ?? new Set();
    if (names.has(name)) return name;
    seen.set(object, names.add(name));
  }
  return null;
}

/** Names of the outermost object's members, duplicates included. @param text known to be JSON */
export function outermostNames(text: string): string[] {
  return [...membersOf(text)].filter(({ depth }) => depth === 1).map(({ name }) => name);
}

/** Every member of every object, in the order of the text, which is known to be JSON. `object` numbers the objects. */
function* membersOf(text: string): Generator<{ name: string; object: number; depth: number }> {
  const open: number[] = [];
  let count = 0;
  let string = "";
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/gs)) {
    if (token === "{" || token === "[") open.push(count++);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") yield { name: JSON.parse(string) as string, object: open.at(-1) ?? 0, depth: open.length };
    else string = token;
  }
}
