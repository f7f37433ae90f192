import type { MigrationInterface, QueryRunner } from "typeorm";
import { addIndexes, dropIndexes } from "./steps.ts";

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

/** Events are read by lane and type. Each step looks first whether it was done. */
export class OutboxQueues1790300000000 implements MigrationInterface {
  readonly name = "OutboxQueues1790300000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, table, added);
    await dropIndexes(queryRunner, table, removed);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, table, removed);
    await dropIndexes(queryRunner, table, added);
  }
}
