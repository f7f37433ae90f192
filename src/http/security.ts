import type { FastifyInstance, FastifyReply } from "fastify";
import { listFactors, removePasskey, removeTotp } from "../factors/factors.ts";
import { makeRecoveryCodes } from "../factors/recovery-codes.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { formFields } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { pathOf, type Visit } from "./visit.ts";

const path = "/account/security";
const removeTotpPath = `${path}/totp/remove`;
const removePasskeyPath = `${path}/passkeys/remove`;
const codesPath = `${path}/recovery-codes`;

/** The user's own factors. Each change asks for a fresh sign-in first (`fresh-sign-in.ts`). */
export function securityPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);
  const redirect = (visit: Visit, to: string) => visit.reply.redirect(pathOf(ctx, to), 303);

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    return owner === null ? visit.reply.redirect(pathOf(ctx, "/login"), 302) : showSecurity(visit, owner);
  });

  page.post(removeTotpPath, async (visit) => {
    const { user, isFresh } = await ownerOfForm(visit, () => removeTotpPath);
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    await removeTotp(ctx, user.uuid, askerOf(visit.request));
    return redirect(visit, path);
  });

  page.post(removePasskeyPath, async (visit) => {
    const { user, isFresh, form } = await ownerOfForm(visit, (fields) => removePurpose(fields["passkey"]));
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    await removePasskey(ctx, user.uuid, form["passkey"] ?? "", askerOf(visit.request));
    return redirect(visit, path);
  });

  page.post(codesPath, async (visit) => {
    const { user, isFresh } = await ownerOfForm(visit, () => codesPath);
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    return renderPage(visit, "recovery-codes", { codes: await makeRecoveryCodes(ctx, user.uuid) });
  });
}

/** Each button is good for what it names alone. */
function removePurpose(passkey = ""): string {
  return `${removePasskeyPath} ${passkey}`;
}

async function showSecurity(visit: Visit, { session, user }: Owner): Promise<FastifyReply> {
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  return renderPage(visit, "security", {
    account: user.email,
    zone: user.claims.zoneinfo ?? "UTC",
    totpSince: totp?.createdAt ?? null,
    removeTotp: formFields(session, removeTotpPath, {}),
    passkeys: passkeys.map(({ credentialId, name, createdAt, lastUsedAt }) => ({
      name,
      createdAt,
      lastUsedAt,
      fields: formFields(session, removePurpose(credentialId), { passkey: credentialId }),
    })),
    recoveryCodes,
    newCodes: formFields(session, codesPath, {}),
  });
}
