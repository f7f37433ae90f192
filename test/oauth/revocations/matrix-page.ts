/** What one cause did to one credential. */
export interface Cell {
  readonly cause: string;
  readonly credential: string;
  readonly outcome: "refused" | "stays good" | "not applicable" | "still accepted" | "wrongly refused";
  /** From the acknowledgement on one replica to the first refusal on the other. */
  readonly ms?: number;
  readonly reason?: string;
}

export function table(causes: readonly string[], credentials: readonly string[], cells: readonly Cell[]): string {
  const textOf = (cause: string, credential: string) => {
    const cell = cells.find((each) => each.cause === cause && each.credential === credential);
    if (cell === undefined) return "not run";
    return cell.outcome === "refused" ? `refused, ${Math.ceil(cell.ms ?? 0)} ms` : cell.outcome;
  };
  const rows = [
    ["cause", ...credentials],
    ...causes.map((cause) => [cause, ...credentials.map((credential) => textOf(cause, credential))]),
  ];
  const widths = ["cause", ...credentials].map((_, n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)));
  rows.splice(
    1,
    0,
    widths.map((width) => "-".repeat(width)),
  );
  return rows.map((row) => `| ${row.map((text, n) => text.padEnd(widths[n] ?? 0)).join(" | ")} |`).join("\n");
}

export function times(cells: readonly Cell[]): { max: number; median: number; count: number } {
  const all = cells.flatMap(({ outcome, ms }) => (outcome === "refused" && ms !== undefined ? [ms] : []));
  all.sort((x, y) => x - y);
  return {
    max: Math.ceil(all.at(-1) ?? 0),
    median: Math.ceil(all[Math.floor(all.length / 2)] ?? 0),
    count: all.length,
  };
}

/** docs/revocation.md. */
export function page(
  causes: readonly string[],
  credentials: readonly string[],
  cells: readonly Cell[],
  date: Date,
): string {
  const { max, median, count } = times(cells);
  const notes = cells.flatMap(({ cause, credential, reason }) =>
    reason === undefined ? [] : [`- ${cause}, ${credential}: ${reason}.`],
  );
  return `# Revocation

Which cause ends which credential, and how fast. A test writes this page (\`WRITE_DOCS=1 npm test -- test/oauth/revocations/matrix\`): change
\`test/oauth/revocations/matrix-page.ts\`, not this file.

## The bound

A revoked credential is refused on every replica within \`REVOCATION_MAX_STALENESS\` (1 second unless set) of the
acknowledgement. The replica that acknowledged the revocation refuses from that moment on. A replica that cannot read the database for longer than the bound answers
UNAVAILABLE (HTTP 503) about access tokens, neither active nor inactive. Sessions, codes and refresh tokens are read from the database at
each use, so they are refused at once everywhere. A disabled client is refused within the bound.

How it works: every cause writes rows into one table, in the transaction of its change. Each replica reads that table into memory every
100 ms while it is asked, else at three quarters of the bound. Of a token it keeps only the claims and the result of the signature check, never the decision. A row may become visible after one
with a higher id, for as long as a transaction may take, so each replica reads the newest rows again until no more can appear.
\`WatchRevocations\` sends the same rows to services that check tokens themselves; each response says up to when it is complete.

## Credentials

- **browser session**: the cookie of the login, on the login and consent pages and the authorization endpoint.
- **authorization code**: not yet redeemed.
- **device code**: allowed on the device page, not yet redeemed.
- **access token**: at this service's own resources, here \`/userinfo\`.
- **cached decision**: introspection of an access token that the same replica introspected just before the revocation.
- **exchanged token**: the token that a gateway got for the access token (RFC 8693), introspected by the service it is for.
- **refresh token**: at the token endpoint.
- **client's own token**: from client credentials, introspected.
- **Bearer caller of gRPC**: that token as the credentials of a call to the internal API.

## Measured

Two replicas on one MariaDB, ${date.toISOString().slice(0, 10)}. The cause happens on one replica, the credentials are tried on the
other. The time runs from the acknowledgement to the end of the first answer that refuses; afterwards none was accepted again. ${count} measurements: at most ${max} ms, median ${median} ms.

${table(causes, credentials, cells)}

${notes.join("\n")}${notes.length > 0 ? "\n\n" : ""}"Stays good" is a promise too: half a second later the credential still worked. Logout ends the authorizations of that browser's session, but for those with \`offline_access\`.
Password change, reset, disabling and deletion end everything of the user. Revoking an access token ends that token and the tokens it was
exchanged for. Revoking a refresh token, or using an old one or a code again, ends its authorization.
`;
}
