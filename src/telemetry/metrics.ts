import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from "prom-client";

export type Metrics = ReturnType<typeof createMetrics>;

/** The Prometheus metrics of one app. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const requests = new RequestTimes();
  registry.registerMetric(requests as unknown as Metric);
  return {
    registry,
    requests,
    tokensIssued: new Counter({
      name: "auth_tokens_issued_total",
      help: "Answers of the token endpoint by grant type",
      labelNames: ["grant_type"] as const,
      registers,
    }),
    securityEvents: new Counter({
      name: "auth_security_events_total",
      help: "Logins, refusals, reuse of codes and refresh tokens, revocations",
      labelNames: ["event"] as const,
      registers,
    }),
    eventsSent: new Counter({ name: "auth_events_sent_total", help: "Events acknowledged by the broker", registers }),
    eventsFailed: new Counter({ name: "auth_events_failed_total", help: "Failed attempts to send", registers }),
    eventsParked: new Counter({ name: "auth_events_parked_total", help: "Events set aside", registers }),
    breachChecksFailed: new Counter({
      name: "auth_password_breach_checks_failed_total",
      help: "Passwords that the service of PASSWORD_BREACH_URL was asked of in vain",
      registers,
    }),
    mailsSent: new Counter({ name: "auth_mails_sent_total", help: "Mails that the SMTP server took", registers }),
    mailsFailed: new Counter({ name: "auth_mails_failed_total", help: "Failed attempts to send a mail", registers }),
    mailsParked: new Counter({ name: "auth_mails_parked_total", help: "Mails set aside", registers }),
    mailsPending: new Gauge({
      name: "auth_mails_pending",
      aggregator: "max",
      help: "Mails that wait to be sent",
      registers,
    }),
    outboxPending: new Gauge({
      name: "outbox_pending",
      aggregator: "max",
      help: "Events that wait to be sent",
      registers,
    }),
    outboxParked: new Gauge({
      name: "outbox_parked",
      aggregator: "max",
      help: "Events set aside, to be looked at",
      registers,
    }),
    outboxOldestAge: new Gauge({
      name: "outbox_oldest_age_seconds",
      aggregator: "max",
      help: "Age of the oldest event that waits to be sent",
      registers,
    }),
    outboxQueueAge: new Gauge({
      name: "outbox_queue_oldest_age_seconds",
      aggregator: "max",
      help: "Age of the oldest event of each type that waits to be sent",
      labelNames: ["event_type"] as const,
      registers,
    }),
    limitsHit: new Counter({
      name: "auth_limits_hit_total",
      help: "Requests that were refused because a limit was used up",
      labelNames: ["limit"] as const,
      registers,
    }),
    certificateExpires: new Gauge({
      name: "auth_tls_certificate_expires_seconds",
      aggregator: "min",
      help: "When the certificate of the internal listeners ends, in seconds since 1970; 0 without TLS",
      registers,
    }),
    passwordQueue: new Gauge({ name: "auth_password_queue", help: "Password hashes waiting", registers }),
    /** Adds a gauge whose value is looked up when the metrics are read. @param ofAll how the values of several workers make one */
    watch(name: string, help: string, read: () => number, ofAll: "sum" | "max" = "sum"): void {
      new Gauge({
        name,
        help,
        registers,
        aggregator: ofAll,
        collect() {
          this.set(read());
        },
      });
    },
    /** The same for a counter. */
    watchTotal(name: string, help: string, read: () => number): void {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    },
    /** The same as `watch` with one value for each label; of several workers the highest. */
    watchEach(name: string, help: string, label: string, read: () => ReadonlyMap<string, number>): void {
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        aggregator: "max",
        collect() {
          this.reset();
          for (const [key, value] of read()) this.set({ [label]: key }, value);
        },
      });
    },
  };
}

interface RequestLabels {
  readonly edge: string;
  readonly operation: string;
  readonly outcome: string;
}

/**
 * How long requests took. prom-client's own histogram checks its labels and joins them to a key at each observation, which costs more
 * than finding a token in memory; this one counts in place and makes labels of it when the metrics are read.
 */
class RequestTimes {
  // the members that prom-client's registry needs
  readonly name = "auth_request_seconds";
  readonly help = "Requests by edge, operation and outcome";
  readonly type = "histogram";
  readonly aggregator = "sum";
  /** By edge, operation and outcome. */
  readonly #times = new Map<string, Map<string, Map<string, Times>>>();

  observe(labels: RequestLabels, seconds: number): void {
    const operations = entryOf(this.#times, labels.edge, () => new Map());
    const outcomes = entryOf(operations, labels.operation, () => new Map());
    entryOf(outcomes, labels.outcome, () => new Times(labels)).add(seconds);
  }

  async get() {
    const all = [...this.#times.values()].flatMap((operations) => [...operations.values()]);
    const values = all.flatMap((outcomes) => [...outcomes.values()]).flatMap((times) => times.values(this.name));
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values };
  }
}

/** Upper bounds of the buckets, seconds. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Of the requests with the same labels: how many in each bucket, the last one for what is above all bounds, and their sum. */
class Times {
  readonly #labels: RequestLabels;
  readonly #counts = new Array<number>(bounds.length + 1).fill(0);
  #sum = 0;

  constructor(labels: RequestLabels) {
    this.#labels = labels;
  }

  add(seconds: number): void {
    let bucket = 0;
    while (seconds > (bounds[bucket] ?? Number.POSITIVE_INFINITY)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  /** In the form of Prometheus: each bucket includes the ones below it. */
  values(name: string) {
    const labels = this.#labels;
    let count = 0;
    const buckets = [...bounds, "+Inf"].map((le, bucket) => {
      count += this.#counts[bucket] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

function entryOf<V>(map: Map<string, V>, key: string, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
