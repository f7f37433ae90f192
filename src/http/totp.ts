import type { FastifyInstance, FastifyReply } from "fastify";
import { listFactors } from "../factors/factors.ts";
import { beginTotp, confirmTotp, continueTotp, type NewTotp, TOTP_METHODS } from "../factors/totp.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { enrolmentFields, enrolmentOf, goOnRaised, raisedByForm } from "./enrolment.ts";
import { type Owner, ownerOf } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { securityAfter, securityRefusing } from "./security.ts";
import type { Visit } from "./visit.ts";
import { carriedBy, onTheWay } from "./waiting-request.ts";

const path = "/account/security/totp";

/** GET and POST /account/security/totp: shows a secret as a QR code and takes a code of it. */
export function totpPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);
  const issuer = new URL(ctx.config.issuer).host;

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(onTheWay(visit, "/login"), 302);
    // there is one already: it is removed first
    if ((await listFactors(ctx, owner.user.uuid)).totp !== null) {
      return visit.reply.redirect(onTheWay(visit, securityRefusing("totpExists")), 302);
    }
    if (!owner.isFresh) return visit.reply.redirect(onTheWay(visit, CONFIRM_PATH), 302);
    return showSetUp(visit, owner, beginTotp(ctx, owner.user, issuer), null);
  });

  page.post(path, async (visit) => {
    const sent = await enrolmentOf(visit, path);
    if (sent.repeated !== null) return goOnRaised(visit, sent.repeated, securityAfter("totpAdded"));
    const { enrolment } = sent;
    const { user, form, isFresh } = enrolment;
    if ((await listFactors(ctx, user.uuid)).totp !== null) return goOnExisting(visit);
    if (!isFresh) return visit.reply.redirect(onTheWay(visit, CONFIRM_PATH), 303);
    const { sealed = "", code = "" } = form;
    const given = { sealed, code: code.replaceAll(/\s/g, "") };
    const by = { asker: askerOf(visit.request), acting: enrolment.actingBy(TOTP_METHODS) };
    const outcome = await confirmTotp(ctx, user, given, by);
    if (outcome === "again" || outcome === "exists") return goOnExisting(visit);
    if (outcome === "added") return goOnRaised(visit, await raisedByForm(visit, path), securityAfter("totpAdded"));
    visit.reply.code(400);
    return showSetUp(visit, enrolment, continueTotp(ctx, user, sealed, issuer), outcome);
  });
}

/** There is an app: of two presses at once the other one added it, or it was set up elsewhere. */
async function goOnExisting(visit: Visit): Promise<FastifyReply> {
  const raised = await raisedByForm(visit, path);
  return goOnRaised(visit, raised, raised === null ? securityRefusing("totpExists") : securityAfter("totpAdded"));
}

async function showSetUp(
  visit: Visit,
  owner: Owner,
  totp: NewTotp,
  refusal: "wrong" | "clock" | null,
): Promise<FastifyReply> {
  const { default: qrCode } = await import("qrcode");
  return renderPage(visit, "totp", {
    carried: carriedBy(visit),
    fields: enrolmentFields(visit, owner, path, { sealed: totp.sealed }),
    qrCode: await qrCode.toString(totp.uri, { type: "svg", margin: 4, width: 200 }),
    secret: totp.secret.replace(/(.{4})(?!$)/g, "$1 "),
    refusal,
  });
}
