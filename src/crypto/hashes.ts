import { hash, randomBytes, timingSafeEqual } from "node:crypto";

/** 256 bits from the system's generator, base64url: codes, session cookies, reset tokens. */
export function randomToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What is stored instead of a random token or a client secret: SHA-256, hex. */
export function hashOf(token: string): string {
  return hash("sha256", token, "hex");
}

/** Compares two secrets, or two hashes of secrets, in a time that tells nothing but whether their lengths in bytes are equal. */
export function isSameSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
