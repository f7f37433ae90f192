import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import type { Lease } from "../store/leases.ts";
import type { LogoutNotice } from "../store/logout-notices.ts";

const everyMs = 1_000;
/** While none was sent, or tried, for `busyMs`, they are asked for less often. */
const restingMs = 10_000;
const busyMs = 60_000;
const leaseMs = 15_000;
const clientsAtOnce = 64;
/** Of one client. */
const noticesAtOnce = 4;
/** Then other clients that wait have their turn. */
const roundsInTurn = 8;

/**
 * Delivers back-channel logout notices, in one replica at a time: every second, every five while there are none, and at once after a
 * logout in this replica. Each client's
 * are delivered by themselves, so that one that does not answer keeps no other waiting.
 * @param deliver sends one notice and writes down what became of it
 */
export function startLogoutNotices(
  ctx: Context,
  deliver: (notice: LogoutNotice) => Promise<void>,
): { close(): Promise<void> } {
  const owner = randomUUID();
  const { leases, logoutNotices } = ctx.store;
  const turns = new Map<string, Promise<void>>();
  /** The client whose turn began last. */
  let last = "";
  let lease: Lease | null = null;
  let closing = false;
  let askedAt = 0;
  let busyUntil = 0;

  const warn = (error: unknown) =>
    ctx.log.warn({ err: error }, "delivering back-channel logout notices failed; it is tried again later");

  async function serve(clientId: string): Promise<void> {
    for (let round = 0; round < roundsInTurn && !closing && lease !== null; round++) {
      const due = await logoutNotices.due(clientId, ctx.clock.now(), noticesAtOnce);
      if (due.length === 0) return;
      busyUntil = performance.now() + busyMs;
      const results = await Promise.allSettled(due.map(deliver));
      for (const result of results) if (result.status === "rejected") throw result.reason;
    }
  }

  /** The clients after the one that was served last, and then those before it. */
  async function waitingClients(room: number): Promise<string[]> {
    askedAt = performance.now();
    const now = ctx.clock.now();
    const behind = await logoutNotices.dueClients(now, last, room + turns.size);
    const isRoundDone = behind.length < room + turns.size && last !== "";
    const before = isRoundDone ? await logoutNotices.dueClients(now, "", room + turns.size) : [];
    return [...new Set([...behind, ...before])].filter((clientId) => !turns.has(clientId)).slice(0, room);
  }

  async function shareOut(): Promise<void> {
    const room = clientsAtOnce - turns.size;
    const clients = room > 0 ? await waitingClients(room) : [];
    if (clients.length === 0 && turns.size === 0) return giveBack();
    if (!(await hold())) return;
    for (const clientId of clients) {
      last = clientId;
      // after an error the timer comes back to the client
      const turn = serve(clientId)
        .then(wake, warn)
        .finally(() => turns.delete(clientId));
      turns.set(clientId, turn);
    }
  }

  async function hold(): Promise<boolean> {
    if (lease !== null && !(await leases.renew(lease, leaseMs))) lease = null;
    lease ??= await leases.acquire("logout-notices", owner, leaseMs);
    return lease !== null;
  }

  async function giveBack(): Promise<void> {
    last = "";
    if (lease !== null) await leases.release(lease);
    lease = null;
  }

  let running = Promise.resolve();
  let waiting = false;
  const wake = () => {
    if (waiting || closing) return;
    waiting = true;
    running = running
      .then(() => {
        waiting = false;
        return shareOut();
      })
      .catch(warn);
  };
  const stop = logoutNotices.onAppend(wake);
  const timer = setInterval(() => {
    const now = performance.now();
    if (now < busyUntil || now - askedAt >= restingMs) wake();
  }, everyMs);
  timer.unref();
  return {
    close: async () => {
      closing = true;
      stop();
      clearInterval(timer);
      await running;
      await Promise.all(turns.values());
      await giveBack().catch(warn);
    },
  };
}
