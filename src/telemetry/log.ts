import pino from "pino";
import { currentRequest } from "./request.ts";

export type Logger = pino.Logger;

/** Fields that may hold a credential: their values are never logged. */
const secretNames = [
  "password",
  "newPassword",
  "currentPassword",
  "token",
  "access_token",
  "refresh_token",
  "id_token",
  "code",
  "code_verifier",
  "client_secret",
  "resetToken",
  "resetUrl",
  "authorization",
  "cookie",
];

/** The code of a system's or a database's error, as in `ECONNREFUSED`, `ER_LOCK_DEADLOCK`: no code of an authorization looks like that. */
const faultName = /^E[A-Z0-9_]{2,39}$|^(?:SQLITE|PROTOCOL|ERR|UND_ERR)_[A-Z0-9_]{2,39}$/;

/** An error as the log has it. Its `code` is hidden as every other, so a fault's name stands in `fault` too. */
function describeError(error: Error): object {
  const described = pino.stdSerializers.err(error);
  const { code } = described;
  return typeof code === "string" && faultName.test(code) ? { ...described, fault: code } : described;
}

export function createLogger(level: string, destination?: pino.DestinationStream): Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[redacted]" },
    serializers: { err: describeError },
    mixin: () => {
      const request = currentRequest();
      return request === undefined ? {} : { request_id: request.id };
    },
    formatters: { level: (label) => ({ level: label }) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
