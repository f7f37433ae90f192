import { messageOf } from "../errors.ts";
import { PublishError, type PublishFailure } from "./event-publisher.ts";

// https://kafka.apache.org/protocol.html#protocol_error_codes
const undeliverableCodes = new Set([
  10 /* MESSAGE_TOO_LARGE */, 18 /* RECORD_LIST_TOO_LARGE */, 87 /* INVALID_RECORD */,
]);
const refusedCodes = new Set([
  3 /* UNKNOWN_TOPIC_OR_PARTITION */, 17 /* INVALID_TOPIC_EXCEPTION */, 29 /* TOPIC_AUTHORIZATION_FAILED */,
  32 /* INVALID_TIMESTAMP */, 44 /* POLICY_VIOLATION */, 89 /* THROTTLING_QUOTA_EXCEEDED */,
]);
const notAllowedCodes = new Set([
  29 /* TOPIC_AUTHORIZATION_FAILED */, 31 /* CLUSTER_AUTHORIZATION_FAILED */, 44 /* POLICY_VIOLATION */,
]);

const topicExists = 36;

/** A partition has no leader or too few replicas, or its leader cannot store. */
const partitionCodes = new Set([
  5 /* LEADER_NOT_AVAILABLE */, 6 /* NOT_LEADER_OR_FOLLOWER */, 7 /* REQUEST_TIMED_OUT */,
  9 /* REPLICA_NOT_AVAILABLE */, 19 /* NOT_ENOUGH_REPLICAS */, 20 /* NOT_ENOUGH_REPLICAS_AFTER_APPEND */,
  56 /* KAFKA_STORAGE_ERROR */,
]);
const credentialCodes = new Set([
  33 /* UNSUPPORTED_SASL_MECHANISM */, 34 /* ILLEGAL_SASL_STATE */, 58 /* SASL_AUTHENTICATION_FAILED */,
]);

/** Some partitions of a batch are missing in the broker's answers. */
export class NotAcknowledged extends PublishError {
  constructor(partitions: readonly string[]) {
    super("away", `not acknowledged: ${partitions.join(", ")}`);
  }
}

/** A partition has no leader: nothing was sent. */
export class NoLeader extends PublishError {
  constructor(topic: string, partition: number) {
    super("away", `no leader: ${topic}/${partition}`);
  }
}

/** Did the broker answer for a partition, so that others may be well? */
export function isPartitionFailure(error: PublishError): boolean {
  if (error instanceof NotAcknowledged || error instanceof NoLeader) return true;
  return protocolCodes(error).some((code) => partitionCodes.has(code));
}

/** Does the broker refuse the credentials? */
export function isCredentialFailure(error: unknown): boolean {
  return (
    causes(error).some((link) => link.name === "KafkaJSSASLAuthenticationError") ||
    protocolCodes(error).some((code) => credentialCodes.has(code))
  );
}

/** What an error of a send means for the batch: see `PublishFailure`. */
export function toPublishError(error: unknown): PublishError {
  if (error instanceof PublishError) return error;
  return new PublishError(failureOf(error), messageOf(error), { cause: error });
}

/** Did the broker refuse to create topics, for good? */
export function isNotAllowed(error: unknown): boolean {
  return protocolCodes(error).some((code) => notAllowedCodes.has(code));
}

/** Why the broker does not make topics as they were asked for, until somebody changes something. Null: that is not what the error is about. */
export function topicRefusal(error: unknown): string | null {
  const errors = causes(error).flatMap((link): unknown[] =>
    "errors" in link && Array.isArray(link.errors) ? link.errors : [],
  );
  const told = errors.filter((each): each is Error & { topic?: unknown } => {
    const { retriable, code } = each as { retriable?: unknown; code?: unknown };
    return each instanceof Error && retriable === false && code !== topicExists;
  });
  return told.length === 0 ? null : told.map(({ topic, message }) => `${topic}: ${message}`).join("; ");
}

function failureOf(error: unknown): PublishFailure {
  const codes = protocolCodes(error);
  if (codes.some((code) => undeliverableCodes.has(code))) return "undeliverable";
  if (codes.some((code) => refusedCodes.has(code)) || isRefusal(error)) return "refused";
  return "away";
}

/** Is the error about what was sent, rather than the connection or the broker's state? */
function isRefusal(error: unknown): boolean {
  return causes(error).some(
    (link) => link.name === "KafkaJSMetadataNotLoaded" || link instanceof TypeError || link instanceof RangeError,
  );
}

function protocolCodes(error: unknown): number[] {
  const codes: number[] = [];
  for (const link of causes(error)) {
    if ("code" in link && typeof link.code === "number") codes.push(link.code);
    if ("errors" in link && Array.isArray(link.errors)) codes.push(...link.errors.flatMap(protocolCodes));
  }
  return codes;
}

/** The error and its causes, each once. */
function causes(error: unknown): Error[] {
  const links: Error[] = [];
  for (let at = error; at instanceof Error && !links.includes(at); at = at.cause) links.push(at);
  return links;
}
