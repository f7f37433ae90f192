import { sslModeOf } from "./ssl-mode.ts";

export interface MysqlHost {
  readonly host: string;
  readonly port: number;
}

export interface MysqlUrl {
  /** In the order of the URL: the first one that takes writes is used. */
  readonly hosts: readonly MysqlHost[];
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly sslMode: ReturnType<typeof sslModeOf>;
  /** The URL with its first host alone. */
  readonly first: URL;
}

/** The account ends at the last `@`, as in a URL with one host. */
const several = /^([a-z]+:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/is;

/**
 * Reads `mysql://user:password@host:port,host:port/database?ssl-mode=...`.
 * @returns null for anything else
 */
export function readMysqlUrl(text: string): MysqlUrl | null {
  const [, head = "", authority = "", tail = ""] = several.exec(text) ?? [];
  const urls = authority.split(",").map((host) => `${head}${host.trim()}${tail}`);
  if (!urls.every((url) => URL.canParse(url))) return null;
  const [first, ...others] = urls.map((url) => new URL(url));
  if (first === undefined || !/^(mysql|mariadb):$/.test(first.protocol) || first.pathname.length < 2) return null;
  const hosts = [first, ...others].map(({ hostname, port }) => ({
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: port === "" ? 3306 : Number(port),
  }));
  if (hosts.some(({ host, port }) => host === "" || port === 0)) return null;
  if (first.hash !== "" || first.pathname.lastIndexOf("/") > 0) return null;
  try {
    return {
      hosts,
      user: decodeURIComponent(first.username),
      password: decodeURIComponent(first.password),
      database: decodeURIComponent(first.pathname.slice(1)),
      sslMode: sslModeOf(first),
      first,
    };
  } catch {
    // a % that begins no escape
    return null;
  }
}
