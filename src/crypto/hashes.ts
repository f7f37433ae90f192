import { createHash, randomBytes } from "node:crypto";

/** 256 bits from the system's generator, base64url: codes, session cookies, reset tokens. */
export function randomToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What is stored in the place of a random token or a client secret: SHA-256, hex. */
export function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
