/** Does a host name a loopback interface: localhost, 127.0.0.0/8 or ::1, with or without brackets (RFC 8252 section 7.3)? */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
