/** What an environment variable may be, and what an operator reads about it in docs/configuration.md. */
export type Variable = {
  readonly meaning: string;
  /** Shown in an error message. */
  readonly example: string;
  /** Shown in the documentation where the default is not one value. */
  readonly unset?: string;
} & (
  | { readonly kind: "text" | "list" }
  /** The variable, or the content of the file that `NAME_FILE` names. */
  | { readonly kind: "secret" }
  /** The path of a file that must be readable. */
  | { readonly kind: "file" }
  | { readonly kind: "integer"; readonly default: number; readonly min: number; readonly max: number }
  | { readonly kind: "flag"; readonly default: boolean | "production" }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
);

const host = (where: string) =>
  ({ kind: "text", unset: "127.0.0.1", example: "127.0.0.1", meaning: `Address of ${where}.` }) as const;
const port = (number: number, where: string) =>
  ({
    kind: "integer",
    default: number,
    min: 1,
    max: 65_535,
    example: String(number),
    meaning: `Port of ${where}.`,
  }) as const;
const seconds = (number: number, max: number, meaning: string) =>
  ({ kind: "integer", default: number, min: 1, max, example: String(number), meaning }) as const;

/** Every variable that the service reads, by section. A name that is not declared here cannot be read: it does not compile. */
export const SECTIONS = {
  Deployment: {
    NODE_ENV: {
      kind: "text",
      unset: "development",
      example: "production",
      meaning:
        "`production` refuses every development default: sample clients, generated keys, an http issuer that is not on loopback, SQLite. Any other value listens on loopback only.",
    },
    ISSUER: {
      kind: "text",
      unset: "http://localhost and HTTP_PORT; in production required",
      example: "https://auth.example.com",
      meaning: "`iss`, and the base of every advertised URL. No slash at the end.",
    },
    WORKERS: {
      kind: "integer",
      default: 1,
      min: 1,
      max: 64,
      example: "1",
      meaning: "Processes that share the listeners. More than one needs MySQL.",
    },
    LOG_LEVEL: {
      kind: "choice",
      choices: ["info", "fatal", "error", "warn", "debug", "trace", "silent"],
      example: "info",
      meaning: "The least severe level that is logged.",
    },
  },
  Listeners: {
    HTTP_HOST: host("the public listener: OAuth, OpenID Connect, pages, `/api/users/*`"),
    HTTP_PORT: port(8081, "the public listener"),
    GRPC_HOST: host("the internal gRPC listener"),
    GRPC_PORT: port(9091, "the internal gRPC listener"),
    INTERNAL_HTTP_HOST: host("the internal HTTP listener: Connect, gRPC-Web, `/healthz`, `/readyz`, `/metrics`"),
    INTERNAL_HTTP_PORT: port(9092, "the internal HTTP listener"),
    GRPC_TLS_CERT: {
      kind: "file",
      example: "/etc/tls/tls.crt",
      meaning: "PEM file: TLS on both internal listeners, with `GRPC_TLS_KEY`.",
    },
    GRPC_TLS_KEY: { kind: "file", example: "/etc/tls/tls.key", meaning: "PEM file: the key of `GRPC_TLS_CERT`." },
    GRPC_TLS_CLIENT_CA: {
      kind: "file",
      example: "/etc/tls/clients.crt",
      meaning: "PEM file: internal callers need a certificate of this authority (mTLS).",
    },
    TRUST_PROXY: {
      kind: "list",
      example: "10.0.0.0/8,127.0.0.1",
      meaning:
        "Addresses or networks whose `X-Forwarded-*` headers are believed, or `loopback`, `linklocal`, `uniquelocal`.",
    },
    KEEP_ALIVE_TIMEOUT: {
      kind: "integer",
      default: 72,
      min: 1,
      max: 3_600,
      example: "72",
      meaning:
        "How long the public listener keeps an idle connection (seconds): longer than the load balancer in front of it does.",
    },
    HSTS_INCLUDE_SUBDOMAINS: {
      kind: "flag",
      default: false,
      example: "1",
      meaning: "With an https issuer, browsers use https for the issuer's subdomains too (`includeSubDomains`).",
    },
    CORS_ORIGINS: {
      kind: "list",
      unset: "development: any loopback origin; production: none",
      example: "https://portal.example.com,https://admin.example.com",
      meaning:
        "Origins whose scripts may call the service. Origins of other schemes (`capacitor://localhost`) are compared as they are. Key set, metadata and `/api/openapi.json` may be read from every origin.",
    },
  },
  Storage: {
    DATABASE_URL: {
      kind: "secret",
      unset: "sqlite:./data/auth.sqlite",
      example: "mysql://auth:secret@db.example:3306/auth",
      meaning:
        "`sqlite:PATH`, or `mysql://user:password@host:port,host:port/database`, with `?ssl-mode=` `DISABLED`, `REQUIRED`, `VERIFY_CA` or `VERIFY_IDENTITY`. Of several hosts, which hold the same data, the first that takes writes is used, and another one within 5 s once it does not.",
    },
    DATABASE_SSL_CA: {
      kind: "file",
      example: "/etc/tls/database-ca.crt",
      meaning:
        "PEM file: TLS to the database, verified against this authority (`VERIFY_IDENTITY` unless `ssl-mode` says otherwise). Read again for new connections.",
    },
    ALLOW_SQLITE: {
      kind: "flag",
      default: false,
      example: "1",
      meaning: "`1` allows SQLite in production, for one process.",
    },
    KEY_ENCRYPTION_KEY: {
      kind: "secret",
      unset: "with SQLite in development: made in ./data",
      example: "$(openssl rand -base64 32)",
      meaning:
        "32 bytes in base64, the same on every replica: seals signing keys and events at rest. Several with commas between them while the key is changed: the first one seals, all of them open.",
    },
    CLIENTS_FILE: {
      kind: "file",
      example: "./clients.json",
      meaning:
        'JSON array of client registrations, applied at start; or `{ "version": 1, "clients": [...] }`. A file of a lower or the same version as the applied one, without versions one that was written earlier, changes nothing and says so.',
    },
  },
  Events: {
    KAFKA_BROKERS: {
      kind: "list",
      example: "kafka-1:9092,kafka-2:9092",
      meaning: "`host:port` of each broker; an IPv6 address in brackets. Without brokers, events go to `EVENTS_FILE`.",
    },
    KAFKA_SSL: { kind: "flag", default: false, example: "1", meaning: "TLS to the brokers." },
    KAFKA_SASL_MECHANISM: {
      kind: "text",
      example: "scram-sha-512",
      meaning: "`plain`, `scram-sha-256` or `scram-sha-512`, with the user name and password.",
    },
    KAFKA_SASL_USERNAME: { kind: "secret", example: "auth", meaning: "User name at the brokers." },
    KAFKA_SASL_PASSWORD: { kind: "secret", example: "secret", meaning: "Password at the brokers." },
    KAFKA_TOPIC_PARTITIONS: {
      kind: "integer",
      default: 3,
      min: 1,
      max: 10_000,
      example: "3",
      meaning: "Partitions of topics that are made at start.",
    },
    KAFKA_TOPIC_REPLICATION: {
      kind: "integer",
      default: -1,
      min: -1,
      max: 100,
      example: "3",
      meaning: "Replicas of topics that are made at start; `-1`: the brokers' default.",
    },
    EVENTS_FILE: {
      kind: "text",
      unset: "./data/events.ndjson",
      example: "./data/events.ndjson",
      meaning: 'Where events go without Kafka: one `{"topic","key","event"}` a line.',
    },
  },
  Mail: {
    SMTP_URL: {
      kind: "secret",
      example: "smtps://user:password@mail.example.com:465",
      meaning:
        "SMTP server: the service then sends its own mails. `smtps:` is TLS from the start; `smtp:` needs STARTTLS, but on loopback. Without it consumers of the events send them.",
    },
    MAIL_FROM: {
      kind: "text",
      unset: "no-reply@ the host of ISSUER",
      example: "Example <no-reply@example.com>",
      meaning: "Sender of the mails; an address without a name gets that of BRAND_FILE.",
    },
  },
  Tokens: {
    ACCESS_TOKEN_TTL: seconds(120, 3_600, "Lifetime of access tokens (seconds)."),
    REFRESH_TOKEN_TTL: seconds(2_592_000, 31_536_000, "Lifetime of an authorization and its refresh tokens (seconds)."),
    ID_TOKEN_TTL: seconds(600, 86_400, "Lifetime of ID tokens (seconds)."),
    OPEN_REGISTRATION: {
      kind: "flag",
      default: false,
      example: "1",
      meaning:
        "Clients may register themselves without an initial access token, as MCP clients do: 30 an hour and network, 300 an hour in all. They are shown to users as unverified.",
    },
    CLIENT_ID_DOCUMENTS: {
      kind: "flag",
      default: false,
      example: "1",
      meaning:
        "A client id may be the https URL of the client's metadata (draft-ietf-oauth-client-id-metadata-document), which the service then fetches: 300 new ones an hour, open registrations included. Users see them as unverified.",
    },
    PRIVATE_URI_SCHEMES: {
      kind: "list",
      example: "cursor,windsurf",
      meaning:
        "Private-use schemes without a dot that redirect URIs of clients may have, beside those with one (`com.example.app`). Any application of a device can claim such a scheme (RFC 8252 section 8.4): name only those of programs that you want to serve.",
    },
    STRICT_ASSERTION_AUDIENCE: {
      kind: "flag",
      default: false,
      example: "1",
      meaning:
        "Refuses client assertions (`private_key_jwt`) whose audience is the token or the pushed authorization endpoint: only the issuer is one. Clients with `profile: fapi2` are always held to that.",
    },
    RESOURCES: {
      kind: "list",
      example: "https://mcp.example.com/mcp,https://api.example.com/",
      meaning:
        "Resources that every client may request tokens for (RFC 8707), also one that registered itself; the `resources` of a client add to them.",
    },
    SCOPES_FILE: {
      kind: "file",
      example: "/etc/auth/scopes.json",
      meaning:
        "JSON array of scopes: what the consent page says of each, the claims it releases, the resource it belongs to, who may ask for it ([how to](how-to/scopes.md)).",
    },
    REFRESH_REJECTED_STATUS: {
      kind: "choice",
      choices: ["401", "400"],
      unset: "by client: 401 without a secret, 400 for others",
      example: "401",
      meaning: "HTTP status of every refused refresh.",
    },
    JWKS_MAX_AGE: seconds(
      300,
      86_400,
      "How long verifiers may cache the key set (seconds). New keys wait so long before they sign; where it was lowered, as long as the longer one that was told still counts.",
    ),
    KEY_ROTATION_DAYS: {
      kind: "integer",
      default: 90,
      min: 0,
      max: 3_650,
      example: "90",
      meaning: "Signing keys are replaced after so many days; `0`: only by command.",
    },
    REVOCATION_MAX_STALENESS: {
      kind: "integer",
      default: 1_000,
      min: 50,
      max: 60_000,
      example: "1000",
      meaning: "An introspection never relies on an older state (milliseconds).",
    },
    OUTBOUND_ALLOWED_HOSTS: {
      kind: "list",
      example: "keys.internal,10.0.0.7:8443",
      meaning: "Private hosts that clients' key sets, logos and logout URIs may name.",
    },
  },
  Accounts: {
    PASSWORD_MIN_LENGTH: {
      kind: "integer",
      default: 8,
      min: 8,
      max: 64,
      example: "8",
      meaning: "Characters that a password needs at least; at most 128, no composition rules.",
    },
    PASSWORD_BLOCKLIST: {
      kind: "flag",
      default: "production",
      example: "1",
      meaning: "Refuses common passwords.",
    },
    PASSWORD_BREACH_URL: {
      kind: "text",
      example: "https://api.pwnedpasswords.com/range",
      meaning:
        "Service that knows breached passwords, in the range format of Have I Been Pwned: it is asked for hashes that begin as that of a new password. Where it does not answer within a second, the password is taken.",
    },
    PASSKEY_RP_ID: {
      kind: "text",
      unset: "host of ISSUER",
      example: "example.com",
      meaning:
        "Domain that passkeys are for (RP ID): the issuer's host or a domain above it. Passkeys made for another one no longer work: once somebody has a passkey, a start with another domain is refused. An issuer whose host is an IP address has no passkeys.",
    },
    PASSKEY_ORIGINS: {
      kind: "list",
      example: "https://auth.example.org,android:apk-key-hash:…",
      meaning:
        "Origins beside the issuer's whose pages and apps use these passkeys. The https ones are named in `/.well-known/webauthn` (related origin requests), which browsers read at the RP ID.",
    },
    PASSWORD_RESET_URL: {
      kind: "text",
      unset: "ISSUER/password-reset",
      example: "https://portal.example.com/reset",
      meaning: "The page that reset mails point to.",
    },
  },
  Pages: {
    BRAND_FILE: {
      kind: "file",
      example: "/etc/auth/brand/brand.json",
      meaning:
        "JSON file: name, logo, colours, links and legal line of the pages that people see ([how to](how-to/brand.md)).",
    },
    TEMPLATES_DIR: {
      kind: "text",
      example: "/etc/auth/templates",
      meaning:
        "Folder of `.eta` files that take the place of the pages' templates of the same name ([how to](how-to/brand.md#your-own-templates)). They are code: they run in the service.",
    },
  },
  Limits: {
    RATE_LIMIT_PER_MINUTE: {
      kind: "integer",
      default: 0,
      min: 0,
      max: 10_000_000,
      example: "6000",
      meaning:
        "Requests a minute and network on the public listener, over all replicas; `0`: not limited. Counted in memory and told to the database in the background, so each replica lets up to a twentieth more through. The key set and the metadata are not counted.",
    },
    CALLER_RATE_LIMIT: {
      kind: "integer",
      default: 0,
      min: 0,
      max: 10_000_000,
      example: "5000",
      meaning:
        "Calls a second and client of one process, on the internal listeners and at HTTP introspection; `0`: not limited.",
    },
  },
} as const satisfies Record<string, Record<string, Variable>>;

type Sections = typeof SECTIONS;
/** All sections in one record. */
type All = UnionToIntersection<Sections[keyof Sections]>;
type UnionToIntersection<T> = (T extends unknown ? (value: T) => void : never) extends (value: infer R) => void
  ? R
  : never;

export type VariableName = keyof All;
/** Names of the variables of a kind. */
export type NamesOf<Kind extends Variable["kind"]> = {
  [Name in VariableName]: All[Name] extends { readonly kind: Kind } ? Name : never;
}[VariableName];
export type ChoicesOf<Name extends NamesOf<"choice">> = All[Name]["choices"][number];

export const VARIABLES: Readonly<Record<VariableName, Variable>> = Object.assign({}, ...Object.values(SECTIONS));
