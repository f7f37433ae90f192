import { hashOf } from "../crypto/hashes.ts";
import type { Passkey, PasskeyOutcome, PasskeyUse } from "../store/factors.ts";
import { insert } from "./authorization-records.ts";
import { isUniqueViolation } from "./faults.ts";
import type { Sql, TransactionSql } from "./transaction.ts";

export interface PasskeyRow {
  credential_id: string;
  user_id: string;
  public_key: string;
  sign_count: number;
  transports: string;
  synced: number;
  name: string;
  created_at: number;
  last_used_at: number | null;
}

export function passkeyOf(row: PasskeyRow): Passkey {
  return {
    credentialId: row.credential_id,
    userId: row.user_id,
    publicKey: row.public_key,
    signCount: Number(row.sign_count),
    transports: JSON.parse(row.transports) as string[],
    isSynced: row.synced === 1,
    name: row.name,
    createdAt: Number(row.created_at),
    lastUsedAt: row.last_used_at === null ? null : Number(row.last_used_at),
  };
}

export function rowOf(passkey: Passkey): Record<string, string | number | null> {
  return {
    id_hash: keyOf(passkey.credentialId),
    credential_id: passkey.credentialId,
    user_id: passkey.userId,
    public_key: passkey.publicKey,
    sign_count: passkey.signCount,
    transports: JSON.stringify(passkey.transports),
    synced: passkey.isSynced ? 1 : 0,
    name: passkey.name,
    created_at: passkey.createdAt,
    last_used_at: passkey.lastUsedAt,
  };
}

/** Credential ids have up to 1,023 bytes: too long for a key. */
export function keyOf(credentialId: string): string {
  return hashOf(credentialId);
}

/**
 * Uses up the challenge that a passkey answered, of which the primary key decides who was first.
 * @returns `repeated`: it was used before; `refused`: the counter did not rise, though the authenticator counts; `gone`: there is no such passkey.
 * Each time the transaction is to be rolled back
 */
export async function spendPasskey(
  sql: TransactionSql,
  { credentialId, signCount, challengeHash, expiresAt, attempt }: PasskeyUse,
  now: number,
): Promise<Exclude<PasskeyOutcome, "again">> {
  try {
    const row = { value_hash: challengeHash, expires_at: expiresAt, used_by: attempt, used_at: now };
    await insert(sql, "used_once", row);
  } catch (error) {
    if (isUniqueViolation(error)) return "repeated";
    throw error;
  }
  const used = await sql.change(
    `UPDATE passkey SET sign_count = ?, last_used_at = ?
     WHERE id_hash = ? AND (sign_count < ? OR (sign_count = 0 AND ? = 0))`,
    [signCount, now, keyOf(credentialId), signCount, signCount],
  );
  if (used === 1) return "used";
  const [known] = await sql.rows("SELECT 1 AS known FROM passkey WHERE id_hash = ?", [keyOf(credentialId)]);
  return known === undefined ? "gone" : "refused";
}

/** Did this very form use the challenge up? @param since later than that (epoch milliseconds); 0: ever */
export async function isSpentBy(sql: Sql, { challengeHash, attempt }: PasskeyUse, since: number): Promise<boolean> {
  const look = "SELECT 1 AS spent FROM used_once WHERE value_hash = ? AND used_by = ? AND used_at > ?";
  return (await sql.rows(look, [challengeHash, attempt, since])).length > 0;
}
