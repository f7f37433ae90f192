import type { Authorization } from "./authorizations.ts";
import type { ClientMetadata } from "./client-metadata.ts";

/** Where clients come from whose names the operator knows. */
export const OPERATOR_SOURCES = ["development", "file", "command"] as const;

export type ClientSource = (typeof OPERATOR_SOURCES)[number] | "registration" | "document";

export interface ClientSecret {
  readonly id: string;
  /** SHA-256, hex. */
  readonly hash: string;
  readonly createdAt: number;
  /** Null: until rotated. */
  readonly expiresAt: number | null;
  /** `sid` of the standing authorization of the client's own tokens; null before the first. */
  readonly authorizationId: string | null;
}

export interface Client {
  readonly clientId: string;
  readonly metadata: ClientMetadata;
  readonly source: ClientSource;
  readonly createdAt: number;
  /** How often its tokens were ended as a whole: each access token carries it. A later client of the same id goes on counting, however much later. */
  readonly epoch: number;
  /** The epoch that it was registered with: what was given at a lower one was given to an earlier client of the same id. */
  readonly firstEpoch: number;
  readonly disabledAt: number | null;
  /** `file`: it went from the clients file; `command`: somebody disabled it, which the file never undoes. */
  readonly disabledBy: "file" | "command" | null;
  /** SHA-256 of the secret the clients file last named: tells a changed file from a rotated secret. */
  readonly fileSecretHash: string | null;
  /** When `refresh_token_idle_ttl` was set where there was none: uses before that may not have been kept. Null: with the client. */
  readonly idleLimitSince: number | null;
  /** Newest first, expired ones included until they are cleaned up. */
  readonly secrets: readonly ClientSecret[];
}

/** The clients file that was applied last. */
export interface AppliedFile {
  readonly version: number | null;
  /** Epoch milliseconds. */
  readonly modifiedAt: number;
  /** SHA-256, hex. */
  readonly contentHash: string;
}

export type NewClient = Pick<Client, "clientId" | "metadata" | "source" | "createdAt" | "fileSecretHash">;

export interface ClientStore {
  find(clientId: string): Promise<Client | null>;
  /** Those that exist, in no order. */
  findMany(clientIds: readonly string[]): Promise<Client[]>;
  list(): Promise<Client[]>;
  /** Those of the operator, without any that registered themselves. */
  listOfOperator(): Promise<Client[]>;
  /** Null: a client of this id exists. */
  create(client: NewClient, secretHash: string | null): Promise<Client | null>;
  /** A token that lets clients register themselves (RFC 7591 section 3), known by its SHA-256. */
  saveInitialAccessToken(token: {
    tokenHash: string;
    uses: number;
    createdAt: number;
    expiresAt: number;
  }): Promise<void>;
  /** Is it unexpired, with a use left? */
  hasInitialAccessToken(tokenHash: string, now: number): Promise<boolean>;
  /** Registers a client for one use of an initial access token, both or neither; null: none is needed. */
  register(
    client: Pick<Client, "clientId" | "metadata" | "createdAt">,
    hashes: { initialToken: string | null; registrationToken: string; secret: string | null },
  ): Promise<"registered" | "token_refused">;
  /** The client that registered itself and got this token for it (RFC 7592); null: no such pair, or disabled. */
  findRegistered(clientId: string, registrationTokenHash: string): Promise<Client | null>;
  /**
   * Changes what is there at that moment, all or nothing.
   * @param change may run again, even after what it said has been done. Its secret ends the older ones at once; null: they stay. What it throws is thrown
   * @returns the client as it is then; null: no such client
   */
  update(
    clientId: string,
    change: (client: Client) => { readonly metadata: ClientMetadata; readonly secretHash: string | null },
    now: number,
  ): Promise<Client | null>;
  /** `source` changes too, when given: a file may take over a client of the development set. */
  replaceMetadata(clientId: string, metadata: ClientMetadata, source: ClientSource, now: number): Promise<void>;
  appliedFile(): Promise<AppliedFile | null>;
  recordAppliedFile(file: AppliedFile, now: number): Promise<void>;
  disable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /** Undoes what `by` did and nothing else. */
  enable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /**
   * Deletes the client with its secrets and the consents to it, and revokes its tokens. What was given to it before is not for a client
   * that gets its id later: that one was created later. False: no such client.
   */
  remove(clientId: string, now: number): Promise<boolean>;
  /**
   * A new secret; every older one ends at `olderEndAt` at the latest, and what ended by `now` takes its standing authorization
   * with it (revoked in the same transaction). `fileSecretHash` is recorded when given.
   */
  addSecret(
    clientId: string,
    secretHash: string,
    options: { now: number; olderEndAt: number; fileSecretHash?: string | null },
  ): Promise<void>;
  /** Revokes the standing authorizations of secrets whose overlap is over. */
  endSecrets(now: number): Promise<void>;
  /**
   * The standing authorization of a secret: the current one when it is live, else `fresh` is recorded and returned.
   * Of N callers at once all get the same.
   * @param secretId null: of a client without one, which authenticates with its key
   */
  standingAuthorization(secretId: string | null, fresh: Authorization, now: number): Promise<string>;
}
