import type { AuthEvent } from "../events.ts";

const times = ["createdAt", "expiresAt", "deletedAt"];
/** ProtoJSON leaves out what is empty. */
const empty = { email: "", locale: "", nickname: "", ipAddress: "", userAgent: "", detail: "" };

/** An event as its ProtoJSON says it: the form of events files, and of messages that a consumer decoded. */
export function eventOfJson(json: unknown): AuthEvent {
  const { timestamp, payload, ...head } = json as Record<string, string> & { payload: Record<string, string> };
  const read = Object.entries(payload).map(([name, value]) => [name, times.includes(name) ? Date.parse(value) : value]);
  const event = {
    ...head,
    timestamp: Date.parse(String(timestamp)),
    payload: { ...empty, ...Object.fromEntries(read) },
  };
  return event as unknown as AuthEvent;
}
