import type { Context } from "../context.ts";
import { pause, withDeadline } from "../deadline.ts";
import type { AuthEvent } from "../events.ts";
import { LONGEST_MAIL_PAUSE_MS, OLDEST_MAIL_MS, type QueuedMail } from "../store/mail.ts";
import { type Mail, mailOf } from "./mail.ts";
import { MailError, type MailTransport } from "./smtp.ts";

/** How often mails of other replicas, and those that failed, are looked for (milliseconds). */
const pollMs = 2_000;
/** A replica that ends in the middle of a mail keeps it from the others for so long (milliseconds): longer than any attempt. */
const claimMs = 60_000;
/** Of one attempt (milliseconds). */
const attemptMs = 45_000;
const atOnce = 4;
/** A mail that could not be sent for a day is set aside (milliseconds), but not before it was tried so often: it may have waited for the service itself. */
const givenUpAfterMs = 24 * 3_600_000;
const leastAttempts = 10;
/** A server that was away is asked again after so long at most (milliseconds). */
const longestOutageWaitMs = 30_000;

interface SenderOptions {
  /** Waits after a failure, doubled with each (milliseconds). */
  readonly firstWaitMs?: number;
}

export interface MailSender {
  /** The server may take the mails under way within `graceMs` milliseconds. They are given up then, for another replica. */
  close(graceMs: number): Promise<void>;
}

/**
 * Sends the mails that wait, each by one replica at a time. A mail whose sending is marked is never sent again; one that was sent and not
 * marked, because the replica ended between the two, goes out again with the same message id.
 */
export function startMailSender(
  ctx: Context,
  transport: MailTransport,
  { firstWaitMs = 5_000 }: SenderOptions = {},
): MailSender {
  const closing = new AbortController();
  const cutOff = new AbortController();
  const sender = new Sender(ctx, transport, firstWaitMs, cutOff.signal);
  let wake = () => {};
  const stop = ctx.store.mail.onAppend(() => wake());
  const run = async () => {
    while (!closing.signal.aborted) {
      const woken = new AbortController();
      wake = () => woken.abort();
      const found = await sender.turn();
      if (!found) await pause(sender.waitMs(pollMs), AbortSignal.any([closing.signal, ...sender.wakers(woken.signal)]));
    }
  };
  const running = run();
  return {
    async close(graceMs) {
      stop();
      closing.abort();
      const grace = setTimeout(() => cutOff.abort(), graceMs);
      await running;
      clearTimeout(grace);
      transport.close();
    },
  };
}

class Sender {
  readonly #ctx: Context;
  readonly #transport: MailTransport;
  readonly #firstWaitMs: number;
  readonly #cutOff: AbortSignal;
  /** Failures of the server in a row. */
  #outages = 0;
  /** Mails that were sent and are not marked yet, as while the database is away: they are not sent again. */
  readonly #unmarked = new Set<string>();
  /** What was said of the server last: it is said once. */
  #said: string | null = null;

  /** @param cutOff gives up the mails under way */
  constructor(ctx: Context, transport: MailTransport, firstWaitMs: number, cutOff: AbortSignal) {
    this.#ctx = ctx;
    this.#transport = transport;
    this.#firstWaitMs = firstWaitMs;
    this.#cutOff = cutOff;
  }

  waitMs(usual: number): number {
    return this.#outages === 0 ? usual : Math.min(longestOutageWaitMs, this.#backoff(this.#outages));
  }

  /** While the server is away, a new mail does not end the wait for it. */
  wakers(woken: AbortSignal): AbortSignal[] {
    return this.#outages === 0 ? [woken] : [];
  }

  /** @returns whether there may be more */
  async turn(): Promise<boolean> {
    const { store, clock, log } = this.#ctx;
    try {
      const now = clock.now();
      // a server that was away is tried with one
      const mails = await store.mail.claim(now, now + claimMs, this.#outages === 0 ? atOnce : 1);
      await Promise.all(mails.map((mail) => this.#send(mail)));
      return mails.length > 0 && this.#outages === 0;
    } catch (error) {
      log.warn({ err: error }, "sending mails failed; it is tried again later");
      return false;
    }
  }

  async #send(queued: QueuedMail): Promise<void> {
    const { store, clock, metrics, log } = this.#ctx;
    const { eventId, event } = queued;
    if (event instanceof Error) {
      log.error({ err: event, eventId }, "a mail cannot be opened: no key of this replica sealed it");
      return store.mail.failed(eventId, "no key opens it", clock.now() + LONGEST_MAIL_PAUSE_MS);
    }
    if (clock.now() - queued.createdAt > OLDEST_MAIL_MS) {
      log.warn({ eventId }, "a mail has waited for more than a week and is set aside");
      metrics.mailsParked.inc();
      return store.mail.failed(eventId, "it has waited for more than a week", null);
    }
    const mail = this.#written(event);
    if (mail === null) return store.mail.failed(eventId, "its link has expired, or it cannot be written", null);
    if (!this.#unmarked.has(eventId)) {
      try {
        await withDeadline(attemptMs, [this.#cutOff], () => this.#transport.send(mail));
      } catch (error) {
        if (this.#cutOff.aborted) return store.mail.failed(eventId, "the service ended meanwhile", clock.now());
        return this.#failed(queued, error instanceof MailError ? error : new MailError("away", String(error)));
      }
      this.#unmarked.add(eventId);
      metrics.mailsSent.inc();
    }
    await store.mail.sent(eventId, clock.now());
    this.#unmarked.delete(eventId);
    if (this.#said !== null) log.info({}, "the SMTP server takes mails again");
    this.#outages = 0;
    this.#said = null;
  }

  /** Null: no mail is sent of it (any more). */
  #written(event: AuthEvent): Mail | null {
    const { clock, config, log } = this.#ctx;
    try {
      return mailOf(event, config.issuer, clock.now(), config.brand);
    } catch (error) {
      log.error({ err: error, eventId: event.eventId }, "a mail cannot be written");
      return null;
    }
  }

  async #failed({ eventId, attempts, createdAt }: QueuedMail, error: MailError): Promise<void> {
    const { store, clock, metrics, log } = this.#ctx;
    const now = clock.now();
    metrics.mailsFailed.inc();
    this.#say(error);
    const isOld = now - createdAt > givenUpAfterMs && attempts + 1 >= leastAttempts;
    const isOver = error.failure === "never" || isOld;
    const wait = error.failure === "later" ? this.#backoff(attempts + 1) : this.waitMs(0);
    await store.mail.failed(eventId, error.message, isOver ? null : now + wait);
    if (!isOver) return;
    metrics.mailsParked.inc();
    log.error({ eventId, reason: error.message }, "a mail cannot be sent and was set aside");
  }

  /** What is wrong with the server is said once, until it takes a mail. */
  #say(error: MailError): void {
    const { log } = this.#ctx;
    if (error.failure === "never" || error.failure === "later") return;
    this.#outages += 1;
    if (this.#said === error.failure) return;
    this.#said = error.failure;
    if (error.failure === "login")
      log.error({ err: error }, "the SMTP server refuses the user name and password of SMTP_URL");
    else log.warn({ err: error }, "the SMTP server is away; mails wait");
  }

  #backoff(failures: number): number {
    return (
      Math.min(LONGEST_MAIL_PAUSE_MS, this.#firstWaitMs * 2 ** Math.min(failures - 1, 12)) * (0.75 + Math.random() / 4)
    );
  }
}
