import { createHash } from "node:crypto";
import type { Context } from "../context.ts";
import { outboundFetch } from "../net/outbound.ts";

const timeoutMs = 1_000;
/** An answer has some thousand lines at most. */
const maxBytes = 512 * 1024;

/**
 * Was this password seen in a breach? Asks the service of PASSWORD_BREACH_URL (the range format of Have I Been Pwned) for all hashes that
 * begin as this one does: it learns 20 bits of 160. Where it does not answer, no password is refused for it.
 * @returns false too where no such service is configured
 */
export async function isBreached(ctx: Pick<Context, "config" | "log" | "metrics">, password: string): Promise<boolean> {
  const { passwordBreachUrl, outboundAllowedHosts } = ctx.config;
  if (passwordBreachUrl === null) return false;
  const hash = createHash("sha1").update(password).digest("hex").toUpperCase();
  const [prefix, rest] = [hash.slice(0, 5), hash.slice(5)];
  try {
    // with padding the length of the answer does not tell the prefix
    const headers = { "add-padding": "true", "user-agent": "auth-service" };
    const url = `${passwordBreachUrl.replace(/\/$/, "")}/${prefix}`;
    const { status, body } = await outboundFetch(outboundAllowedHosts, url, { headers, timeoutMs, maxBytes });
    if (status !== 200) throw new Error(`it answered ${status}`);
    return body
      .toString("latin1")
      .split(/\r?\n/)
      .some((line) => isSeen(line, rest));
  } catch (error) {
    ctx.metrics.breachChecksFailed.inc();
    ctx.log.warn({ err: error }, "the service of PASSWORD_BREACH_URL did not answer: the password was not looked up");
    return false;
  }
}

/** A line is the rest of a hash and how often it was seen: never, where it is padding. */
function isSeen(line: string, rest: string): boolean {
  const [found = "", count = "0"] = line.trim().toUpperCase().split(":");
  return found === rest && Number(count) > 0;
}
