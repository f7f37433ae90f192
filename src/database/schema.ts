import { EntitySchema, type EntitySchemaColumnOptions, Table, type TableColumnOptions } from "typeorm";

export type Dialect = "sqlite" | "mysql";

/**
 * A table in both dialects' common words. A column is a type (`char(n)`, `varchar(n)`, `text`, `int`, `bigint`), then `?` where null
 * is allowed, then ` pk`, then ` auto` for the number the database gives.
 */
export interface TableShape {
  readonly columns: Readonly<Record<string, string>>;
  readonly unique?: Readonly<Record<string, readonly string[]>>;
  readonly indexes?: Readonly<Record<string, readonly string[]>>;
}

interface Column {
  readonly type: "char" | "character" | "varchar" | "text" | "int" | "integer" | "bigint";
  readonly length?: string;
  readonly nullable: boolean;
  readonly primary: boolean;
  readonly auto: boolean;
  readonly collation?: string;
}

function parseColumn(text: string, dialect: Dialect): Column {
  const match = /^(char|varchar|text|int|bigint)(?:\((\d+)\))?(\?)?( pk)?( auto)?$/.exec(text);
  if (match === null) throw new Error(`not a column: ${text}`);
  const [, base, length, optional, primary, auto] = match;
  const isText = base === "char" || base === "varchar" || base === "text";
  let type = base as Column["type"];
  if (dialect === "sqlite" && base === "char") type = "character";
  // SQLite numbers only a column that is INTEGER PRIMARY KEY
  if (dialect === "sqlite" && (auto !== undefined || base === "int")) type = "integer";
  return {
    type,
    ...(length === undefined ? {} : { length }),
    nullable: optional !== undefined,
    primary: primary !== undefined,
    auto: auto !== undefined,
    // The server's default ignores case and accents, which would let one hash, token or address stand for another.
    ...(isText && dialect === "mysql" ? { collation: "utf8mb4_bin" } : {}),
  };
}

export function tableOf(name: string, shape: TableShape, dialect: Dialect): Table {
  return new Table({
    name,
    ...(dialect === "mysql" ? { engine: "InnoDB" } : {}),
    columns: Object.entries(shape.columns).map(([columnName, text]): TableColumnOptions => {
      const { primary, auto, nullable, ...column } = parseColumn(text, dialect);
      return {
        name: columnName,
        ...column,
        isPrimary: primary,
        isNullable: nullable,
        ...(auto ? { isGenerated: true, generationStrategy: "increment" } : {}),
      };
    }),
    indices: indexesOf(shape).map(({ name, columns, unique }) => ({ name, columnNames: columns, isUnique: unique })),
  });
}

function indexesOf(shape: TableShape) {
  const list = (indexes: TableShape["indexes"], unique: boolean) =>
    Object.entries(indexes ?? {}).map(([name, columns]) => ({ name, columns: [...columns], unique }));
  return [...list(shape.unique, true), ...list(shape.indexes, false)];
}

/** MySQL's drivers may give a bigint as text, SQLite's gives a number; ours are all safe integers. */
const bigintTransformer = {
  to: (value: number | null) => value,
  from: (value: string | number | null) => (value === null ? null : Number(value)),
};

export function entities(dialect: Dialect): EntitySchema[] {
  return Object.entries(SCHEMA).map(
    ([tableName, shape]) =>
      new EntitySchema({
        name: tableName,
        tableName,
        columns: Object.fromEntries(
          Object.entries(shape.columns).map(([name, text]): [string, EntitySchemaColumnOptions] => {
            const { auto, length, ...column } = parseColumn(text, dialect);
            return [
              name,
              {
                ...column,
                ...(length === undefined ? {} : { length: Number(length) }),
                ...(auto ? { generated: "increment" } : {}),
                ...(column.type === "bigint" ? { transformer: bigintTransformer } : {}),
              },
            ];
          }),
        ),
        indices: indexesOf(shape),
      }),
  );
}

/** The tables as they are after the last migration. Times are epoch milliseconds; hashes are SHA-256 in hex. */
export const SCHEMA: Readonly<Record<string, TableShape>> = {
  users: {
    columns: {
      uuid: "char(36) pk",
      email: "varchar(254)",
      password_hash: "varchar(255)",
      roles: "text",
      event_seq: "bigint",
      disabled_at: "bigint?",
      email_verified_at: "bigint?",
      epoch: "bigint?",
      row_version: "bigint?",
      signed_in_at: "bigint?",
      closed_at: "bigint?",
      factors_generation: "bigint?",
      password_generation: "varchar(129)?",
      passwordless: "int?",
      language: "varchar(35)?",
      created_at: "bigint",
      updated_at: "bigint",
    },
    unique: { uq_users_email: ["email"] },
    indexes: { ix_users_created: ["created_at", "uuid"], ix_users_closed: ["closed_at"] },
  },
  totp_factor: {
    columns: {
      user_id: "char(36) pk",
      sealed_secret: "text",
      last_step: "bigint",
      last_attempt: "varchar(64)?",
      created_at: "bigint",
    },
  },
  recovery_code: {
    columns: {
      code_hash: "char(64) pk",
      user_id: "char(36)",
      used_by: "varchar(64)?",
      used_at: "bigint?",
      created_at: "bigint",
    },
    indexes: { ix_recovery_user: ["user_id"] },
  },
  passkey: {
    columns: {
      id_hash: "char(64) pk",
      credential_id: "text",
      user_id: "char(36)",
      public_key: "text",
      sign_count: "bigint",
      transports: "text",
      synced: "int",
      name: "varchar(255)",
      created_at: "bigint",
      last_used_at: "bigint?",
    },
    indexes: { ix_passkey_user: ["user_id", "created_at"] },
  },
  user_profiles: {
    columns: { user_id: "char(36) pk", nickname: "varchar(255)", claims: "text?", updated_at: "bigint" },
  },
  oauth2_registered_client: {
    columns: {
      client_id: "varchar(191) pk",
      metadata: "text",
      source: "varchar(16)",
      disabled_at: "bigint?",
      disabled_by: "varchar(16)?",
      file_secret_hash: "char(64)?",
      registration_token_hash: "char(64)?",
      idle_limit_since: "bigint?",
      epoch: "bigint?",
      first_epoch: "bigint?",
      created_at: "bigint",
      updated_at: "bigint",
    },
    indexes: { ix_client_source: ["source"] },
  },
  oauth2_client_secret: {
    columns: {
      id: "char(36) pk",
      client_id: "varchar(191)",
      secret_hash: "char(64)",
      authorization_id: "char(36)?",
      created_at: "bigint",
      expires_at: "bigint?",
    },
    indexes: { ix_secret_client: ["client_id", "created_at"], ix_secret_expires: ["expires_at"] },
  },
  oauth2_authorization: {
    columns: {
      id: "char(36) pk",
      grant_type: "varchar(32)",
      client_id: "varchar(191)",
      subject: "varchar(191)",
      session_hash: "char(64)?",
      scope: "text",
      resource: "text?",
      nonce: "text?",
      claims: "text?",
      dpop_jkt: "varchar(64)?",
      auth_time: "bigint?",
      amr: "varchar(100)?",
      acr: "varchar(100)?",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      expires_at: "bigint",
      last_used_at: "bigint?",
      revoked_at: "bigint?",
      revoked_reason: "varchar(64)?",
      refresh_jti: "varchar(64)?",
      refresh_iat: "bigint?",
      refresh_exp: "bigint?",
      refresh_kid: "varchar(64)?",
      generation: "int",
      rotations: "text",
      user_epoch: "bigint?",
      client_epoch: "bigint?",
    },
    indexes: {
      ix_authorization_client: ["subject", "client_id", "created_at"],
      ix_authorization_subject: ["subject", "created_at", "id"],
      ix_authorization_session: ["session_hash"],
      ix_authorization_expires: ["expires_at"],
    },
  },
  oauth2_authorization_code: {
    columns: {
      code_hash: "char(64) pk",
      client_id: "varchar(191)",
      user_id: "char(36)",
      session_hash: "char(64)",
      redirect_uri: "text",
      scope: "text",
      nonce: "text?",
      claims: "text?",
      dpop_jkt: "varchar(64)?",
      code_challenge: "varchar(128)",
      resource: "text?",
      auth_time: "bigint",
      amr: "varchar(100)?",
      acr: "varchar(100)?",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      expires_at: "bigint",
      redeemed_at: "bigint?",
      revoked_at: "bigint?",
      attempt_id: "varchar(64)?",
      authorization_id: "char(36)?",
      wrong_verifiers: "int",
      client_epoch: "bigint?",
    },
    indexes: {
      ix_code_user: ["user_id"],
      ix_code_session: ["session_hash"],
      ix_code_expires: ["expires_at"],
    },
  },
  oauth2_authorization_request: {
    columns: {
      id: "varchar(64) pk",
      session_hash: "char(64)",
      parameters: "text",
      pushed_hash: "char(64)?",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_request_session: ["session_hash", "created_at", "id"], ix_request_expires: ["expires_at"] },
  },
  oauth2_authorization_consent: {
    columns: {
      user_id: "char(36) pk",
      client_id: "varchar(191) pk",
      scope: "text",
      updated_at: "bigint",
      client_epoch: "bigint?",
    },
    indexes: { ix_consent_client: ["client_id", "user_id"] },
  },
  oauth2_pushed_request: {
    columns: {
      uri_hash: "char(64) pk",
      client_id: "varchar(191)",
      parameters: "text",
      created_at: "bigint",
      expires_at: "bigint",
      used_at: "bigint?",
      client_epoch: "bigint?",
    },
    indexes: { ix_pushed_expires: ["expires_at"] },
  },
  oauth2_device_code: {
    columns: {
      device_code_hash: "char(64) pk",
      user_code_hash: "char(64)",
      client_id: "varchar(191)",
      scope: "text",
      resource: "text?",
      dpop_jkt: "varchar(64)?",
      interval_ms: "int",
      last_polled_at: "bigint?",
      user_id: "char(36)?",
      session_hash: "char(64)?",
      auth_time: "bigint?",
      amr: "varchar(100)?",
      ip_address: "varchar(64)?",
      user_agent: "text?",
      allowed_at: "bigint?",
      denied_at: "bigint?",
      redeemed_at: "bigint?",
      revoked_at: "bigint?",
      attempt_id: "varchar(64)?",
      client_epoch: "bigint?",
      created_at: "bigint",
      expires_at: "bigint",
    },
    unique: { uq_device_user_code: ["user_code_hash"] },
    indexes: {
      ix_device_user: ["user_id"],
      ix_device_session: ["session_hash"],
      ix_device_expires: ["expires_at"],
    },
  },
  oauth2_initial_access_token: {
    columns: {
      token_hash: "char(64) pk",
      uses_left: "int?",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_initial_expires: ["expires_at"] },
  },
  used_once: {
    columns: { value_hash: "char(64) pk", expires_at: "bigint", used_by: "varchar(64)?", used_at: "bigint?" },
    indexes: { ix_used_once_expires: ["expires_at"] },
  },
  logout_notice: {
    columns: {
      id: "char(36) pk",
      client_id: "varchar(191)",
      sid: "char(36)",
      sub: "varchar(191)",
      status: "varchar(8)",
      attempts: "int",
      reason: "text?",
      created_at: "bigint",
      next_attempt_at: "bigint",
      expires_at: "bigint",
    },
    indexes: {
      ix_notice_due: ["status", "next_attempt_at"],
      ix_notice_client: ["status", "client_id", "next_attempt_at"],
      ix_notice_expires: ["expires_at"],
    },
  },
  removed_client: {
    columns: { client_id: "varchar(191) pk", epoch: "bigint" },
  },
  issuer: {
    columns: { id: "int pk", url: "text", since: "bigint", rp_id: "text?" },
  },
  clients_file: {
    columns: {
      name: "varchar(16) pk",
      version: "bigint?",
      modified_at: "bigint",
      content_hash: "char(64)",
      applied_at: "bigint",
    },
  },
  session_application: {
    columns: {
      sid: "char(36) pk",
      session_hash: "char(64)",
      client_id: "varchar(191)",
      subject: "varchar(191)",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: {
      ix_application_session: ["session_hash", "created_at"],
      ix_application_expires: ["expires_at"],
    },
  },
  browser_session: {
    columns: {
      id_hash: "char(64) pk",
      user_id: "char(36)?",
      auth_time: "bigint?",
      amr: "varchar(100)?",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      last_seen_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_session_user: ["user_id"], ix_session_expires: ["expires_at"] },
  },
  password_reset_token: {
    columns: {
      token_hash: "char(64) pk",
      user_id: "char(36)",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_reset_user: ["user_id"], ix_reset_expires: ["expires_at"] },
  },
  email_verification: {
    columns: {
      token_hash: "char(64) pk",
      user_id: "char(36)",
      email: "varchar(254)",
      created_at: "bigint",
      expires_at: "bigint",
      used_at: "bigint?",
      replaced_at: "bigint?",
    },
    indexes: { ix_verification_user: ["user_id", "created_at"], ix_verification_expires: ["expires_at"] },
  },
  mail: {
    columns: {
      event_id: "varchar(64) pk",
      user_id: "char(36)",
      status: "varchar(8)",
      attempts: "int",
      payload: "text",
      reason: "text?",
      created_at: "bigint",
      next_attempt_at: "bigint",
      sent_at: "bigint?",
    },
    indexes: {
      ix_mail_due: ["status", "next_attempt_at"],
      ix_mail_sent: ["sent_at"],
      ix_mail_user: ["user_id"],
    },
  },
  signing_key: {
    columns: {
      kid: "varchar(64) pk",
      key_use: "varchar(16)",
      alg: "varchar(16)",
      generation: "int",
      public_jwk: "text",
      sealed_private_jwk: "text",
      created_at: "bigint",
      active_from: "bigint",
      distrusted_at: "bigint?",
    },
    unique: { uq_key_generation: ["key_use", "alg", "generation"] },
  },
  outbox: {
    columns: {
      event_id: "varchar(64) pk",
      event_type: "varchar(32)",
      user_id: "char(36)",
      seq: "bigint",
      lane: "int",
      status: "varchar(8)",
      attempts: "int",
      payload: "text",
      reason: "text?",
      created_at: "bigint",
      sent_at: "bigint?",
    },
    unique: { uq_outbox_user_seq: ["user_id", "seq"] },
    indexes: {
      ix_outbox_queue: ["status", "lane", "event_type", "created_at", "event_id"],
      ix_outbox_user_type: ["user_id", "event_type", "status", "seq"],
      ix_outbox_status: ["status", "created_at"],
      ix_outbox_sent: ["status", "sent_at"],
    },
  },
  rate_limit: {
    columns: { limit_key: "char(64) pk", used: "int", window_ends_at: "bigint" },
    indexes: { ix_limit_window: ["window_ends_at"] },
  },
  lease: {
    columns: { name: "varchar(128) pk", owner: "varchar(128)", epoch: "bigint", expires_at: "bigint" },
    indexes: { ix_lease_expires: ["expires_at"] },
  },
  access_token_lifetime: {
    columns: { lifetime_ms: "bigint pk", used_until: "bigint" },
  },
  revocation: {
    columns: {
      id: "bigint pk auto",
      kind: "varchar(16)",
      value: "varchar(191)",
      reason: "varchar(64)",
      revoked_at: "bigint",
      expires_at: "bigint",
      epoch: "bigint?",
    },
    indexes: { ix_revocation_value: ["kind", "value"], ix_revocation_expires: ["expires_at"] },
  },
};
