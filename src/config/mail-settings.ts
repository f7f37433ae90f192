import { isPort } from "./addresses.ts";
import type { Reader } from "./reader.ts";

/** SMTP_URL and MAIL_FROM. @param issuer whose host the sender has by default @returns smtpUrl null: the service sends no mail */
export function readMail(read: Reader, issuer: string): { smtpUrl: string | null; mailFrom: string } {
  const smtpUrl = read.secret("SMTP_URL");
  if (smtpUrl !== null) checkSmtpUrl(read, smtpUrl);
  const host = URL.canParse(issuer) ? new URL(issuer).hostname : "localhost";
  const mailFrom = read.text("MAIL_FROM") ?? `no-reply@${host}`;
  if (!/^([^<>\r\n]*<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/.test(mailFrom)) {
    read.problem("MAIL_FROM", "must be an address or `Name <address>`");
  }
  return { smtpUrl, mailFrom };
}

/** The library that sends mails would take options from a query, those that turn TLS off too, and ignore those that it does not know. */
function checkSmtpUrl(read: Reader, smtpUrl: string): void {
  const form = "must be smtp://user:password@host:port or smtps://user:password@host:port";
  if (!URL.canParse(smtpUrl) || !/^smtps?:\/\/[^/]/i.test(smtpUrl)) return void read.problem("SMTP_URL", form);
  const { port, pathname, search, hash, username, password } = new URL(smtpUrl);
  const isPlain = ["", "/"].includes(pathname) && hash === "" && (port === "" || isPort(port));
  if (!isPlain || !isDecodable(username + password)) return void read.problem("SMTP_URL", form);
  if (search === "") return;
  const names = [...new URLSearchParams(search).keys()].map((name) => JSON.stringify(name)).join(", ");
  read.problem("SMTP_URL", `has no parameters, and ${names} is one: smtps: is TLS, smtp: demands STARTTLS`);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
