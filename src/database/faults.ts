import { AuthError } from "../errors.ts";

/**
 * What each fault of a database means, in one place: what is retried, what is an answer, what is "not now".
 * Numbers are MySQL's and MariaDB's server errors, names are SQLite's, Node's and mysql2's.
 */

/** Deadlock (also Galera's certification conflict), record changed since read. */
const conflictNumbers = new Set([1213, 1020]);
/** Lock wait timeout, of a row and of a table's definition. */
const lockWaitNumber = 1205;
const conflictCodes = /^SQLITE_(BUSY|LOCKED)/;

const uniqueNumbers = new Set([1062, 1586]);
const uniqueCodes = new Set(["SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"]);

/**
 * Too many connections (1040, 1129, 1203, 1226), user or password refused (1044, 1045: while they are changed), shutting down (1053),
 * read-only (1290, 1792, 1836), disk or table full (1021, 1026, 1030, 1114), out of memory (1037, 1038, 1041, 1206), connection refused or
 * dropped by the server (1042, 1152, 1158-1161, 1927, 4031), statement killed or past its deadline (1317, 1969, 3024), a Galera node that is
 * not in the primary component (1047) or left it during a commit (1180), refused by an operator's trigger (1644).
 */
const awayNumbers = new Set([
  1021, 1026, 1030, 1037, 1038, 1040, 1041, 1042, 1044, 1045, 1047, 1053, 1114, 1129, 1152, 1158, 1159, 1160, 1161,
  1180, 1203, 1206, 1226, 1290, 1317, 1644, 1792, 1836, 1927, 1969, 3024, 4031,
]);
const awayCodes =
  /^(PROTOCOL_|HANDSHAKE_|POOL_|SQLITE_(FULL|IOERR|CANTOPEN|READONLY|NOMEM|PROTOCOL|INTERRUPT)|E(CONN\w+|PIPE|TIMEDOUT|NOTFOUND|AI_AGAIN|HOSTUNREACH|NETUNREACH|HOSTDOWN|NETDOWN|ADDRNOTAVAIL|MFILE|NFILE|NOSPC|IO)$)/;
/** Faults that mysql2 gives a message and no code. */
const awayMessages =
  /^(Queue limit reached|No connections available|Pool is closed|Can't add new command when connection is in closed state|Connection lost|The database connection is not open)/;
/** The connection is gone with everything it had not committed. */
const lostCodes = /^(PROTOCOL_CONNECTION_LOST|PROTOCOL_ENQUEUE_\w+|ECONNRESET|EPIPE)$/;
const lostNumbers = new Set([1053, 1152, 1158, 1159, 1160, 1161, 1927, 4031]);

interface Fault {
  readonly code: string;
  readonly number: number;
  readonly message: string;
}

/** The driver's own error below whatever wraps it. */
function faultOf(error: unknown): Fault {
  let inner = error;
  for (let depth = 0; depth < 5 && inner instanceof Error; depth++) {
    const next = (inner as { driverError?: unknown }).driverError;
    if (!(next instanceof Error) || next === inner) break;
    inner = next;
  }
  const { code, errno, message } = (inner ?? {}) as { code?: unknown; errno?: unknown; message?: unknown };
  return {
    code: typeof code === "string" ? code : "",
    number: typeof errno === "number" ? errno : 0,
    message: typeof message === "string" ? message : String(inner),
  };
}

export function isUniqueViolation(error: unknown): boolean {
  const { code, number } = faultOf(error);
  return uniqueNumbers.has(number) || uniqueCodes.has(code);
}

/** Two transactions met and this one lost: the whole of it is worth another try. */
export function isConflict(error: unknown): boolean {
  const { code, number } = faultOf(error);
  return conflictNumbers.has(number) || conflictCodes.test(code);
}

/** Another transaction keeps a row or a table for longer than one waits for it. The connection is good. */
export function isLockWait(error: unknown): boolean {
  return faultOf(error).number === lockWaitNumber;
}

/** The connection went: what was not committed is undone, and what was being committed may be either. */
export function isConnectionLost(error: unknown): boolean {
  const { code, number, message } = faultOf(error);
  return lostCodes.test(code) || lostNumbers.has(number) || message.startsWith("Can't add new command");
}

/** The database is away, overloaded, full, read-only or past the deadline: nothing the caller did. */
export function isAway(error: unknown): boolean {
  const { code, number, message } = faultOf(error);
  return awayNumbers.has(number) || awayCodes.test(code) || awayMessages.test(message) || isConnectionLost(error);
}

/**
 * What may be logged of a database's error: drivers put the statement with its values (password hashes, addresses) on it,
 * and a duplicate's message quotes the value.
 */
export function withoutValues(error: unknown): Error {
  if (!(error instanceof Error)) return new Error("database error");
  const { code, number, message } = faultOf(error);
  if (code === "" && number === 0) return error.name === "QueryFailedError" ? new Error(message) : error;
  const text = isUniqueViolation(error) ? "duplicate value for a unique index" : message;
  const clean = Object.assign(new Error(text), { code, errno: number });
  if (error.stack !== undefined)
    clean.stack = `${code}: ${text}\n${error.stack.split("\n    at ").slice(1).join("\n    at ")}`;
  return clean;
}

/** Another instance, or the same one in a second or two, may well succeed. */
export function toUnavailable(error: unknown): AuthError {
  if (error instanceof AuthError && error.code === "unavailable") return error;
  return new AuthError("unavailable", "the service is temporarily unavailable", {
    cause: withoutValues(error),
    retryAfter: Math.random() < 0.5 ? 1 : 2,
  });
}
