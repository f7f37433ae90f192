import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { distrustKey } from "../keys/rotation.ts";

const batch = 1_000;
/** Rows between two reports. */
const reportEvery = 50_000;

/**
 * Ends everything that was issued so far: after a restore of an older database, what was revoked since then would live again. Tokens of
 * every kind end with the keys that signed them, also those whose rows the restored database does not have. Then sessions, codes,
 * reset links and tokens for registrations are deleted.
 * @param told called now and then with the rows deleted so far
 */
export async function revokeEverything(
  ctx: OAuthContext,
  told: (rows: number) => void,
): Promise<{ keys: number; rows: number }> {
  await ctx.keys.reload();
  // those that do not sign yet first, so that none of them begins to
  const trusted = ctx.keys.list().filter(({ state }) => state !== "distrusted");
  const inOrder = [...trusted].sort((a, b) => b.generation - a.generation);
  for (const { kid } of inOrder) await distrustKey(ctx, kid);
  let rows = 0;
  // while the service runs, sessions of new visitors come: what is left then is fewer than a batch
  for (let deleted = batch; deleted >= batch; ) {
    deleted = await ctx.store.deleteIssued(batch);
    rows += deleted;
    if (Math.floor(rows / reportEvery) > Math.floor((rows - deleted) / reportEvery)) told(rows);
  }
  securityEvent(ctx, "everything_revoked", { keys: inOrder.length, rows });
  return { keys: inOrder.length, rows };
}
