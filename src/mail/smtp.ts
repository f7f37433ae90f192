import { createTransport, type Transporter } from "nodemailer";
import { isLoopback } from "../net/loopback.ts";
import type { Mail } from "./mail.ts";

/**
 * Why a mail was not sent.
 * - `away`: the server does not answer, or answers nobody now: another mail would fail too;
 * - `login`: the server refuses the user name and password;
 * - `later`: the server refuses this mail for now (4xx);
 * - `never`: the server refuses this mail for good (5xx).
 */
export type MailFailure = "away" | "login" | "later" | "never";

export class MailError extends Error {
  readonly failure: MailFailure;
  constructor(failure: MailFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

export interface MailTransport {
  /** Resolves when the server has taken the mail. @throws MailError */
  send(mail: Mail): Promise<void>;
  close(): void;
}

const connections = 4;
/** Of a connection, a greeting, and a silence (milliseconds). */
const patienceMs = 10_000;

/**
 * Sends mails to an SMTP server. `smtps:` is TLS from the start; `smtp:` must offer STARTTLS, but on loopback.
 * @param url with user name and password where the server wants them
 * @param from the address, or `Name <address>`
 * @param name of an address without one
 */
export function smtpTransport(url: string, from: string, name = ""): MailTransport {
  const { protocol, hostname } = new URL(url);
  const requireTLS = protocol === "smtp:" && !isLoopback(hostname);
  const patience = { connectionTimeout: patienceMs, greetingTimeout: patienceMs, socketTimeout: patienceMs };
  const transporter: Transporter = createTransport({
    url,
    pool: true,
    maxConnections: connections,
    requireTLS,
    ...patience,
    // nothing of a mail is read from files or URLs
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const domain = /@([^>\s]+)>?$/.exec(from)?.[1] ?? "localhost";
  return {
    async send({ eventId, to, language, subject, text, html }) {
      try {
        await transporter.sendMail({
          from: from.includes("<") ? from : { name, address: from },
          to: { name: "", address: to },
          // the same at each attempt: mail systems drop a repeat by it
          messageId: `<${eventId}@${domain}>`,
          headers: { "Auto-Submitted": "auto-generated", "Content-Language": language },
          ...{ subject, text, html },
        });
      } catch (error) {
        throw toMailError(error);
      }
    },
    close: () => transporter.close(),
  };
}

function toMailError(error: unknown): MailError {
  const {
    code,
    responseCode = 0,
    command,
    message,
  } = error as Error & {
    readonly code?: string;
    readonly responseCode?: number;
    readonly command?: string;
  };
  const options = { cause: error };
  if (code === "EAUTH" && responseCode >= 500) return new MailError("login", message, options);
  const isOfMail = command !== undefined && !/^(CONN|EHLO|HELO|LHLO|STARTTLS|AUTH)/.test(command);
  if (code === "EENVELOPE" || code === "EMESSAGE" || isOfMail) {
    if (responseCode >= 500) return new MailError("never", message, options);
    if (responseCode >= 400) return new MailError("later", message, options);
    // the address cannot be one of a mail at all
    if (code === "EENVELOPE" && responseCode === 0) return new MailError("never", message, options);
  }
  return new MailError("away", message, options);
}
