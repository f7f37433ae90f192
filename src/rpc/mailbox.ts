import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { mailboxPage, readMailbox } from "../mail/mailbox.ts";
import { isLoopback } from "../net/loopback.ts";
import type { OAuthContext } from "../oauth/context.ts";

const handlerTimeout = 10_000;
const policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/**
 * `GET /mail`: in development and without Kafka, the mails that would be sent, with links that work. They are those of the events file.
 */
export function addMailbox(server: FastifyInstance, { config }: OAuthContext): void {
  if (config.production || config.kafka !== null) return;
  const mails = () => readMailbox(config.eventsFile, config.issuer, config.brand);
  const html = (reply: FastifyReply, page: string) =>
    reply
      .header("content-security-policy", policy)
      .header("referrer-policy", "no-referrer")
      .type("text/html; charset=utf-8")
      .send(page);

  server.get("/mail", { handlerTimeout }, async (request, reply) => {
    if (!isOwnName(request)) return reply.callNotFound();
    return html(reply, mailboxPage(await mails()));
  });

  server.get<{ Params: { eventId: string } }>("/mail/:eventId", { handlerTimeout }, async (request, reply) => {
    const mail = (await mails()).find(({ eventId }) => eventId === request.params.eventId);
    if (mail === undefined || !isOwnName(request)) return reply.callNotFound();
    return html(reply, mail.html);
  });
}

/** Another site whose name was made to lead here reads no mail. */
function isOwnName({ headers: { host = "" } }: FastifyRequest): boolean {
  return URL.canParse(`http://${host}`) && isLoopback(new URL(`http://${host}`).hostname);
}
