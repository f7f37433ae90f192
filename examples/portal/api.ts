import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
// in a service of your own: "auth-service/verifier/fastify" and "auth-service/verifier"
import { claimsOf, requireToken } from "../../src/verifier/fastify.ts";
import type { Verifier } from "../../src/verifier/verifier.ts";
import { nameDevice } from "./device-name.ts";

/** A sign-in with two factors, five minutes ago at most; otherwise the answer says what to ask the user for (RFC 9470). */
const forPayments = { acr: ["urn:auth-service:acr:two-factor"], maxAge: 300 };

const payment = {
  type: "object",
  required: ["to", "amount"],
  additionalProperties: false,
  properties: {
    to: { type: "string", minLength: 1, maxLength: 100 },
    /** In cents. */
    amount: { type: "integer", minimum: 1, maximum: 1_000_000 },
  },
} as const;

/** A browser session, as the auth service's export of a user has it. */
interface Session {
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly lastSeenAt: string;
}

/** Where the devices of a user are asked for, and by whom: a client with the scope `auth.users.read`. */
interface InternalApi {
  readonly connectUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** The portal's own API. Each route says which token it takes; the verifier answers all others. */
export function addApi(app: FastifyInstance, verifier: Verifier, internal: InternalApi): void {
  const onRequest = requireToken(verifier, { scopes: ["write"], authentication: forPayments });
  app.post<{ Body: { to: string; amount: number } }>(
    "/payments",
    { onRequest, schema: { body: payment } },
    async ({ body }) => ({ id: randomUUID().slice(0, 8), ...body }),
  );
  app.get("/devices", { onRequest: requireToken(verifier, { scopes: ["read"] }) }, async (request) => {
    const sessions = await sessionsOf(internal, claimsOf(request).sub);
    const devices = sessions.map(({ ipAddress, userAgent, lastSeenAt }) => ({
      name: nameDevice(userAgent),
      ipAddress,
      lastSeenAt,
    }));
    return { devices };
  });
}

/** The newest first. @param uuid of the user */
async function sessionsOf(
  { connectUrl, clientId, clientSecret }: InternalApi,
  uuid: string,
): Promise<readonly Session[]> {
  const response = await fetch(`${connectUrl}/auth.v1.UserService/ExportUser`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString("base64")}`,
    },
    body: JSON.stringify({ uuid }),
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok) throw new Error(`the auth service answered ${response.status} ${await response.text()}`);
  const { data } = (await response.json()) as { data: { sessions: Session[] } };
  return data.sessions.toSorted((one, other) => other.lastSeenAt.localeCompare(one.lastSeenAt));
}
