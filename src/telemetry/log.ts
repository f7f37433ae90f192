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

export function createLogger(level: string, destination?: pino.DestinationStream): Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[redacted]" },
    mixin: () => {
      const request = currentRequest();
      return request === undefined ? {} : { request_id: request.id };
    },
    formatters: { level: (label) => ({ level: label }) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
