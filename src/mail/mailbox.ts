import { open } from "node:fs/promises";
import { Eta } from "eta";
import type { Brand } from "../config/brand.ts";
import { eventOfJson } from "./event-of-json.ts";
import { type Mail, mailOf } from "./mail.ts";

/** Of the end of an events file so much is read (bytes). */
const readBytes = 512 * 1024;
const shownMails = 100;

const eta = new Eta({ views: import.meta.dirname, cache: true });

export interface ShownMail extends Mail {
  /** Epoch milliseconds. */
  readonly at: number;
}

/** The newest mails of an events file, as they would be sent, the newest first. A file that is not there has none. */
export async function readMailbox(file: string, issuer: string, brand: Brand | null): Promise<ShownMail[]> {
  const lines = (await endOf(file)).split("\n").reverse();
  const mails: ShownMail[] = [];
  for (const line of lines) {
    const event = eventOf(line);
    if (event === null) continue;
    // as it was when the event happened: a link that has expired is shown too
    const mail = mailOf(event, issuer, event.timestamp, brand);
    if (mail !== null) mails.push({ ...mail, at: event.timestamp });
    if (mails.length === shownMails) break;
  }
  return mails;
}

/** The page that lists mails. */
export function mailboxPage(mails: readonly ShownMail[]): string {
  return eta.render("./mailbox", { mails, timeText: (at: number) => new Date(at).toISOString() });
}

async function endOf(file: string): Promise<string> {
  const handle = await open(file).catch(() => null);
  if (handle === null) return "";
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - readBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - start), 0, size - start, start);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Null: the line is empty, cut off, or no event. */
function eventOf(line: string) {
  try {
    return eventOfJson((JSON.parse(line) as { event: unknown }).event);
  } catch {
    return null;
  }
}
