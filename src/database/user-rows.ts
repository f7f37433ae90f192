import { generationOf } from "../crypto/password-generation.ts";
import type { StandardClaims, User, UserToSignIn } from "../store/users.ts";

export interface UserRow {
  uuid: string;
  email: string;
  password_hash: string;
  /** `generationToStore`; null: the password was hashed once. */
  password_generation: string | null;
  roles: string;
  email_verified_at: number | null;
  epoch: number | null;
  disabled_at: number | null;
  signed_in_at: number | null;
  closed_at: number | null;
  created_at: number;
  nickname: string;
  claims: string | null;
  language: string | null;
  updated_at: number;
  factors_generation: number | null;
  passwordless: number | null;
}

export const USER_COLUMNS = `u.uuid, u.email, u.password_hash, u.password_generation, u.roles, u.email_verified_at, u.epoch, u.disabled_at, u.signed_in_at, u.closed_at,
    u.created_at, u.language, u.factors_generation, u.passwordless, p.nickname, p.claims, p.updated_at`;
export const SELECT_USER = `SELECT ${USER_COLUMNS} FROM users u JOIN user_profiles p ON p.user_id = u.uuid`;

/** What only who signs in is read with. */
type SignInColumn =
  | "password_hash"
  | "password_generation"
  | "signed_in_at"
  | "closed_at"
  | "factors_generation"
  | "passwordless";

/** Without what only who signs in is read with. */
export function userOf(row: Omit<UserRow, SignInColumn>): User {
  return {
    uuid: row.uuid,
    email: row.email,
    nickname: row.nickname,
    roles: JSON.parse(row.roles) as string[],
    emailVerified: row.email_verified_at !== null,
    claims: row.claims === null ? {} : (JSON.parse(row.claims) as StandardClaims),
    language: row.language,
    epoch: row.epoch ?? 0,
    disabledAt: row.disabled_at,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** Of a user, their columns in a join that has other tables too. */
export const JOINED_USER = `u.uuid AS user_uuid, u.email AS user_email, u.roles AS user_roles, u.email_verified_at AS user_verified_at,
  u.epoch AS user_current_epoch, u.disabled_at AS user_disabled_at, u.created_at AS user_created_at, u.language AS user_language,
  p.nickname AS user_nickname, p.claims AS user_claims, p.updated_at AS user_updated_at`;

export interface JoinedUserRow {
  user_uuid: string | null;
  user_email: string;
  user_roles: string;
  user_verified_at: number | null;
  user_current_epoch: number | null;
  user_disabled_at: number | null;
  user_created_at: number;
  user_language: string | null;
  user_nickname: string;
  user_claims: string | null;
  user_updated_at: number;
}

/** Null: the join found no user. */
export function joinedUserOf(row: JoinedUserRow): User | null {
  const { user_uuid: uuid } = row;
  if (uuid === null) return null;
  return userOf({
    uuid,
    email: row.user_email,
    roles: row.user_roles,
    email_verified_at: row.user_verified_at,
    epoch: row.user_current_epoch,
    disabled_at: row.user_disabled_at,
    created_at: row.user_created_at,
    language: row.user_language,
    nickname: row.user_nickname,
    claims: row.user_claims,
    updated_at: row.user_updated_at,
  });
}

/** @param row of `SELECT_USER` */
export function userToSignInOf(row: UserRow): UserToSignIn {
  return {
    ...userOf(row),
    passwordHash: row.password_hash,
    passwordGeneration: generationOf(row.password_hash, row.password_generation),
    signedInAt: row.signed_in_at,
    closedAt: row.closed_at,
    hasPassword: row.passwordless === null,
    factorsGeneration: Number(row.factors_generation ?? 0),
  };
}
