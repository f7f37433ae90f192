import type { Sealer } from "../crypto/sealing.ts";
import type { ResealedPage } from "../store/outbox.ts";
import type { Database } from "./transaction.ts";

/** Seals a page of waiting and parked payloads that are sealed under an older key under the first one: `OutboxStore.reseal`. */
export async function resealPage(
  database: Database,
  sealer: Sealer,
  { table, after, limit }: { table: "outbox" | "mail"; after: string | null; limit: number },
): Promise<ResealedPage> {
  const rows = await database.rows<{ event_id: string; payload: string; status: string }>(
    `SELECT event_id, payload, status FROM ${table} WHERE event_id > ? ORDER BY event_id LIMIT ?`,
    [after ?? "", limit],
  );
  let [resealed, unreadable] = [0, 0];
  for (const { event_id, payload, status } of rows) {
    // filtered here: in the statement, one page might read all that is sent before it finds others
    if (status === "sent") continue;
    let sealed: string | null;
    try {
      sealed = sealer.reseal(payload, event_id);
    } catch {
      unreadable++;
      continue;
    }
    // one that was sent meanwhile has no payload any more
    const sql = `UPDATE ${table} SET payload = ? WHERE event_id = ? AND payload = ?`;
    if (sealed !== null) resealed += await database.change(sql, [sealed, event_id, payload]);
  }
  return { end: rows.length < limit ? null : (rows.at(-1)?.event_id ?? null), resealed, unreadable };
}
