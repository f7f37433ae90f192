import type { Reader } from "./reader.ts";

/** Schemes that a browser, or the machine it runs on, acts upon by itself: an answer sent there would run, or be read by others. */
const actedUpon: readonly string[] = [
  ...["http", "https", "ws", "wss", "ftp", "ftps", "sftp", "file", "filesystem", "data", "blob"],
  ...["about", "view-source", "javascript", "vbscript", "livescript", "mocha", "jar", "feed"],
  ...["mailto", "tel", "sms", "callto", "intent", "chrome", "chrome-extension", "moz-extension"],
  ...["safari-extension", "edge", "resource", "devtools", "urn", "cid", "mid", "ssh", "telnet"],
  ...["ldap", "ldaps", "smb", "nfs", "search-ms", "ms-msdt", "ms-appinstaller", "shell", "res"],
  ...["mhtml"],
];

/** PRIVATE_URI_SCHEMES (RFC 8252 section 8.4). @returns in lower case, without a dot */
export function readPrivateUriSchemes(read: Reader): string[] {
  const schemes = read.list("PRIVATE_URI_SCHEMES").map((scheme) => scheme.toLowerCase());
  for (const scheme of schemes) {
    const problem = schemeProblem(scheme);
    if (problem !== null) read.problem("PRIVATE_URI_SCHEMES", `${JSON.stringify(scheme)} ${problem}`);
  }
  return schemes;
}

function schemeProblem(scheme: string): string | null {
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) return "is no URI scheme: name it without colon and slashes";
  if (scheme.includes(".")) return "has a dot: every client may register it";
  return actedUpon.includes(scheme) ? "is no scheme of an application" : null;
}
