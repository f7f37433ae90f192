import { DPOP_ALGS } from "../token/dpop-proof.ts";
import type { Refused } from "./decision.ts";

/** What a service says about itself to clients that do not know it (RFC 9728 section 2), as MCP clients ask. */
export interface ProtectedResourceOptions {
  /** URL of the service as clients call it, which the document repeats. One of the verifier's audiences, compared as they are with `aud`. */
  readonly resource: string;
  /** Scopes that clients may need. */
  readonly scopes?: readonly string[];
  /** For people. */
  readonly name?: string;
  /** URL of a page for developers. */
  readonly documentation?: string;
}

/** The metadata document of a service and where it is. */
export interface ProtectedResource {
  /** As `WWW-Authenticate` names it. */
  readonly url: string;
  /** Path (and query) of the URL. */
  readonly path: string;
  /** JSON text. */
  readonly document: string;
}

/** Of the answer with the document: every script may read it, because it is the same for everyone. */
export const DOCUMENT_HEADERS = {
  "content-type": "application/json; charset=utf-8",
  "cache-control": "public, max-age=300",
  "access-control-allow-origin": "*",
} as const;

/** Of the answer to a browser that asks first, before a script's request with headers of its own (the Fetch standard's preflight). */
export const PREFLIGHT_HEADERS = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "GET, HEAD",
  "access-control-allow-headers": "*",
  "access-control-max-age": "86400",
} as const;

/** What the document is asked with: it needs no token. */
export const DOCUMENT_METHODS: readonly string[] = ["GET", "HEAD", "OPTIONS"];

export function protectedResourceOf(
  { resource, scopes, name, documentation }: ProtectedResourceOptions,
  issuer: string,
  takesDpop: boolean,
): ProtectedResource {
  const { origin, pathname, search } = new URL(resource);
  // RFC 9728 section 3.1: between host and path, without the slash that ends the host
  const path = `/.well-known/oauth-protected-resource${pathname === "/" ? "" : pathname}${search}`;
  const document = JSON.stringify({
    resource,
    authorization_servers: [issuer],
    bearer_methods_supported: ["header"],
    ...(scopes === undefined ? {} : { scopes_supported: scopes }),
    ...(name === undefined ? {} : { resource_name: name }),
    ...(documentation === undefined ? {} : { resource_documentation: documentation }),
    ...(takesDpop ? { dpop_signing_alg_values_supported: DPOP_ALGS } : {}),
  });
  return { url: origin + path, path, document };
}

/** A refusal whose challenge names the metadata document (RFC 9728 section 5.1). */
export function namingDocument(refused: Refused, { url }: ProtectedResource): Refused {
  if (refused.status === 503) return refused;
  const challenge = refused.wwwAuthenticate;
  const separator = challenge.includes(" ") ? ", " : " ";
  return Object.freeze({ ...refused, wwwAuthenticate: `${challenge}${separator}resource_metadata="${url}"` });
}
