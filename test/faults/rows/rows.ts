import type { Row, TestedRow, UnshownRow } from "../harness/row.ts";
import { DATABASE } from "./database.ts";
import { KAFKA } from "./kafka.ts";

const tests = (section: Row["section"], id: string, title: string, ...shownBy: string[]): TestedRow => ({
  ...{ section, id, title, shownBy },
});
const not = (section: Row["section"], id: string, title: string, notShown: string): UnshownRow => ({
  ...{ section, id, title, notShown },
});
const noRow = "no row of the harness does it yet";

const OTHERS: readonly Row[] = [
  tests("Process death", "F-01", "kill -9 during sign-up", "test/faults/kill.services.test.ts"),
  not("Process death", "F-02", "kill -9 during code redemption", noRow),
  tests("Process death", "F-03", "kill -9 during refresh", "test/faults/kill.services.test.ts"),
  tests(
    "Process death",
    "F-04",
    "kill -9 of the relay before its mark",
    "test/kafka/kafka.services.test.ts",
    "test/kafka/relay.test.ts",
  ),
  not("Process death", "F-05", "kill -9 during key rotation, clean-up, migration", noRow),
  not("Process death", "F-06", "order of starts", noRow),
  not("Process death", "F-07", "a statement of a transaction fails", noRow),
  not("Process death", "F-08", "requests that no client means", noRow),
  not("Process death", "F-09", "little memory", noRow),
  tests(
    "Kafka and outbox",
    "F-11",
    "the broker is slow, frozen, resets",
    "test/kafka/kafka.services.test.ts",
    "test/kafka/relay.test.ts",
  ),
  tests(
    "Kafka and outbox",
    "F-12",
    "topic missing, message too large, wrong credentials",
    "test/kafka/kafka.services.test.ts",
    "test/kafka/relay.test.ts",
    "test/kafka/kafka-errors.test.ts",
  ),
  tests(
    "Kafka and outbox",
    "F-13",
    "both replicas relay at once",
    "test/kafka/kafka.services.test.ts",
    "test/kafka/relay.test.ts",
  ),
  tests(
    "Kafka and outbox",
    "F-14",
    "SIGTERM while Kafka is down",
    "test/kafka/kafka.services.test.ts",
    "test/kafka/relay.test.ts",
  ),
  tests("Kafka and outbox", "F-15", "a delivery comes again", "test/examples/notification-service.services.test.ts"),
  tests("Kafka and outbox", "F-16", "the event schema changes", "test/kafka/encode.test.ts"),
  tests("Database", "F-21", "fail-over to a replica", "test/faults/fail-over.services.test.ts"),
  not("Database", "F-22", "deadlocks", noRow),
  not("Database", "F-23", "a row is locked", noRow),
  not("Database", "F-24", "snapshot conflict (error 1020)", noRow),
  not("Database", "F-25", "too many connections", noRow),
  not("Database", "F-26", "connections are killed", noRow),
  tests("Database", "F-27", "MariaDB stands still", "test/faults/database-away.services.test.ts"),
  not("Database", "F-28", "the database's disk is full", noRow),
  not("Database", "F-29", "fsync is slow", noRow),
  tests("Database", "F-30", "restore from a backup", "test/commands/revoke-everything.test.ts"),
  not("Time", "F-31", "clocks that differ or step", noRow),
  not("Time", "F-32", "time zones", noRow),
  tests(
    "Concurrency and load",
    "F-33",
    "the same request at once on both replicas",
    "test/faults/races.services.test.ts",
  ),
  not(
    "Concurrency and load",
    "F-34",
    "a flood of logins beside introspection",
    "`npm run bench -- login-flood` measures it, because its bar is a time on a quiet machine",
  ),
  not("Concurrency and load", "F-35", "many users sign in at once", noRow),
  tests("Concurrency and load", "F-36", "slow headers, slow body, slow read", "test/rpc/slow-peers.test.ts"),
  tests("Concurrency and load", "F-37", "HTTP/2 rapid reset", "test/rpc/slow-peers.test.ts"),
  tests("Concurrency and load", "F-38", "endless CONTINUATION frames", "test/rpc/slow-peers.test.ts"),
  tests("Concurrency and load", "F-39", "floods of HTTP/2 frames", "test/rpc/slow-peers.test.ts"),
  tests(
    "Concurrency and load",
    "F-40",
    "oversized body, headers, URL, metadata",
    "test/http/bad-input.test.ts",
    "test/rpc/message-reader.test.ts",
  ),
  tests("Concurrency and load", "F-41", "compressed bombs, deep JSON, many fields", "test/rpc/message-reader.test.ts"),
  tests("Concurrency and load", "F-42", "malformed protobuf, invalid UTF-8", "test/rpc/message-reader.test.ts"),
  tests("Concurrency and load", "F-43", "deadlines and cancellation", "test/rpc/deadlines.test.ts"),
  not("Concurrency and load", "F-44", "a storm of retries after an outage", noRow),
  not("Concurrency and load", "F-45", "an hour of load", noRow),
  not("Concurrency and load", "F-46", "clean-up of a million rows", noRow),
  tests(
    "Concurrency and load",
    "F-47",
    "limits over replicas and a restart",
    "test/sessions/sessions.services.test.ts",
  ),
  not("Deployment", "F-50", "SIGTERM with work in flight", noRow),
  not("Deployment", "F-51", "rolling restart", noRow),
  not("Deployment", "F-52", "keys rotate", noRow),
  not("Deployment", "F-53", "a key is revoked in an emergency", noRow),
  tests("Deployment", "F-54", "a migration with two versions running", "test/faults/previous-release.services.test.ts"),
  not("Deployment", "F-55", "two replicas migrate at once; one is killed", noRow),
  tests(
    "Deployment",
    "F-56",
    "the code is rolled back after the migration",
    "test/faults/previous-release.services.test.ts",
  ),
  tests("Deployment", "F-57", "secrets are changed", "test/commands/key-reseal.test.ts"),
  not(
    "Deployment",
    "F-58",
    "the API stays compatible",
    "`.ci/run` compares the protobuf contract with the last release; the last release's tests are not run against this one",
  ),
  not("Deployment", "F-59", "what is not needed for an answer dies", noRow),
];

const RUN: readonly Row[] = [...KAFKA, ...DATABASE];

/** Every fault, in the order of the page. */
export const ROWS: readonly Row[] = [...RUN, ...OTHERS.filter(({ id }) => !RUN.some((row) => row.id === id))].sort(
  (a, b) => (a.id < b.id ? -1 : 1),
);
