/** What a client did. */
export type Operation =
  | "sign-up"
  | "login"
  | "redeem"
  | "refresh"
  | "introspect"
  | "sign-out"
  | "password-reset"
  /** Written through the store, to make more events than logins could. */
  | "write";

/** What clients need again after a fault. */
export const EVERYTHING: readonly Operation[] = ["sign-up", "login", "redeem", "refresh", "introspect"];

/**
 * `ok`: must have happened. `refused`: must not have. `unknown`: timeout, reset, or 5xx with a hint; may be either.
 * `wrong`: an answer that no fault excuses, such as `invalid_grant` for a good token or 500.
 */
export type Outcome = "ok" | "refused" | "unknown" | "wrong";

export interface Call {
  readonly operation: Operation;
  /** Names what the call was about: e-mail, user, code, authorization, event. */
  readonly ids: Record<string, string>;
  /** `performance.now()` when it was sent. */
  readonly at: number;
  endedAt: number | null;
  outcome: Outcome | null;
  /** Status, or what went wrong. */
  detail: string;
}

/** Every call of every client, in the order in which they were sent. */
export class Ledger {
  readonly calls: Call[] = [];

  invoke(operation: Operation, ids: Record<string, string>): Call {
    const call: Call = { operation, ids: { ...ids }, at: performance.now(), endedAt: null, outcome: null, detail: "" };
    this.calls.push(call);
    return call;
  }

  end(call: Call, outcome: Outcome, detail = "", ids: Record<string, string> = {}): void {
    call.endedAt = performance.now();
    call.outcome = outcome;
    call.detail = detail;
    Object.assign(call.ids, ids);
  }

  where(operation: Operation, outcomes: readonly Outcome[] = ["ok", "refused", "unknown", "wrong"]): Call[] {
    return this.calls.filter((call) => call.operation === operation && outcomes.includes(call.outcome ?? "unknown"));
  }

  wrong(): Call[] {
    return this.calls.filter(({ outcome }) => outcome === "wrong");
  }

  /** Calls sent in a time. */
  between(from: number, to = Number.POSITIVE_INFINITY): Call[] {
    return this.calls.filter(({ at }) => at >= from && at < to);
  }

  /** Milliseconds from a moment to the first answer that every given operation got after it; null: one never did. */
  recoveredAfter(moment: number, operations: readonly Operation[]): number | null {
    const firsts = operations.map((operation) => {
      const good = this.where(operation, ["ok"]).filter(({ at, endedAt }) => at >= moment && endedAt !== null);
      return good.length === 0 ? null : Math.min(...good.map(({ endedAt }) => endedAt ?? 0)) - moment;
    });
    if (firsts.some((first) => first === null)) return null;
    return Math.max(0, ...firsts.map((first) => first ?? 0));
  }
}

/** Milliseconds of the slowest answer. */
export function slowest(calls: readonly Call[]): number {
  return percentile(calls, 1);
}

/** Milliseconds under which a share of the calls was answered. */
export function percentile(calls: readonly Call[], share: number): number {
  const times = calls.flatMap(({ at, endedAt }) => (endedAt === null ? [] : [endedAt - at])).sort((a, b) => a - b);
  return Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0);
}

/**
 * The 99th percentile in the calm part of a time (milliseconds): of each window of `windowMs`, and of those the value that a quarter are
 * below. Other work of the machine makes some windows worse; what the service does to itself makes all of them worse.
 */
export function calmP99(calls: readonly Call[], windowMs: number): number {
  const windows = [...Map.groupBy(calls, ({ at }) => Math.floor(at / windowMs)).values()];
  const most = Math.max(0, ...windows.map(({ length }) => length));
  // the first and the last may be cut short
  return lowestQuarter(windows.filter(({ length }) => length >= most / 2).map((window) => percentile(window, 0.99)));
}

/** The value that a quarter of the values are below. */
export function lowestQuarter(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 4)] ?? 0;
}
