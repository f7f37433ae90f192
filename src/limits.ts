import { hash } from "node:crypto";
import { isIPv6 } from "node:net";
import { setTimeout } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { afterCall } from "./call.ts";
import type { Clock } from "./clock.ts";
import { AuthError } from "./errors.ts";
import { goesOn, type LimitLook, type LimitStore, type Looked } from "./store/limits.ts";

/** So long a link for a new password works (milliseconds). */
export const RESET_LINK_LIFE_MS = 10 * 60_000;

/** Uses allowed in a window, counted in the store over all replicas. */
const rules = {
  /** At the login: per account, and per account and known device. */
  wrong_password: { limit: 10, windowMs: 15 * 60_000 },
  /** Given to change it, per account: only who is signed in to the account can use these up. */
  wrong_current_password: { limit: 10, windowMs: 15 * 60_000 },
  /** Logins without a known device, per account and the network from which its password was set; opened by that. */
  login_after_new_password: { limit: 10, windowMs: 3_600_000 },
  /** Per e-mail address. */
  sign_up: { limit: 100, windowMs: 3_600_000 },
  /** Per account and network that asks. */
  password_reset: { limit: 5, windowMs: 3_600_000 },
  /** Per account, from all networks together. */
  password_reset_of_account: { limit: 15, windowMs: 3_600_000 },
  /** Per account, beyond those: one in the life of a link. */
  password_reset_link: { limit: 1, windowMs: RESET_LINK_LIFE_MS },
  /** Links that verify an address: per address and network that asks, and per address from all networks together. */
  email_verification: { limit: 5, windowMs: 3_600_000 },
  email_verification_of_address: { limit: 15, windowMs: 3_600_000 },
  /** Links to another address: per account that is to have it, and per address from all accounts together. */
  email_change: { limit: 10, windowMs: 3_600_000 },
  email_change_to_address: { limit: 15, windowMs: 3_600_000 },
  /** Per form that has a mail sent, and address: a second press has no second one sent. */
  mail_of_form: { limit: 1, windowMs: 60_000 },
  /** Typed in on the device page, per account: of 20^8 codes ten in a quarter of an hour (RFC 8628 section 5.1). */
  wrong_user_code: { limit: 10, windowMs: 15 * 60_000 },
  /**
   * Codes of the second step, per account, per account and known device, and per session that stands for the password: only who has the right
   * password, or the session, can use these up. Recovery codes have a count of their own, so that they stay a way in.
   */
  second_factor: { limit: 10, windowMs: 15 * 60_000 },
  /** The same codes of all sessions of an account together, and of all its known devices in which it never gave a second factor. */
  second_factor_of_many: { limit: 20, windowMs: 15 * 60_000 },
  recovery_code: { limit: 10, windowMs: 15 * 60_000 },
  /** Answers of one passkey: its id is known to its owner's devices alone. */
  passkey: { limit: 10, windowMs: 15 * 60_000 },
  /** Clients that register themselves, per network. */
  client_registration: { limit: 300, windowMs: 3_600_000 },
  /** Of those the ones without an initial access token, per network and of all networks. */
  open_registration: { limit: 30, windowMs: 3_600_000 },
  open_registration_total: { limit: 300, windowMs: 3_600_000 },
  /** Per client and network. */
  failed_client_authentication: { limit: 200, windowMs: 60_000 },
} as const;

/** Another replica may clear these or give a use back, as a right password or its reset does. */
const cleared: ReadonlySet<LimitRule> = new Set([
  ...(["wrong_password", "wrong_current_password", "wrong_user_code"] as const),
  ...(["second_factor", "second_factor_of_many", "recovery_code", "passkey"] as const),
  ...(["password_reset", "password_reset_of_account", "password_reset_link", "mail_of_form"] as const),
]);
/** So long a limit that may be cleared elsewhere is taken for used up without another look. */
const rememberedMs = 1_000;

/** More guesses than these do not wait for those at the same subject. */
const maxWaiting = 50;

export type LimitRule = keyof typeof rules;

export class Limits {
  readonly #store: LimitStore;
  readonly #clock: Clock;
  readonly #hit: (rule: LimitRule) => void;
  /** What was found used up, and until when: refused without asking the store again. Bounded. */
  readonly #usedUp = new LRUCache<string, number>({ max: 10_000 });

  /** The guesses that run here or wait, by subject, and when the last of them is done. */
  readonly #guessing = new Map<string, { last: Promise<void>; count: number }>();

  /** @param hit told of each refusal */
  constructor(store: LimitStore, clock: Clock, hit: (rule: LimitRule) => void = () => {}) {
    this.#store = store;
    this.#clock = clock;
    this.#hit = hit;
  }

  /** Counts one use. @throws AuthError rate_limited when the window's uses are used up */
  async take(rule: LimitRule, subject: string): Promise<void> {
    const endsAt = await this.#count(rule, subject);
    if (endsAt !== null) throw this.#refused(rule, endsAt - this.#clock.now());
  }

  /** @returns null when counted, else when the window ends */
  async #count(rule: LimitRule, subject: string): Promise<number | null> {
    const known = this.#usedUpUntil(rule, subject);
    if (known !== null) return known;
    const { limit, windowMs } = rules[rule];
    const key = keyOf(rule, subject);
    const endsAt = await this.#store.take(key, limit, windowMs, this.#clock.now());
    if (endsAt !== null) this.#remember(rule, key, endsAt);
    return endsAt;
  }

  #remember(rule: LimitRule, key: string, endsAt: number): void {
    this.#usedUp.set(key, endsAt, cleared.has(rule) ? { ttl: rememberedMs } : {});
  }

  /**
   * Runs `guess`, and counts it where it turns out wrong: a right one writes nothing. The guesses at one subject run one at a time here, so
   * that with guesses in flight at several replicas at most one a replica is let through beyond the limit.
   * @param options.isWrong whether an error of `guess` says so
   * @param options.look reads what the guess is compared with, and looks at the limit by the same statement
   * @throws AuthError rate_limited: the uses are used up, or too many guesses wait
   */
  async guess<Found, T>(
    rule: LimitRule,
    subject: string,
    guess: (found: Found) => Promise<T>,
    options: {
      readonly isWrong: (error: unknown) => boolean;
      readonly look: (limit: LimitLook) => Promise<Looked<Found>>;
    },
  ): Promise<T> {
    const key = keyOf(rule, subject);
    this.refuseWhenUsedUp(rule, subject);
    using _turn = await this.#turnOf(rule, key);
    this.refuseWhenUsedUp(rule, subject);
    const { limit, windowMs } = rules[rule];
    const { found, usedUpUntil } = await options.look({ key, limit, windowMs, now: this.#clock.now() });
    if (usedUpUntil !== null) {
      this.#remember(rule, key, usedUpUntil);
      throw this.#refused(rule, usedUpUntil - this.#clock.now());
    }
    try {
      return await guess(found);
    } catch (error) {
      // counted even if the call has ended: a guess is one whether its caller waits for the answer or not
      if (options.isWrong(error)) await afterCall(() => this.#count(rule, subject));
      throw error;
    }
  }

  /** Waits for the guesses before it. Dispose it to let the next one run. */
  async #turnOf(rule: LimitRule, key: string): Promise<Disposable> {
    const guessing = this.#guessing.get(key) ?? { last: Promise.resolve(), count: 0 };
    if (guessing.count > maxWaiting) throw this.#refused(rule, 2_000);
    this.#guessing.set(key, guessing);
    guessing.count++;
    const before = guessing.last;
    const { promise, resolve } = Promise.withResolvers<void>();
    guessing.last = promise;
    await before;
    return {
      [Symbol.dispose]: () => {
        guessing.count--;
        if (guessing.count === 0) this.#guessing.delete(key);
        resolve();
      },
    };
  }

  /**
   * Like `take` for what must answer the same either way.
   * @returns null when counted, else for how long the window has run (milliseconds)
   */
  async tryTake(rule: LimitRule, subject: string): Promise<number | null> {
    const endsAt = await this.#count(rule, subject);
    if (endsAt === null) return null;
    this.#hit(rule);
    return this.#clock.now() - (endsAt - rules[rule].windowMs);
  }

  /**
   * Has a mail sent, unless the same form was sent with this address a moment ago, as by a double click. A press that fails is none: the next one
   * has it sent.
   * @param form names it; null: it has no name
   */
  async oncePerForm(form: string | null, email: string, send: () => Promise<void>): Promise<void> {
    if (form === null) return send();
    const subject = `${form}\n${email}`;
    try {
      if ((await this.#count("mail_of_form", subject)) !== null) return;
      await send();
    } catch (error) {
      // it may be counted though its answer was lost; rather a mail too many than none
      await afterCall(() => this.#forgetPress(subject));
      throw error;
    }
  }

  /** The connection that failed may be one of many that did: the next one is tried too. */
  async #forgetPress(subject: string): Promise<void> {
    for (const wait of [0, 50, 200]) {
      await setTimeout(wait);
      const isForgotten = await this.clear("mail_of_form", subject).then(
        () => true,
        () => false,
      );
      if (isForgotten) return;
    }
  }

  /** Opens the uses of a limit that has none unless it was opened (`takeOpened`). */
  async open(rule: LimitRule, subject: string): Promise<void> {
    const key = keyOf(rule, subject);
    this.#usedUp.delete(key);
    await this.#store.open(key, rules[rule].windowMs, this.#clock.now());
  }

  /** Counts one use of a limit that was opened. @returns false: it was not, or its uses are used up */
  async takeOpened(rule: LimitRule, subject: string): Promise<boolean> {
    const key = keyOf(rule, subject);
    const now = this.#clock.now();
    if (this.#usedUp.has(key)) return false;
    if (await this.#store.takeOpened(key, rules[rule].limit, now)) return true;
    this.#usedUp.set(key, now, { ttl: rememberedMs });
    return false;
  }

  /** Refuses what this replica has already seen used up; costs no query. @throws AuthError rate_limited */
  refuseWhenUsedUp(rule: LimitRule, subject: string): void {
    const endsAt = this.#usedUpUntil(rule, subject);
    if (endsAt !== null) throw this.#refused(rule, endsAt - this.#clock.now());
  }

  #usedUpUntil(rule: LimitRule, subject: string): number | null {
    if (this.#usedUp.size === 0) return null;
    const key = keyOf(rule, subject);
    const endsAt = this.#usedUp.get(key);
    if (endsAt === undefined) return null;
    const now = this.#clock.now();
    if (goesOn(endsAt, now, rules[rule].windowMs)) return endsAt;
    this.#usedUp.delete(key);
    return null;
  }

  #refused(rule: LimitRule, leftMs: number): AuthError {
    this.#hit(rule);
    return tooMany(leftMs);
  }

  /**
   * Checks a guess that was counted before, so that parallel guesses at several replicas cannot outrun the count, and takes the count back unless
   * the guess turns out wrong: a fault says nothing of it.
   * @param counts the uses that were taken for it
   * @param check finds null, or throws, where the guess is wrong
   * @param isWrong whether an error says so
   * @param onFault told where the count could not be taken back: the guess is right all the same
   */
  async checkCounted<Found>(
    counts: readonly (readonly [rule: LimitRule, subject: string])[],
    check: () => Promise<Found>,
    { isWrong, onFault }: { readonly isWrong: (error: unknown) => boolean; readonly onFault: (error: unknown) => void },
  ): Promise<Found> {
    const takeBack = () =>
      afterCall(() => Promise.all(counts.map(([rule, subject]) => this.giveBack(rule, subject)))).catch(onFault);
    try {
      const found = await check();
      if (found !== null) await takeBack();
      return found;
    } catch (error) {
      if (!isWrong(error)) await takeBack();
      throw error;
    }
  }

  /** Takes one use back: of what turned out to be none. */
  async giveBack(rule: LimitRule, subject: string): Promise<void> {
    const key = keyOf(rule, subject);
    this.#usedUp.delete(key);
    await this.#store.giveBack(key);
  }

  /** Forgets every use of the window, as after a right password. */
  async clear(rule: LimitRule, subject: string): Promise<void> {
    const key = keyOf(rule, subject);
    this.#usedUp.delete(key);
    await this.#store.clear(key);
  }
}

function tooMany(leftMs: number): AuthError {
  const retryAfter = Math.max(1, Math.ceil(leftMs / 1000));
  return new AuthError("rate_limited", `too many attempts; try again in ${retryAfter} seconds`, { retryAfter });
}

function keyOf(rule: LimitRule, subject: string): string {
  return hash("sha256", `${rule}\n${subject}`, "hex");
}

/** An address without port, brackets and zone: a proxy may name it with them. */
export function bareAddress(address: string): string {
  const [, bracketed, beforePort] = /^\[(.+)\](?::\d+)?$|^([\d.]+):\d+$/.exec(address) ?? [];
  const [bare = ""] = (bracketed ?? beforePort ?? address).split("%");
  return bare;
}

/** What limits count as one network, however it is spelt: an IPv4 address, or the /64 of an IPv6 address. */
export function networkOf(address: string): string {
  const bare = bareAddress(address);
  if (!isIPv6(bare)) return bare;
  const groups = groupsOf(bare);
  if (groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff") {
    return groups
      .slice(6)
      .map((group) => Number.parseInt(group, 16))
      .flatMap((two) => [two >> 8, two & 255])
      .join(".");
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/** The eight groups of an IPv6 address, in the one spelling that the URL standard has for each. */
function groupsOf(address: string): string[] {
  const [head = "", tail = ""] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [before, after] = [head, tail].map((part) => part.split(":").filter((group) => group !== "")) as [
    string[],
    string[],
  ];
  return [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
}
