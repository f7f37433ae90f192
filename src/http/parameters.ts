import { isAscii } from "node:buffer";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { outermostNames } from "../token/strict-json.ts";

export type Parameters = Record<string, string>;

/** A body as it came in: read by the one reader that its endpoint allows. */
interface RawBody {
  readonly type: "form" | "json" | "other";
  readonly text: string;
  /** Of a form that was read. */
  pairs?: readonly (readonly [string, string])[];
}

/** The percent-encoded text of a form is the same in these charsets; of JSON a charset means nothing (RFC 8259 section 11). */
const charsets: ReadonlySet<string> = new Set(["utf-8", "utf8", "us-ascii", "iso-8859-1"]);
/** One parameter of a media type (RFC 9110 section 5.6.6). A list of them in one expression would take exponential time. */
const typeParameter = /^([!#$%&'*+.^_`|~\w-]+)=(?:"([^"\\]*)"|([!#$%&'*+.^_`|~\w-]+))$/;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const maxMembers = 100;
/** Parameters that a request may repeat: resources (RFC 8707 section 2), and the services of a token exchange (RFC 8693 section 2.1). */
export const REPEATABLE = { resource: ["resource"], target: ["resource", "audience"] } as const;
/** Characters of a scope: some hundred values. */
const maxScope = 4_000;

/** The listener's one body parser: strict about type and encoding before anything is read. */
export function addBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  // the usual spellings are found at once, "*" has everything else looked at
  const types = ["application/x-www-form-urlencoded", "application/json", "*"];
  app.addContentTypeParser(types, { parseAs: "buffer" }, (request, body, done) => {
    const type = request.headers["content-type"] ?? "";
    if (request.headers["content-encoding"] !== undefined)
      return done(unsupported("content-encoding is not supported"));
    try {
      done(null, { type: kindOf(type), text: decode(body as Buffer) } satisfies RawBody);
    } catch {
      done(new UnreadableRequest("the body is not UTF-8"));
    }
  });
}

/** What a Content-Type names; parameters that mean nothing here are ignored (RFC 2045 section 1). */
function kindOf(header: string): RawBody["type"] {
  if (header === "application/x-www-form-urlencoded") return "form";
  const [type = "", ...parameters] = header.split(";").map((part) => part.trim().toLowerCase());
  const kind = type === "application/x-www-form-urlencoded" ? "form" : type === "application/json" ? "json" : "other";
  return parameters.every(isKnownOrIdle) ? kind : "other";
}

function isKnownOrIdle(parameter: string): boolean {
  if (parameter === "") return true;
  const [, name, quoted, token = ""] = typeParameter.exec(parameter) ?? [];
  return name !== undefined && (name !== "charset" || charsets.has(quoted ?? token));
}

function decode(body: Buffer): string {
  return isAscii(body) ? body.toString("latin1") : utf8.decode(body);
}

/** What cannot be read as the parameters of any request, whatever it is about. */
export class UnreadableRequest extends AuthError {
  /** The parameters that can be read all the same: each stood there once. */
  readonly readable: Parameters;
  constructor(description: string, readable: Parameters = {}) {
    super("invalid_request", description);
    this.readable = readable;
  }
}

/** Status 415: told apart from other refusals by its status alone. */
class UnsupportedMediaType extends UnreadableRequest {
  readonly statusCode = 415;
}

function unsupported(description: string): AuthError {
  return new UnsupportedMediaType(description);
}

/**
 * The form of a request.
 * @param repeatable parameters that may come several times: their values are joined by spaces, which none of them may have
 * @throws AuthError invalid_request (415 for another content type)
 */
export function readForm(request: FastifyRequest, repeatable: readonly string[] = []): Parameters {
  const body = rawBody(request);
  if (body.type !== "form") throw unsupported("send application/x-www-form-urlencoded");
  return readPairs(formPairs(body), repeatable);
}

function formPairs(body: RawBody): readonly (readonly [string, string])[] {
  body.pairs ??= pairsOf(body.text);
  return body.pairs;
}

/** Is the body of a form's type? */
export function isForm(request: FastifyRequest): boolean {
  return rawBody(request).type === "form";
}

/** Does the form have this field, with or without a value? */
export function hasField(request: FastifyRequest, name: string): boolean {
  return formPairs(rawBody(request)).some(([each]) => each === name);
}

/** The token endpoint's body: a form, or the same as a JSON object of strings, and of lists of strings where they are repeatable. */
export function readFormOrJson(request: FastifyRequest, repeatable: readonly string[] = []): Parameters {
  const body = rawBody(request);
  if (body.type === "form") return readForm(request, repeatable);
  if (body.type !== "json") throw unsupported("send application/x-www-form-urlencoded, or application/json");
  const pairs = Object.entries(readJson(request)).flatMap(([name, value]): [string, string][] => {
    if (typeof value === "string") return [[name, value]];
    if (repeatable.includes(name) && isListOfStrings(value)) return value.map((one) => [name, one]);
    throw new UnreadableRequest(`${printable(name)} must be a string`);
  });
  return readPairs(pairs, repeatable);
}

function isListOfStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

/** The JSON object of a request. @throws AuthError invalid_request (415 for another content type) */
export function readJson(request: FastifyRequest): Record<string, unknown> {
  const body = rawBody(request);
  if (body.type !== "json") throw unsupported("send application/json");
  let json: unknown;
  try {
    json = JSON.parse(body.text);
  } catch {
    throw new UnreadableRequest("the body is not JSON");
  }
  if (json === null || typeof json !== "object" || Array.isArray(json)) {
    throw new UnreadableRequest("the body must be a JSON object");
  }
  const names = outermostNames(body.text);
  if (new Set(names).size !== names.length) throw new UnreadableRequest("duplicate member in the JSON object");
  if (names.length > maxMembers) throw new UnreadableRequest(`more than ${maxMembers} members`);
  // no prototype: __proto__ and constructor are members like any other
  return Object.assign(Object.create(null), json) as Record<string, unknown>;
}

/** The query of a request as it is, of whatever address: nothing of it is refused. */
export function queryOf(request: FastifyRequest): URLSearchParams {
  const at = request.url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : request.url.slice(at + 1));
}

/** The query of a request. @param repeatable as in `readForm` @throws AuthError invalid_request */
export function readQuery(request: FastifyRequest, repeatable: readonly string[] = []): Parameters {
  const at = request.url.indexOf("?");
  return readPairs(pairsOf(at < 0 ? "" : request.url.slice(at + 1)), repeatable);
}

/** The pairs of application/x-www-form-urlencoded text; what does not decode to UTF-8 is refused, not replaced. */
function pairsOf(text: string): [string, string][] {
  const decode = text.includes("%") || text.includes("+") ? formDecode : asItIs;
  const pairs: [string, string][] = [];
  for (const pair of text.split("&", maxMembers + 2)) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    pairs.push(at < 0 ? [decode(pair), ""] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]);
  }
  return pairs;
}

function asItIs(text: string): string {
  return text;
}

function formDecode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw new UnreadableRequest("a parameter is not percent-encoded UTF-8");
  }
}

/** RFC 6749 section 3.1: no parameter twice unless an extension says so, `p[]` not either, which other readers take for `p`; one without a value is absent. */
function readPairs(pairs: readonly (readonly [string, string])[], repeatable: readonly string[]): Parameters {
  const parameters = Object.create(null) as Parameters;
  if (pairs.length > maxMembers) throw new UnreadableRequest(`more than ${maxMembers} parameters`);
  const seen = new Set<string>();
  const wrong = new Map<string, string>();
  for (const [name, value] of pairs) {
    // of no use to anybody, and sent on to nobody
    if (value.includes("\0")) throw new UnreadableRequest(`${printable(name)} must not contain NUL`);
    if (name === "scope" && value.length > maxScope) throw new UnreadableRequest("scope is too long");
    const problem = problemOf(name, seen.has(name) && !repeatable.includes(name));
    // `state[]` makes `state` doubtful too
    if (problem !== null) wrong.set(name.split(/[[\]]/, 1)[0] ?? name, problem);
    seen.add(name);
    if (value === "" || problem !== null) continue;
    const before = repeatable.includes(name) ? parameters[name] : undefined;
    parameters[name] = before === undefined ? value : `${before} ${value}`;
  }
  const [problem] = wrong.values();
  if (problem === undefined) return parameters;
  for (const name of wrong.keys()) delete parameters[name];
  throw new UnreadableRequest(problem, parameters);
}

function problemOf(name: string, isRepeated: boolean): string | null {
  if (isRepeated) return `duplicate parameter ${printable(name)}`;
  const isArray = name.includes("[") || name.includes("]");
  return isArray ? `${printable(name)}: array parameters are not supported` : null;
}

function rawBody(request: FastifyRequest): RawBody {
  return (request.body as RawBody | undefined) ?? { type: "other", text: "" };
}

/** RFC 6749 section 5.2: what error_description may hold. */
export function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "?").slice(0, 300);
}
