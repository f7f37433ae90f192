import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { listFactors, removePasskey, removeTotp } from "../factors/factors.ts";
import { addPasskey, offerPasskey } from "../factors/passkey-enrolment.ts";
import { makeRecoveryCodes } from "../factors/recovery-codes.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { refusalOn } from "./error-table.ts";
import { formFields } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readQuery } from "./parameters.ts";
import { PASSKEY_SCRIPTS, passkeyAnswerOf, passkeyButton } from "./passkey-button.ts";
import { pathOf, type Visit } from "./visit.ts";
import { requestOfPage, shownOf } from "./waiting-request.ts";

const path = "/account/security";
const removeTotpPath = `${path}/totp/remove`;
const addPasskeyPath = `${path}/passkeys`;
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

  page.get(addPasskeyPath, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    if (!owner.isFresh) return visit.reply.redirect(pathOf(ctx, CONFIRM_PATH), 302);
    return showAddPasskey(visit, owner, { name: null, problem: null });
  });

  page.post(addPasskeyPath, async (visit) => {
    const owner = await ownerOfForm(visit, () => addPasskeyPath);
    const { user, isFresh, form } = owner;
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    const name = form["name"] ?? "";
    try {
      const added = await addPasskey(ctx, user, { ...passkeyAnswerOf(form), name }, askerOf(visit.request));
      return added === "full" ? showAddPasskey(visit, owner, { name, problem: "full" }) : redirect(visit, path);
    } catch (thrown) {
      const { code } = refusalOn(visit.reply, thrown, ["invalid_credentials", "invalid_input"]);
      return showAddPasskey(visit, owner, { name, problem: code === "invalid_input" ? "name" : "failed" });
    }
  });

  page.post(removePasskeyPath, async (visit) => {
    const { user, isFresh, form } = await ownerOfForm(visit, (fields) => removePurpose(fields["passkey"]));
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    const removed = await removePasskey(ctx, user.uuid, form["passkey"] ?? "", askerOf(visit.request));
    return removed === "only_way_in" ? redirect(visit, `${path}?kept=1`) : redirect(visit, path);
  });

  page.post(codesPath, async (visit) => {
    const { user, isFresh } = await ownerOfForm(visit, () => codesPath);
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    return renderPage(visit, "recovery-codes", { codes: await makeRecoveryCodes(ctx, user.uuid) });
  });
}

interface PasskeyToAdd {
  /** Null: after the browser. */
  readonly name: string | null;
  readonly problem: "failed" | "name" | "full" | null;
}

async function showAddPasskey(
  visit: Visit,
  { session, user }: Owner,
  { name, problem }: PasskeyToAdd,
): Promise<FastifyReply> {
  const { passkeys } = await listFactors(visit.ctx, user.uuid);
  const fields = { ...formFields(session, addPasskeyPath, {}), form: randomToken() };
  return renderPage(visit, "passkey-add", {
    fields,
    name,
    userAgent: visit.request.headers["user-agent"] ?? "",
    passkey: passkeyButton("create", offerPasskey(visit.ctx, fields.csrf, user, passkeys), addPasskeyPath),
    scripts: PASSKEY_SCRIPTS,
    problem,
  });
}

/** Each button is good for what it names alone. */
function removePurpose(passkey = ""): string {
  return `${removePasskeyPath} ${passkey}`;
}

async function showSecurity(visit: Visit, { session, user }: Owner): Promise<FastifyReply> {
  // an application sent the user here to set something up
  const pending = await requestOfPage(visit, session);
  const { carried, clientName } = await shownOf(visit, pending);
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  return renderPage(visit, "security", {
    waiting: clientName === null ? null : { carried, clientName },
    account: user.email,
    zone: user.claims.zoneinfo ?? "UTC",
    totpSince: totp?.createdAt ?? null,
    removeTotp: formFields(session, removeTotpPath, {}),
    offersPasskeys: visit.ctx.config.passkeys !== null,
    kept: readQuery(visit.request)["kept"] !== undefined,
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
