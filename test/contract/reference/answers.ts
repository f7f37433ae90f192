import { hiddenFields, type TestBrowser } from "../../support/flow.ts";
import { redirectUri } from "./clients.ts";
import type { Server } from "./servers.ts";

/** What a client would notice of an answer; nothing that is different each time. */
export interface Answer {
  readonly status: number;
  /** Where a browser ends: pages on the way, then the client and what it gets there. */
  readonly to?: string;
  readonly error?: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Members and their types; `page` for HTML, `empty` for nothing. */
  readonly body: Readonly<Record<string, string>> | string;
}

/** Cookies, dates and what every page sends to protect itself are no part of the protocols. */
const comparedHeaders = ["content-type", "cache-control", "allow", "location"];

export async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text();
  const type = response.headers.get("content-type")?.split(";")[0]?.trim() ?? "";
  const json = type.endsWith("json") && text !== "" ? (JSON.parse(text) as Record<string, unknown>) : null;
  const headers = Object.fromEntries(
    comparedHeaders
      .map((name) => [name, name === "content-type" ? type : (response.headers.get(name) ?? "")] as const)
      .filter(([name, value]) => value !== "" && name !== "location"),
  );
  const challenge = challengeOf(response.headers.get("www-authenticate"));
  const error = json?.["error"];
  return {
    status: response.status,
    ...(typeof error === "string" ? { error } : {}),
    headers: { ...headers, ...(challenge === null ? {} : { "www-authenticate": challenge }) },
    body: json === null ? (text === "" ? "empty" : type === "text/html" ? "page" : "text") : typesOf(json),
  };
}

/** Schemes and errors, not realms and descriptions. */
function challengeOf(header: string | null): string | null {
  if (header === null) return null;
  const schemes = header.match(/(?:^|, ?)(Basic|Bearer|DPoP)\b/gi) ?? [];
  const error = /error="([^"]+)"/.exec(header)?.[1];
  const names = schemes.map((scheme) => scheme.replace(/^, ?/, ""));
  return [...names, ...(error === undefined ? [] : [`error=${error}`])].join(" ");
}

function typesOf(json: Record<string, unknown>): Record<string, string> {
  const names = Object.keys(json).filter((name) => name !== "error_description");
  const typeOf = (value: unknown) => (Array.isArray(value) ? "array" : typeof value);
  return Object.fromEntries(names.sort().map((name) => [name, typeOf(json[name])]));
}

/** An answer of an endpoint for browsers, followed until it is the client's or a page. */
export async function walk(server: Server, first: Response, browser: TestBrowser): Promise<[Answer, Arrival]> {
  const arrival = await follow(server, first.clone(), browser);
  const { body: _, ...answer } = await answerOf(first);
  if (arrival.at === null)
    return [{ ...answer, status: first.status, body: "page", to: [...arrival.steps, "a page"].join(", ") }, arrival];
  const got = `the client by ${arrival.mode} with ${Object.keys(arrival.at).sort().join(" ")}`;
  const { error } = arrival.at;
  // bodies of redirects say nothing
  const { "content-type": __, ...headers } = answer.headers;
  const told = { status: first.status, to: [...arrival.steps, got].join(", "), headers, body: "empty" };
  return [error === undefined ? told : { ...told, error }, arrival];
}

export interface Arrival {
  /** `login` for everything that the user is asked on the way. */
  readonly steps: readonly string[];
  readonly at: Readonly<Record<string, string>> | null;
  readonly mode: "query" | "fragment" | "form_post" | null;
}

async function follow(server: Server, first: Response, browser: TestBrowser): Promise<Arrival> {
  let response = first;
  let asked = false;
  const steps = () => (asked ? ["the user is asked"] : []);
  for (let step = 0; step < 12; step++) {
    const location = response.headers.get("location");
    if (location?.startsWith(redirectUri) === true) {
      const url = new URL(location);
      const fragment = url.hash !== "";
      const parameters = new URLSearchParams(fragment ? url.hash.slice(1) : url.search);
      return { steps: steps(), at: Object.fromEntries(parameters), mode: fragment ? "fragment" : "query" };
    }
    if (location !== null) {
      const url = new URL(location, server.issuer);
      asked ||= /^\/(login|consent|interaction)/.test(url.pathname);
      response = await browser.get(url.href);
      continue;
    }
    const html = await response.text();
    const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1] ?? "";
    if (action === redirectUri) return { steps: steps(), at: fieldsOf(html), mode: "form_post" };
    if (action !== "/login" && action !== "/consent") return { steps: steps(), at: null, mode: null };
    const { email, password } = server.account;
    const typed = action === "/login" ? { email, password } : { decision: "allow" };
    response = await browser.post(server.issuer + action, { ...hiddenFields(html), ...typed });
  }
  throw new Error("the browser is sent around");
}

function fieldsOf(html: string): Record<string, string> {
  const inputs = html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g);
  return Object.fromEntries([...inputs].map(([, name = "", value = ""]) => [name, value]));
}
