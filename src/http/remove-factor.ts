import type { FastifyInstance } from "fastify";
import { listFactors, removePasskey, removeTotp } from "../factors/factors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { formFields } from "./forms.ts";
import { ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readQuery } from "./parameters.ts";
import { SECURITY_PATH, securityAfter, securityRefusing } from "./security.ts";
import type { Visit } from "./visit.ts";
import { carriedBy, onTheWay } from "./waiting-request.ts";

const totpPath = `${SECURITY_PATH}/totp/remove`;
const passkeyPath = `${SECURITY_PATH}/passkeys/remove`;

/**
 * GET asks whether the factor that it names should go, POST removes it. Each form is good for its factor alone, and one that is sent twice ends
 * where the first one did.
 */
export function removeFactorPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);
  const redirect = (visit: Visit, to: string) =>
    visit.reply.redirect(onTheWay(visit, to), visit.request.method === "POST" ? 303 : 302);

  page.get(totpPath, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return redirect(visit, "/login");
    if (!owner.isFresh) return redirect(visit, CONFIRM_PATH);
    const { totp } = await listFactors(ctx, owner.user.uuid);
    if (totp === null) return redirect(visit, securityRefusing("factorGone"));
    const { hasPassword } = owner.user;
    const fields = formFields(owner.session, totpPath, {});
    return renderPage(visit, "factor-remove", { carried: carriedBy(visit), passkey: null, hasPassword, fields });
  });

  page.post(totpPath, async (visit) => {
    const { user, session, isFresh } = await ownerOfForm(visit, () => totpPath);
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    await removeTotp(ctx, user.uuid, { asker: askerOf(visit.request), acting: session });
    return redirect(visit, securityAfter("totpRemoved"));
  });

  page.get(passkeyPath, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return redirect(visit, "/login");
    if (!owner.isFresh) return redirect(visit, CONFIRM_PATH);
    const { passkey: id = "" } = readQuery(visit.request);
    const { passkeys } = await listFactors(ctx, owner.user.uuid);
    const passkey = passkeys.find(({ credentialId }) => credentialId === id);
    if (passkey === undefined) return redirect(visit, securityRefusing("factorGone"));
    if (passkeys.length === 1 && !owner.user.hasPassword) return redirect(visit, securityRefusing("passkeyKept"));
    const fields = formFields(owner.session, passkeyPurpose(id), { passkey: id });
    return renderPage(visit, "factor-remove", { carried: carriedBy(visit), passkey: passkey.name, fields });
  });

  page.post(passkeyPath, async (visit) => {
    const { user, session, isFresh, form } = await ownerOfForm(visit, (fields) => passkeyPurpose(fields["passkey"]));
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    const by = { asker: askerOf(visit.request), acting: session };
    const removed = await removePasskey(ctx, user.uuid, form["passkey"] ?? "", by);
    return redirect(
      visit,
      removed === "only_way_in" ? securityRefusing("passkeyKept") : securityAfter("passkeyRemoved"),
    );
  });
}

function passkeyPurpose(passkey = ""): string {
  return `${passkeyPath} ${passkey}`;
}
