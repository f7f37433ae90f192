import { isIP } from "node:net";
import { isLoopback } from "../net/loopback.ts";
import type { Reader } from "./reader.ts";
import type { VariableName } from "./variables.ts";

export interface Listener {
  readonly host: string;
  readonly port: number;
}

/** Where a listener listens: outside of production on this machine alone. */
export function readListener(read: Reader, prefix: "HTTP" | "GRPC" | "INTERNAL_HTTP", production: boolean): Listener {
  // an address in brackets, as URLs have it, is one all the same
  const host = (read.text(`${prefix}_HOST`) ?? "127.0.0.1").replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) === 0 && !/^[a-z0-9_.-]+$/i.test(host)) {
    const wrong = `${JSON.stringify(host)} is neither an address nor a host name; the port is in ${prefix}_PORT`;
    read.problem(`${prefix}_HOST`, wrong);
  } else if (!production && !isLoopback(host)) {
    read.problem(
      `${prefix}_HOST`,
      `${host} is reachable from outside this machine, and NODE_ENV is not production: the development clients and their published secret would be too`,
      "127.0.0.1 (or NODE_ENV=production)",
    );
  }
  return { host, port: read.integer(`${prefix}_PORT`) };
}

/** Each listener needs a port of its own. */
export function checkPorts(read: Reader, listeners: readonly (readonly [VariableName, Listener])[]): void {
  const seen = new Map<number, string>();
  const named = new Set(listeners.map(([, { port }]) => port));
  for (const [variable, { port }] of listeners) {
    const other = seen.get(port);
    if (other !== undefined) {
      let free = port + 10;
      while (named.has(free)) free += 10;
      named.add(free);
      read.problem(variable, `is ${port}, as ${other} is`, String(free));
    }
    seen.set(port, variable);
  }
}

/** @param port of the public listener: without ISSUER a development service is found there */
export function readIssuer(read: Reader, production: boolean, port: number): string {
  const given = read.text("ISSUER");
  const example = production ? "https://auth.example.com" : "http://localhost:8081";
  if (given === null && production) read.problem("ISSUER", "is needed in production", example);
  // URLs do not have the port that http has by itself
  const value = given ?? `http://localhost${port === 80 ? "" : `:${port}`}`;
  if (!URL.canParse(value)) {
    read.problem("ISSUER", `${JSON.stringify(value)} is no URL`, example);
    return value;
  }
  const url = new URL(value);
  if (!["http:", "https:"].includes(url.protocol) || url.search !== "" || url.hash !== "" || url.username !== "") {
    read.problem("ISSUER", "must be an https URL without query, fragment or user (RFC 8414 section 2)", example);
  } else if (value !== url.origin && !value.startsWith(`${url.origin}/`)) {
    // clients compare issuers character by character (RFC 8414 section 3.3)
    read.problem("ISSUER", "scheme and host must be in lower case, without the default port", url.origin);
  } else if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    read.problem("ISSUER", "must use https; http only on loopback", example);
  } else if (!production && !isLoopback(url.hostname)) {
    read.problem(
      "ISSUER",
      `${url.hostname} is not this machine, and NODE_ENV is not production`,
      "http://localhost:8081 (or NODE_ENV=production)",
    );
  } else if (value.replace(/\/+$/, "") !== url.origin + url.pathname.replace(/\/+$/, "")) {
    // the paths that clients ask are those that URLs have
    read.problem("ISSUER", "must be written as URLs are sent", url.origin + url.pathname.replace(/\/+$/, ""));
  }
  if (value.endsWith("/")) read.problem("ISSUER", "must not end with a slash", value.replace(/\/+$/, ""));
  return value;
}

/** CORS_ORIGINS. @returns `loopback`: any origin on this machine, the default of development */
export function readCorsOrigins(read: Reader, production: boolean): "loopback" | string[] {
  const origins = read.list("CORS_ORIGINS");
  for (const origin of origins) {
    if (!isOrigin(origin)) read.problem("CORS_ORIGINS", `${JSON.stringify(origin)} is no origin`);
    else if (origin.includes("*")) {
      read.problem("CORS_ORIGINS", `${JSON.stringify(origin)}: origins are compared as they are; name each of them`);
    }
  }
  return origins.length === 0 && !production ? "loopback" : origins;
}

/** Besides http and https, apps with an embedded browser send origins with custom schemes, such as `capacitor://localhost`. */
export function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { origin, protocol } = new URL(text);
  return origin === text || (!/^https?:$/.test(protocol) && /^[a-z][a-z0-9+.-]*:\/\/[^/?#]+$/.test(text));
}

/** TRUST_PROXY: addresses, networks in CIDR notation, or names of ranges (`loopback`, `linklocal`, `uniquelocal`). */
export function readTrustProxy(read: Reader): string[] {
  const networks = read.list("TRUST_PROXY");
  for (const network of networks) {
    if (isNetwork(network)) continue;
    const wrong = /\/0+$/.test(network) ? "is every address: anybody could name any other" : "is no address or network";
    read.problem("TRUST_PROXY", `${JSON.stringify(network)} ${wrong}`);
  }
  return networks;
}

function isNetwork(text: string): boolean {
  if (/^(loopback|linklocal|uniquelocal)$/.test(text)) return true;
  const [address = "", bits, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  // a network of 0 bits is every address: then anybody could name any address
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) > 0 && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

/** 1 to 65535, in decimal digits? */
export function isPort(text: string): boolean {
  return Number(text) >= 1 && Number(text) <= 65_535;
}
