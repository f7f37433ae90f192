import type { FastifyInstance, FastifyReply } from "fastify";
import { listFactors } from "../factors/factors.ts";
import { beginTotp, confirmTotp, continueTotp, type NewTotp } from "../factors/totp.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { formFields } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { pathOf, type Visit } from "./visit.ts";

const path = "/account/security/totp";

/** GET and POST /account/security/totp: shows a secret as a QR code and takes a code of it. */
export function totpPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);
  const issuer = new URL(ctx.config.issuer).host;
  const toSecurity = (visit: Visit) => visit.reply.redirect(pathOf(ctx, "/account/security"), 303);

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    if (!owner.isFresh) return visit.reply.redirect(pathOf(ctx, CONFIRM_PATH), 302);
    return showSetUp(visit, owner, beginTotp(ctx, owner.user, issuer), false);
  });

  page.post(path, async (visit) => {
    const owner = await ownerOfForm(visit, () => path);
    const { user, form } = owner;
    const { totp } = await listFactors(ctx, user.uuid);
    // pressed twice: the first press added it
    if (totp !== null) return toSecurity(visit);
    if (!owner.isFresh) return visit.reply.redirect(pathOf(ctx, CONFIRM_PATH), 303);
    const { sealed = "", code = "" } = form;
    const given = { sealed, code: code.replaceAll(/\s/g, "") };
    // of two presses at once one finds it there
    if ((await confirmTotp(ctx, user, given, askerOf(visit.request))) !== "wrong") return toSecurity(visit);
    visit.reply.code(400);
    return showSetUp(visit, owner, continueTotp(ctx, user, sealed, issuer), true);
  });
}

async function showSetUp(visit: Visit, { session }: Owner, totp: NewTotp, isWrong: boolean): Promise<FastifyReply> {
  const { default: qrCode } = await import("qrcode");
  return renderPage(visit, "totp", {
    fields: formFields(session, path, { sealed: totp.sealed }),
    qrCode: await qrCode.toString(totp.uri, { type: "svg", margin: 4, width: 200 }),
    secret: totp.secret.replace(/(.{4})(?!$)/g, "$1 "),
    isWrong,
  });
}
