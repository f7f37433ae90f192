import type { Row, TestedRow, UnshownRow } from "../harness/row.ts";
import { CLUSTERS } from "./clusters.ts";
import { DATABASE } from "./database.ts";
import { DEPLOYMENT } from "./deployment.ts";
import { KAFKA } from "./kafka.ts";
import { LOAD } from "./load.ts";
import { PEERS } from "./peers.ts";
import { PROCESS_DEATH } from "./process-death.ts";
import { TIME } from "./time.ts";

const tests = (section: Row["section"], id: string, title: string, ...shownBy: string[]): TestedRow => ({
  ...{ section, id, title, shownBy },
});
const not = (section: Row["section"], id: string, title: string, notShown: string): UnshownRow => ({
  ...{ section, id, title, notShown },
});

const OTHERS: readonly Row[] = [
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
  tests(
    "Database",
    "F-21",
    "fail-over to a replica",
    "test/faults/fail-over.services.test.ts",
    "test/faults/galera.services.test.ts",
  ),
  tests("Database", "F-30", "restore from a backup", "test/commands/revoke-everything.test.ts"),
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
  not(
    "Concurrency and load",
    "F-46",
    "clean-up of a million rows",
    "`npm run bench -- growth` measures clean-up beside five million authorizations",
  ),
  tests(
    "Concurrency and load",
    "F-47",
    "limits over replicas and a restart",
    "test/sessions/sessions.services.test.ts",
  ),
  tests("Deployment", "F-51", "rolling restart", "test/faults/rolling-restart.services.test.ts"),
  tests("Deployment", "F-54", "a migration with two versions running", "test/faults/previous-release.services.test.ts"),
  tests(
    "Deployment",
    "F-56",
    "the code is rolled back after the migration",
    "test/faults/previous-release.services.test.ts",
  ),
  tests("Deployment", "F-58", "the API stays compatible", "test/faults/previous-release-tests.services.test.ts"),
];

const RUN: readonly Row[] = [
  ...PROCESS_DEATH,
  ...KAFKA,
  ...DATABASE,
  ...TIME,
  ...LOAD,
  ...PEERS,
  ...DEPLOYMENT,
  ...CLUSTERS,
];

/** Every fault, in the order of the page. */
export const ROWS: readonly Row[] = [...RUN, ...OTHERS].sort((a, b) => (a.id < b.id ? -1 : 1));
