import { createRequire } from "node:module";
import type { Admin, PartitionMetadata } from "kafkajs";
import { pause } from "../deadline.ts";

type Partition = Pick<PartitionMetadata, "partitionErrorCode" | "partitionId" | "leader">;

/** The answer to a metadata request, as far as it is looked at here. */
interface Metadata {
  readonly topicMetadata: readonly { readonly partitionMetadata: Partition[] }[];
}

interface ResponseModule {
  parse(data: Metadata): Promise<Metadata>;
}

/** Versions of the metadata request that kafkajs 2.2.4 knows. */
const versions = [0, 1, 2, 3, 4, 5, 6];
/** What a broker says of a partition that it tells the other facts about all the same. */
const ofOnePartition = new Set([
  5 /* LEADER_NOT_AVAILABLE */, 9 /* REPLICA_NOT_AVAILABLE */, 72 /* LISTENER_NOT_FOUND */,
]);
/** In place of a leader. */
const none = -1;

let isDone = false;

/**
 * Makes kafkajs read metadata in which a partition has no leader. As it comes it refuses the whole answer. A producer that connects asks for all
 * topics of the cluster, so that one partition without a leader, of whatever topic, would hold back every event. Kafka's own client
 * reads on too, and such a partition fails when something is sent to it.
 */
export function readPastLeaderless(): void {
  if (isDone) return;
  isDone = true;
  const require = createRequire(import.meta.url);
  for (const version of versions) {
    const response = require(`kafkajs/src/protocol/requests/metadata/v${version}/response.js`) as ResponseModule;
    const { parse } = response;
    response.parse = (data) => parse(withoutErrorsOfPartitions(data));
  }
}

function withoutErrorsOfPartitions(data: Metadata): Metadata {
  const read = ({ partitionErrorCode, ...partition }: Partition): Partition =>
    ofOnePartition.has(partitionErrorCode)
      ? { ...partition, partitionErrorCode: 0 }
      : { ...partition, partitionErrorCode };
  return {
    ...data,
    topicMetadata: data.topicMetadata.map((topic) => ({
      ...topic,
      partitionMetadata: topic.partitionMetadata.map(read),
    })),
  };
}

export function isWithoutLeader(partitions: readonly Partition[], partition: number): boolean {
  return partitions.some(({ partitionId, leader }) => partitionId === partition && leader === none);
}

/** Waits until each partition of topics that were just created has a leader. */
export async function haveLeaders(admin: Admin, topics: string[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { topics: found } = await admin.fetchTopicMetadata({ topics });
    if (!found.some(({ partitions }) => partitions.some(({ leader }) => leader === none))) return;
    await pause(100, signal);
  }
}
