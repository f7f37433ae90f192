/** `ssl-mode` of a MySQL URL, as MySQL's own clients name it. PREFERRED is not supported: it would fall back to an unencrypted connection. */
export const SSL_MODES = ["DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] as const;
export type SslMode = (typeof SSL_MODES)[number];

/** @returns null where the URL has no such parameter, or one that `problemsOfQuery` names */
export function sslModeOf(url: URL): SslMode | null {
  const given = url.searchParams.get("ssl-mode")?.toUpperCase();
  return SSL_MODES.find((mode) => mode === given) ?? null;
}

/** What is wrong with the parameters of a MySQL URL. */
export function problemsOfQuery(url: URL): string[] {
  return [...url.searchParams].flatMap(([name, value]) => {
    if (name !== "ssl-mode") return [`the parameter ${JSON.stringify(name)} is not known; ssl-mode is`];
    return sslModeOf(url) === null ? [`ssl-mode must be ${SSL_MODES.join(", ")}, not ${JSON.stringify(value)}`] : [];
  });
}
