import { isIP } from "node:net";
import { isOrigin } from "./addresses.ts";
import type { Reader } from "./reader.ts";

/** For whom passkeys are made (WebAuthn: relying party). */
export interface PasskeyParty {
  /** A domain. */
  readonly rpId: string;
  /** Where they are used: the issuer's own origin first. */
  readonly origins: readonly string[];
}

/** PASSKEY_RP_ID and PASSKEY_ORIGINS. @returns null: the issuer's host is an IP address, for which browsers make no passkeys */
export function readPasskeys(read: Reader, issuer: string): PasskeyParty | null {
  const { hostname, origin } = new URL(URL.canParse(issuer) ? issuer : "http://localhost");
  const rpId = read.text("PASSKEY_RP_ID") ?? hostname;
  const others = read.list("PASSKEY_ORIGINS");
  for (const other of others) {
    const isApp = /^(android|ios):[A-Za-z0-9:._-]+$/.test(other);
    if (!isApp && !(isOrigin(other) && other.startsWith("https:"))) {
      read.problem("PASSKEY_ORIGINS", `${JSON.stringify(other)} is neither an https origin nor one of an app`);
    }
  }
  if (isIP(hostname.replace(/^\[|\]$/g, "")) !== 0) {
    const none = "an issuer whose host is an IP address has no passkeys: leave it out, or give ISSUER a host name";
    if (rpId !== hostname) read.problem("PASSKEY_RP_ID", none);
    if (others.length > 0) read.problem("PASSKEY_ORIGINS", none);
    return null;
  }
  const isAbove = rpId.includes(".") && hostname.endsWith(`.${rpId}`);
  if (rpId !== hostname && !isAbove) {
    read.problem("PASSKEY_RP_ID", `${JSON.stringify(rpId)} is neither ${hostname} nor a domain above it`, hostname);
  }
  return { rpId, origins: [origin, ...others] };
}
