import { isLoopback } from "../net/loopback.ts";
import { type Environment, valueIn } from "./reader.ts";
import type { VariableName } from "./variables.ts";

/** A setting that does nothing beside the others, or something that nobody wants. */
export interface DoubtfulSetting {
  readonly name: VariableName;
  /** What follows the name in a sentence. */
  readonly why: string;
}

/** What the environment was read as. */
interface Read {
  readonly issuer: string;
  readonly usesSqlite: boolean;
  readonly usesKafka: boolean;
  readonly sendsMail: boolean;
  readonly hstsIncludeSubDomains: boolean;
  readonly passwordResetUrl: string;
}

/** Settings that are right by themselves, and are not refused: the service does what it can do. */
export function doubtfulSettings(env: Environment, read: Read): DoubtfulSetting[] {
  const { issuer, usesSqlite, usesKafka, sendsMail, hstsIncludeSubDomains, passwordResetUrl } = read;
  const rules: readonly (readonly [VariableName, boolean, string])[] = [
    ["EVENTS_FILE", usesKafka, "does nothing: events go to KAFKA_BROKERS"],
    ["KAFKA_TOPIC_PARTITIONS", !usesKafka, "does nothing without KAFKA_BROKERS"],
    ["KAFKA_TOPIC_REPLICATION", !usesKafka, "does nothing without KAFKA_BROKERS"],
    ["DATABASE_SSL_CA", usesSqlite, "does nothing: DATABASE_URL names a SQLite file"],
    ["MAIL_FROM", !sendsMail, "does nothing without SMTP_URL"],
    ["HSTS_INCLUDE_SUBDOMAINS", hstsIncludeSubDomains && !issuer.startsWith("https:"), "does nothing: ISSUER is http"],
    [
      "PASSWORD_RESET_URL",
      isReadOnItsWay(passwordResetUrl),
      "is http: who is on the way reads the link that sets a password",
    ],
  ];
  return rules.flatMap(([name, isDoubtful, why]) => (isDoubtful && valueIn(env, name) !== null ? [{ name, why }] : []));
}

function isReadOnItsWay(url: string): boolean {
  return URL.canParse(url) && new URL(url).protocol === "http:" && !isLoopback(new URL(url).hostname);
}
