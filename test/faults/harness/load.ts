import { setTimeout as sleep } from "node:timers/promises";
import { APPLICATIONS, Client, type ClientId, type Session } from "./client.ts";
import type { Ledger } from "./ledger.ts";

/** Calls a second. */
export interface Rates {
  readonly signUps: number;
  readonly logins: number;
  readonly refreshes: number;
  readonly introspections: number;
  readonly signOuts: number;
}

/** About a third of what two cores can do beside MariaDB and Kafka: a password hash is most of a sign-up and of a login. */
export const MIXED: Rates = { signUps: 1, logins: 1, refreshes: 6, introspections: 12, signOuts: 0.3 };

const tickMs = 20;

/** Honest clients at an open rate: a call is due at its time, whether or not earlier ones were answered. */
export class Load {
  readonly ledger: Ledger;
  readonly client: Client;
  readonly sessions: Session[] = [];
  readonly #bases: () => readonly string[];
  readonly #accounts: { email: string; password: string; nickname: string }[] = [];
  readonly #running = new Set<Promise<unknown>>();
  /** A client whose answer was lost asks again so soon (milliseconds). */
  againMs = 300;
  #turn = 0;
  #stop: (() => void) | null = null;

  /** @param bases the listeners that a load balancer would choose from */
  constructor(ledger: Ledger, bases: () => readonly string[], patience?: number) {
    this.ledger = ledger;
    this.client = new Client(ledger, patience);
    this.#bases = bases;
  }

  /** Signs up users and signs them in. */
  async prepare(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const account = await this.client.signUp(this.base());
      if (account === null) throw new Error("a sign-up before the fault failed");
      this.#accounts.push(account);
      const session = await this.client.signIn(this.base(), account, n % 2 === 0 ? "rotating" : "portal-client");
      if (session === null) throw new Error("a login before the fault failed");
      this.sessions.push(session);
    }
  }

  base(): string {
    const bases = this.#bases();
    return bases[this.#turn++ % bases.length] ?? "";
  }

  start(rates: Rates = MIXED): void {
    const due: [number, () => Promise<unknown> | undefined][] = [
      [rates.signUps, () => this.#signUp()],
      [rates.logins, () => this.#signIn()],
      [rates.refreshes, () => this.#withSession((session) => this.#refresh(session))],
      [rates.introspections, () => this.#introspect()],
      [rates.signOuts, () => this.#signOut()],
    ];
    const from = performance.now();
    const done = due.map(() => 0);
    const timer = setInterval(() => {
      const seconds = (performance.now() - from) / 1_000;
      for (const [index, [rate, begin]] of due.entries()) {
        for (; (done[index] ?? 0) < Math.floor(seconds * rate); done[index] = (done[index] ?? 0) + 1) {
          this.#track(begin());
        }
      }
    }, tickMs);
    this.#stop = () => clearInterval(timer);
  }

  /** Runs the load for a time. */
  async during(seconds: number, rates: Rates = MIXED): Promise<void> {
    this.start(rates);
    await sleep(seconds * 1_000);
    await this.stop();
  }

  /** Begins no more calls, waits for those that run. */
  async stop(): Promise<void> {
    this.#stop?.();
    this.#stop = null;
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /**
   * After everything is healed: every session that was not signed out must get tokens, every one that was must not.
   * @returns sessions lost
   */
  async settle(): Promise<number> {
    await this.stop();
    for (const session of this.sessions) {
      if (session.ended === "asked") continue;
      const calls = this.ledger.calls.length;
      for (let tries = 0; tries < 30 && !(await this.client.refresh(this.base(), session)); tries++) {
        const last = this.ledger.calls[calls + tries];
        if (last?.outcome !== "unknown") break;
        await sleep(this.againMs);
      }
      if (session.ended === "no" && !session.lost) await this.client.introspect(this.base(), session);
    }
    return this.sessions.filter(({ lost }) => lost).length;
  }

  #track(work: Promise<unknown> | undefined): void {
    if (work === undefined) return;
    const tracked = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  async #signUp(): Promise<void> {
    const account = await this.client.signUp(this.base());
    if (account !== null) this.#accounts.push(account);
  }

  async #signIn(): Promise<void> {
    const account = this.#accounts[Math.floor(Math.random() * this.#accounts.length)];
    if (account === undefined) return;
    const ids = Object.keys(APPLICATIONS) as ClientId[];
    const clientId = ids[this.#turn % ids.length] ?? "rotating";
    const session = await this.client.signIn(this.base(), account, clientId);
    if (session !== null) this.sessions.push(session);
  }

  #withSession(work: (session: Session) => Promise<void>): Promise<void> | undefined {
    const free = this.sessions.filter(({ busy, ended, lost }) => !busy && ended === "no" && !lost);
    const session = free[Math.floor(Math.random() * free.length)];
    if (session === undefined) return undefined;
    session.busy = true;
    return work(session).finally(() => {
      session.busy = false;
    });
  }

  /** Until it has an answer, as a client does that would lose its session otherwise. */
  async #refresh(session: Session): Promise<void> {
    while (!(await this.client.refresh(this.base(), session))) {
      if (session.lost || this.#stop === null) return;
      await sleep(this.againMs);
    }
  }

  #introspect(): Promise<unknown> | undefined {
    const soon = performance.now() + 10_000;
    const good = this.sessions.filter(({ ended, accessExpiresAt }) => ended === "no" && accessExpiresAt > soon);
    const session = good[Math.floor(Math.random() * good.length)];
    return session && this.client.introspect(this.base(), session);
  }

  /** Leaves the first sessions alone, which rows rely on. */
  #signOut(): Promise<void> | undefined {
    if (this.sessions.filter(({ ended }) => ended === "no").length < 8) return undefined;
    return this.#withSession(async (session) => {
      while (!(await this.client.signOut(this.base(), session))) {
        if (this.#stop === null) return;
        await sleep(this.againMs);
      }
    });
  }
}
