import type { Page } from "playwright-core";

/** A device with a fingerprint reader. */
export interface FingerprintReader {
  /** Does it recognise its user? */
  setUser(isThere: boolean): Promise<void>;
  /** Does its user touch it, whatever it is asked? */
  setPresence(isThere: boolean): Promise<void>;
  /** How many passkeys it has. */
  count(): Promise<number>;
}

/** The device of this page, whose user touches it whenever it is asked. */
export async function giveAuthenticator(page: Page): Promise<FingerprintReader> {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return {
    async setUser(isThere) {
      await session.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: isThere });
    },
    async setPresence(isThere) {
      await session.send("WebAuthn.setAutomaticPresenceSimulation", { authenticatorId, enabled: isThere });
    },
    async count() {
      return (await session.send("WebAuthn.getCredentials", { authenticatorId })).credentials.length;
    },
  };
}
