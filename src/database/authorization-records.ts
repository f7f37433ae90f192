import type { AnsweredPush, Authorization, AuthorizationCode, NewAuthorizationCode } from "../store/authorizations.ts";
import { isUniqueViolation } from "./faults.ts";
import { placeholders, type Scalar, type Sql } from "./transaction.ts";

export interface CodeRow {
  code_hash: string;
  client_id: string;
  user_id: string;
  session_hash: string;
  redirect_uri: string;
  scope: string;
  nonce: string | null;
  claims: string | null;
  dpop_jkt: string | null;
  code_challenge: string;
  resource: string | null;
  auth_time: number;
  amr: string | null;
  acr: string | null;
  ip_address: string;
  user_agent: string;
  created_at: number;
  expires_at: number;
  redeemed_at: number | null;
  revoked_at: number | null;
  authorization_id: string | null;
  client_epoch: number | null;
}

/**
 * A revoked authorization stays for a day, and not until its refresh tokens would have ended: an account that is signed in and out all day
 * long would have a month of them, which everything that looks for its live ones reads. What they revoke is in the feed. Milliseconds.
 */
const revokedKeptMs = 86_400_000;

/** Columns of an authorization that is revoked, with the values of `revokedValues`. */
export const SET_REVOKED =
  "revoked_at = ?, revoked_reason = ?, expires_at = CASE WHEN expires_at > ? THEN ? ELSE expires_at END";

export function revokedValues(reason: string, now: number): Scalar[] {
  return [now, reason, now + revokedKeptMs, now + revokedKeptMs];
}

/** Methods as a column has them; null is what the previous release writes, which knows passwords alone. */
export function methodsOf(amr: string | null): string[] {
  return amr === null ? ["pwd"] : amr.split(" ").filter((method) => method !== "");
}

export function textOfMethods(methods: readonly string[]): string | null {
  return methods.length === 0 ? null : methods.join(" ");
}

export function codeOf(row: CodeRow): AuthorizationCode {
  return {
    codeHash: row.code_hash,
    clientId: row.client_id,
    userId: row.user_id,
    sessionHash: row.session_hash,
    redirectUri: row.redirect_uri,
    scope: row.scope,
    nonce: row.nonce,
    claims: row.claims,
    dpopJkt: row.dpop_jkt,
    codeChallenge: row.code_challenge,
    resource: row.resource,
    authTime: row.auth_time,
    methods: methodsOf(row.amr),
    acr: row.acr,
    ipAddress: row.ip_address,
    userAgent: row.user_agent,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    redeemedAt: row.redeemed_at,
    revokedAt: row.revoked_at,
    authorizationId: row.authorization_id,
    clientEpoch: row.client_epoch,
  };
}

/** A form that is sent again comes within this time (milliseconds). */
const repeatMs = 10_000;

/** Did the same user just get a code for the same request? Its challenge is of this request alone. */
async function wasJustAnswered(sql: Sql, code: NewAuthorizationCode): Promise<boolean> {
  if (code.codeChallenge === "") return false;
  const rows = await sql.rows(
    `SELECT 1 AS found FROM oauth2_authorization_code
     WHERE user_id = ? AND client_id = ? AND code_challenge = ? AND created_at > ? LIMIT 1`,
    [code.userId, code.clientId, code.codeChallenge, code.createdAt - repeatMs],
  );
  return rows.length === 1;
}

/** Writes a code and uses its pushed request up. @returns false: that was used up before */
export async function writeCode(sql: Sql, code: NewAuthorizationCode, pushed: AnsweredPush | null): Promise<boolean> {
  if (pushed !== null) {
    const first = await sql.change(
      "UPDATE oauth2_pushed_request SET used_at = ? WHERE uri_hash = ? AND used_at IS NULL",
      [code.createdAt, pushed.hash],
    );
    if (first === 0 && !(pushed.mayRepeat && (await wasJustAnswered(sql, code)))) return false;
  }
  await insertCode(sql, code);
  return true;
}

async function insertCode(sql: Sql, code: NewAuthorizationCode): Promise<void> {
  await insert(sql, "oauth2_authorization_code", {
    code_hash: code.codeHash,
    client_id: code.clientId,
    user_id: code.userId,
    session_hash: code.sessionHash,
    redirect_uri: code.redirectUri,
    scope: code.scope,
    nonce: code.nonce,
    claims: code.claims,
    dpop_jkt: code.dpopJkt,
    code_challenge: code.codeChallenge,
    resource: code.resource,
    auth_time: code.authTime,
    amr: textOfMethods(code.methods),
    acr: code.acr,
    ip_address: code.ipAddress,
    user_agent: code.userAgent,
    created_at: code.createdAt,
    expires_at: code.expiresAt,
    wrong_verifiers: 0,
    client_epoch: code.clientEpoch,
  });
}

export interface AuthorizationRow {
  id: string;
  grant_type: Authorization["grantType"];
  client_id: string;
  subject: string;
  session_hash: string | null;
  scope: string;
  resource: string | null;
  nonce: string | null;
  claims: string | null;
  dpop_jkt: string | null;
  auth_time: number | null;
  amr: string | null;
  acr: string | null;
  ip_address: string;
  user_agent: string;
  created_at: number;
  expires_at: number;
  last_used_at: number | null;
  revoked_at: number | null;
  refresh_jti: string | null;
  refresh_iat: number | null;
  refresh_exp: number | null;
  refresh_kid: string | null;
  generation: number;
  rotations: string;
  user_epoch: number | null;
  client_epoch: number | null;
}

/** A row with what tells whether its user's epoch has passed. */
export interface JudgedRow extends AuthorizationRow {
  current_epoch: number | null;
  epoch_since: number | null;
}

/** The columns that tell whether the user's epoch has passed, of a join with `users u`. */
export const CURRENT_EPOCH =
  "CASE WHEN u.uuid IS NULL THEN NULL ELSE COALESCE(u.epoch, 0) END AS current_epoch, u.updated_at AS epoch_since";
export const SELECT_AUTHORIZATION = `SELECT a.*, ${CURRENT_EPOCH}
  FROM oauth2_authorization a LEFT JOIN users u ON u.uuid = a.subject`;
/** Of rows selected so: not revoked, whether alone or with everything of the user. */
export const IS_LIVE = `a.revoked_at IS NULL AND (a.user_epoch IS NULL OR (u.uuid IS NOT NULL AND a.user_epoch = COALESCE(u.epoch, 0)))`;

/** When everything of the user was ended after the row was written; null: it was not. */
function endedByEpoch({ user_epoch, current_epoch, epoch_since, created_at }: JudgedRow): number | null {
  if (user_epoch === null || user_epoch === current_epoch) return null;
  return epoch_since ?? created_at;
}

export function authorizationOf(row: JudgedRow): Authorization {
  const { refresh_jti: jti, refresh_iat: iat, refresh_exp: exp, refresh_kid: kid } = row;
  return {
    id: row.id,
    grantType: row.grant_type,
    clientId: row.client_id,
    subject: row.subject,
    sessionHash: row.session_hash,
    scope: row.scope,
    resource: row.resource,
    nonce: row.nonce,
    claims: row.claims,
    dpopJkt: row.dpop_jkt,
    authTime: row.auth_time,
    methods: row.auth_time === null ? [] : methodsOf(row.amr),
    acr: row.acr,
    ipAddress: row.ip_address,
    userAgent: row.user_agent,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    userEpoch: row.user_epoch,
    clientEpoch: row.client_epoch,
    revokedAt: row.revoked_at ?? endedByEpoch(row),
    refresh: jti === null || iat === null || exp === null || kid === null ? null : { jti, iat, exp, kid },
    generation: row.generation,
    rotations: rotationsOf(row.rotations),
  };
}

/** `;generation:time` each; the column keeps only the end of the text, so the part before the first `;` may be cut off and is ignored. */
function rotationsOf(text: string): [number, number][] {
  return text
    .split(";")
    .slice(1)
    .map((part) => {
      const [generation, time] = part.split(":");
      return [Number(generation), Number(time)];
    });
}

export async function insertAuthorization(sql: Sql, authorization: Authorization): Promise<void> {
  await insert(sql, "oauth2_authorization", {
    id: authorization.id,
    grant_type: authorization.grantType,
    client_id: authorization.clientId,
    subject: authorization.subject,
    session_hash: authorization.sessionHash,
    scope: authorization.scope,
    resource: authorization.resource,
    nonce: authorization.nonce,
    claims: authorization.claims,
    dpop_jkt: authorization.dpopJkt,
    auth_time: authorization.authTime,
    amr: textOfMethods(authorization.methods),
    acr: authorization.acr,
    ip_address: authorization.ipAddress,
    user_agent: authorization.userAgent,
    created_at: authorization.createdAt,
    expires_at: authorization.expiresAt,
    last_used_at: authorization.lastUsedAt,
    user_epoch: authorization.userEpoch,
    client_epoch: authorization.clientEpoch,
    revoked_at: authorization.revokedAt,
    refresh_jti: authorization.refresh?.jti ?? null,
    refresh_iat: authorization.refresh?.iat ?? null,
    refresh_exp: authorization.refresh?.exp ?? null,
    refresh_kid: authorization.refresh?.kid ?? null,
    generation: authorization.generation,
    rotations: authorization.rotations.map(([generation, time]) => `;${generation}:${time}`).join(""),
  });
}

/** Column names come from this program, values only as parameters. */
export async function insert(sql: Sql, table: string, row: Readonly<Record<string, Scalar>>): Promise<void> {
  const columns = Object.keys(row);
  await sql.change(
    `INSERT INTO ${table} (${columns.join(", ")}) VALUES ${placeholders(columns.length)}`,
    Object.values(row),
  );
}

/** @returns false: a row with the same unique value is there already */
export async function insertIfAbsent(sql: Sql, table: string, row: Readonly<Record<string, Scalar>>): Promise<boolean> {
  try {
    await insert(sql, table, row);
    return true;
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}
