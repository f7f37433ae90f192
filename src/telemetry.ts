import pino from "pino";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export type Logger = pino.Logger;

/** Names under which something that could be replayed may reach a log call; never printed. */
const secretNames = [
  "password",
  "newPassword",
  "currentPassword",
  "token",
  "access_token",
  "refresh_token",
  "id_token",
  "code",
  "code_verifier",
  "client_secret",
  "resetToken",
  "resetUrl",
  "authorization",
  "cookie",
];

export function createLogger(level: string, destination?: pino.DestinationStream): Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[redacted]" },
    formatters: { level: (label) => ({ level: label }) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

export type Metrics = ReturnType<typeof createMetrics>;

/** The Prometheus metrics of one app. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    requests: new Histogram({
      name: "auth_request_seconds",
      help: "Requests by edge, operation and outcome",
      labelNames: ["edge", "operation", "outcome"] as const,
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
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
    outboxPending: new Gauge({ name: "outbox_pending", help: "Events that wait to be sent", registers }),
    outboxParked: new Gauge({ name: "outbox_parked", help: "Events set aside, to be looked at", registers }),
    outboxOldestAge: new Gauge({
      name: "outbox_oldest_age_seconds",
      help: "Age of the oldest event that waits to be sent",
      registers,
    }),
    passwordQueue: new Gauge({ name: "auth_password_queue", help: "Password hashes waiting", registers }),
  };
}
