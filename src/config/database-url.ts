import { addressOf } from "../net/address.ts";
import { readMysqlUrl } from "../net/mysql-url.ts";
import { problemsOfQuery } from "../net/ssl-mode.ts";
import type { Reader } from "./reader.ts";

/** DATABASE_URL. @returns `sqlite:PATH`, or a MySQL URL that may name several hosts (`readMysqlUrl`) */
export function readDatabase(read: Reader, production: boolean): string {
  const url = read.secret("DATABASE_URL") ?? "sqlite:./data/auth.sqlite";
  if (url.startsWith("sqlite:")) {
    if (url.length === "sqlite:".length) read.problem("DATABASE_URL", "names no file", "sqlite:./data/auth.sqlite");
    // as of MySQL, where a parameter that is not known is refused
    if (url.includes("?")) {
      read.problem("DATABASE_URL", "a SQLite path has no parameters", url.slice(0, url.indexOf("?")));
    }
    if (production && !read.flag("ALLOW_SQLITE", production)) {
      read.problem(
        "DATABASE_URL",
        "production needs MySQL; SQLite serves one process only (ALLOW_SQLITE=1 to use it all the same)",
      );
    }
    return url;
  }
  const parsed = readMysqlUrl(url);
  if (parsed?.first.protocol !== "mysql:") {
    read.problem("DATABASE_URL", "must be sqlite:PATH or mysql://user:password@host:port,host:port/database");
    return url;
  }
  const names = parsed.hosts.map((host) => addressOf(host).toLowerCase());
  if (new Set(names).size < names.length)
    read.problem("DATABASE_URL", "names a host twice", "mysql://...@db1,db2/auth");
  for (const wrong of problemsOfQuery(parsed.first)) {
    read.problem("DATABASE_URL", wrong, "mysql://...?ssl-mode=REQUIRED");
  }
  if (parsed.sslMode === "DISABLED" && read.text("DATABASE_SSL_CA") !== null) {
    read.problem(
      "DATABASE_URL",
      "ssl-mode=DISABLED and DATABASE_SSL_CA exclude each other",
      "mysql://...?ssl-mode=VERIFY_CA",
    );
  }
  return url;
}

/** @returns the path of a SQLite file, empty where the URL names none; null: it is a URL of MySQL */
export function sqliteFileOf(databaseUrl: string): string | null {
  return databaseUrl.startsWith("sqlite:") ? databaseUrl.slice("sqlite:".length).replace(/^\/\/(?=[/.])/, "") : null;
}
