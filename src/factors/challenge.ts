import { randomBytes } from "node:crypto";
import type { Context } from "../context.ts";

/** An authenticator may take so long to answer (milliseconds). */
export const CHALLENGE_MS = 10 * 60_000;

/** Bytes of a challenge: random ones, when it ends (epoch seconds), then its MAC of 32. Together they need no base64url padding. */
const randomLength = 17;
const endLength = 5;
const challengeForm = /^[A-Za-z0-9_-]{72}$/;

/**
 * A challenge of WebAuthn (section 13.4.3), base64url. Nothing is stored until it is answered: this service knows its own ones by their MAC.
 * @param bound what its answer must come with: what it is for, and the form of a browser
 */
export function newChallenge(ctx: Context, bound: string): string {
  const end = Buffer.alloc(endLength);
  end.writeUIntBE(Math.ceil((ctx.clock.now() + CHALLENGE_MS) / 1000), 0, endLength);
  const head = Buffer.concat([randomBytes(randomLength), end]);
  return Buffer.concat([head, macOf(ctx, head, bound)]).toString("base64url");
}

/** @returns when it ends (epoch milliseconds); null: this service did not make it for this, or it has ended */
export function endOfChallenge(ctx: Context, challenge: string, bound: string): number | null {
  if (!challengeForm.test(challenge)) return null;
  const bytes = Buffer.from(challenge, "base64url");
  const head = bytes.subarray(0, randomLength + endLength);
  const mac = bytes.subarray(head.length).toString("base64url");
  const endsAt = head.readUIntBE(randomLength, endLength) * 1000;
  if (endsAt <= ctx.clock.now()) return null;
  return ctx.derivedKeys.challenges.verifies(textOf(head, bound), mac) ? endsAt : null;
}

/** When a challenge was made (epoch milliseconds, at most a second too early). @param endsAt as of `endOfChallenge` */
export function startOfChallenge(endsAt: number): number {
  return endsAt - CHALLENGE_MS - 1000;
}

function macOf(ctx: Context, head: Buffer, bound: string): Buffer {
  return Buffer.from(ctx.derivedKeys.challenges.of(textOf(head, bound)), "base64url");
}

function textOf(head: Buffer, bound: string): string {
  return `${head.toString("base64url")}\n${bound}`;
}
