/** Scheme, host and port, and the rest of a URI that names a host. */
const withHost = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)(.*)$/i;

/**
 * A URI as it is compared (RFC 3986 sections 6.2.2 and 6.2.3): scheme and host in lower case, no default port, `/` for an empty path,
 * no dot segments, escapes in upper case and only where they are needed.
 * @returns null for what is no absolute URI
 */
export function normalizedUri(text: string): string | null {
  if (/[^\x21-\x7e]|\\/.test(text) || !URL.canParse(text)) return null;
  const { href } = new URL(text);
  // URL leaves the host of an unknown scheme as it is
  const [, scheme = "", host = "", rest = ""] = withHost.exec(href) ?? ["", "", "", href];
  return scheme + host.toLowerCase() + normalizedEscapes(rest);
}

/** A part of a URI with its escapes in upper case and only where they are needed (RFC 3986 section 6.2.2). */
export function normalizedEscapes(part: string): string {
  return part.replaceAll(/%[0-9a-f]{2}/gi, normalizedEscape);
}

function normalizedEscape(encoded: string): string {
  const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
  return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded.toUpperCase();
}

/** Are these the same URI (RFC 3986 section 6.2.3), or the same name? */
export function isSameUri(one: string, other: string): boolean {
  if (one === other) return true;
  const uri = normalizedUri(one);
  return uri !== null && uri === normalizedUri(other);
}

/** Is one of these the same as one of those? The same spelling, which is usual, is found before any is read as a URI. */
export function haveSameUri(some: readonly string[], others: readonly string[]): boolean {
  return some.some((one) => others.includes(one)) || some.some((one) => others.some((other) => isSameUri(one, other)));
}

/** May a URI name a resource (RFC 8707 section 2)? */
export function isResourceUri(text: string): boolean {
  return normalizedUri(text) !== null && !text.includes("#");
}
