import { type MigrationInterface, type QueryRunner, TableIndex } from "typeorm";
import { tableNow } from "./steps.ts";

const table = "outbox";

const added = {
  ix_outbox_queue: ["status", "lane", "event_type", "created_at", "event_id"],
  ix_outbox_user_type: ["user_id", "event_type", "status", "seq"],
};

/** What reads a lane as one queue, as the previous release does, goes on with the new ones, more slowly while many events wait. */
const removed = {
  ix_outbox_lane: ["lane", "status", "created_at", "event_id"],
  ix_outbox_user: ["user_id", "status", "seq"],
};

type Indexes = Readonly<Record<string, string[]>>;

/** Events are read by lane and type. Each step looks first whether it was done. */
export class OutboxQueues1790300000000 implements MigrationInterface {
  readonly name = "OutboxQueues1790300000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, added);
    await dropIndexes(queryRunner, removed);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, removed);
    await dropIndexes(queryRunner, added);
  }
}

async function addIndexes(queryRunner: QueryRunner, indexes: Indexes): Promise<void> {
  const outbox = await tableNow(queryRunner, table);
  for (const [name, columnNames] of Object.entries(indexes)) {
    if (outbox.indices.some((index) => index.name === name)) continue;
    await queryRunner.createIndex(outbox, new TableIndex({ name, columnNames }));
  }
}

async function dropIndexes(queryRunner: QueryRunner, indexes: Indexes): Promise<void> {
  const outbox = await tableNow(queryRunner, table);
  for (const name of Object.keys(indexes)) {
    if (outbox.indices.some((index) => index.name === name)) await queryRunner.dropIndex(outbox, name);
  }
}
