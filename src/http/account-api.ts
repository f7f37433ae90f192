import type { FastifyInstance, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { findClient } from "../oauth/clients/clients.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { ownerOf, requireBearer } from "../oauth/tokens/bearer.ts";
import type { User } from "../store/users.ts";
import { requestEmailChange, requestEmailVerification, verifyEmail } from "../users/email-verification.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import { signUp } from "../users/sign-up.ts";
import { changePassword } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { proofOf } from "./dpop.ts";
import { readJson } from "./parameters.ts";

/** /api/users/*: sign-up and the user's own account, JSON in the `success` envelope. */
export function accountApi(app: FastifyInstance, ctx: OAuthContext): void {
  const bearer = (request: FastifyRequest, scope: string | null) =>
    requireBearer(ctx, request.headers.authorization ?? null, scope, proofOf(ctx, request));

  app.post("/api/users/signup", async (request, reply) => {
    const user = await signUp(ctx, readJson(request), askerOf(request));
    return reply.code(201).send({ success: true, data: describe(user) });
  });

  app.get("/api/users/me", { exposeHeadRoute: true }, async (request) => {
    const { sub } = await bearer(request, "profile");
    return { success: true, data: describe(await ownerOf(ctx, sub)) };
  });

  /** The user of a token that a first-party client holds. */
  const ownerAtFirstParty = async (request: FastifyRequest) => {
    const claims = await bearer(request, null);
    const client = await findClient(ctx, claims.client_id);
    if (client?.metadata.first_party !== true) throw new AuthError("forbidden", "only first-party clients may do this");
    return ownerOf(ctx, claims.sub);
  };

  app.post("/api/users/me/password", async (request, reply) => {
    const { uuid } = await ownerAtFirstParty(request);
    const { currentPassword, newPassword } = readJson(request);
    await changePassword(ctx, { uuid, currentPassword, newPassword, asker: askerOf(request) });
    return reply.code(204).send();
  });

  app.post("/api/users/me/email", async (request, reply) => {
    const { uuid } = await ownerAtFirstParty(request);
    const { currentPassword, email } = readJson(request);
    await requestEmailChange(ctx, { uuid, currentPassword, email, asker: askerOf(request) });
    return reply.code(202).send({ success: true });
  });

  app.post("/api/users/email-verification", async (request, reply) => {
    await requestEmailVerification(ctx, { email: readJson(request)["email"], asker: askerOf(request) });
    return reply.code(202).send({ success: true });
  });

  app.post("/api/users/email-verification/confirm", async (request, reply) => {
    await verifyEmail(ctx, readJson(request)["token"], askerOf(request));
    return reply.code(204).send();
  });

  app.post("/api/users/password-reset", async (request, reply) => {
    await requestPasswordReset(ctx, { email: readJson(request)["email"], asker: askerOf(request) });
    return reply.code(202).send({ success: true });
  });

  app.post("/api/users/password-reset/confirm", async (request, reply) => {
    const { token, newPassword } = readJson(request);
    await resetPassword(ctx, { token, newPassword, asker: askerOf(request) });
    return reply.code(204).send();
  });
}

function describe({ uuid, email, nickname, roles, createdAt }: User) {
  return { uuid, email, nickname, roles, createdAt: new Date(createdAt).toISOString() };
}
