import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { listFactors, renamePasskey } from "../factors/factors.ts";
import { addPasskey, offerPasskey } from "../factors/passkey-enrolment.ts";
import { makeRecoveryCodes } from "../factors/recovery-codes.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { MAX_PASSKEYS } from "../store/factors.ts";
import { readPasskeyName } from "../users/input.ts";
import { askerOf } from "./asker.ts";
import { CONFIRM_PATH } from "./confirm.ts";
import { enrolmentFields, enrolmentOf, goOnRaised, raisedByForm } from "./enrolment.ts";
import { refusalOn } from "./error-table.ts";
import { FormRefused, formFields, formIdOf } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import type { PasskeyProblem } from "./pages/factor-messages/factor-messages.ts";
import { renderPage } from "./pages/render.ts";
import { readQuery } from "./parameters.ts";
import {
  createButton,
  PASSKEY_SCRIPTS,
  type PasskeySignal,
  passkeyAnswerOf,
  passkeyProblemOf,
  signalKnown,
  signalRefused,
} from "./passkey-button.ts";
import type { Visit } from "./visit.ts";
import { carriedBy, onTheWay, requestOfPage, shownOf } from "./waiting-request.ts";

export const SECURITY_PATH = "/account/security";
const path = SECURITY_PATH;
const addPasskeyPath = `${path}/passkeys`;
const renamePath = `${addPasskeyPath}/name`;
const codesPath = `${path}/recovery-codes`;

/** What the page says was done, by the names of its texts. */
const DONE = ["passkeyAdded", "totpAdded", "passkeyRenamed", "passkeyRemoved", "totpRemoved"] as const;
/** Why nothing was done, by the names of its texts. */
const REFUSED = ["passkeyKept", "totpExists", "factorGone"] as const;

/** The address of the page once a factor was changed. */
export function securityAfter(done: (typeof DONE)[number]): string {
  return `${path}?${new URLSearchParams({ done })}`;
}

/** The address of the page where nothing was changed. */
export function securityRefusing(refused: (typeof REFUSED)[number]): string {
  return `${path}?${new URLSearchParams({ refused })}`;
}

/** The user's own factors. Each change, but of a name, asks for a fresh sign-in first (`fresh-sign-in.ts`). */
export function securityPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);
  const redirect = (visit: Visit, to: string) => visit.reply.redirect(onTheWay(visit, to), 303);

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    return owner === null ? visit.reply.redirect(onTheWay(visit, "/login"), 302) : showSecurity(visit, owner);
  });

  page.get(addPasskeyPath, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(onTheWay(visit, "/login"), 302);
    if (!owner.isFresh) return visit.reply.redirect(onTheWay(visit, CONFIRM_PATH), 302);
    return showAddPasskey(visit, owner, { name: null, problem: null });
  });

  page.post(addPasskeyPath, async (visit) => {
    const sent = await enrolmentOf(visit, addPasskeyPath);
    if (sent.repeated !== null) return goOnRaised(visit, sent.repeated, securityAfter("passkeyAdded"));
    const { enrolment: owner } = sent;
    const { user, isFresh, form, actingBy } = owner;
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    const name = form["name"] ?? "";
    try {
      const by = { asker: askerOf(visit.request), actingBy };
      const added = await addPasskey(ctx, user, { ...passkeyAnswerOf(form), name }, by);
      if (added === "full") {
        return showAddPasskey(visit, owner, { name, problem: "full", signal: await signalRefused(visit, form) });
      }
      return goOnRaised(visit, await raisedByForm(visit, addPasskeyPath), securityAfter("passkeyAdded"));
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_credentials", "invalid_input"]);
      const problem = error.code === "invalid_input" ? "name" : passkeyProblemOf(error);
      return showAddPasskey(visit, owner, { name, problem, signal: await signalRefused(visit, form) });
    }
  });

  page.post(`${addPasskeyPath}/challenge`, async (visit) => {
    const { user, isFresh, form } = await ownerOfForm(visit, () => addPasskeyPath);
    const { passkeys } = await listFactors(ctx, user.uuid);
    readPasskeyName(form["name"]);
    if (!isFresh || passkeys.length >= MAX_PASSKEYS) throw new FormRefused();
    const options = offerPasskey(ctx, form["csrf"] ?? "", user, passkeys);
    return visit.reply.header("cache-control", "no-store").send(options);
  });

  // a reload without its form
  page.get(renamePath, (visit) => visit.reply.redirect(onTheWay(visit, path), 302));

  page.post(renamePath, async (visit) => {
    const owner = await ownerOfForm(visit, ({ passkey }) => renamePurpose(passkey));
    const { passkey: credentialId = "", name = "" } = owner.form;
    try {
      const renamed = await renamePasskey(ctx, owner.user.uuid, { credentialId, name }, owner.session);
      return redirect(visit, renamed ? securityAfter("passkeyRenamed") : securityRefusing("factorGone"));
    } catch (thrown) {
      refusalOn(visit.reply, thrown, ["invalid_input"]);
      return showSecurity(visit, owner, { credentialId, name });
    }
  });

  // a reload without its form
  page.get(codesPath, (visit) => visit.reply.redirect(onTheWay(visit, path), 302));

  page.post(codesPath, async (visit) => {
    const { session, user, isFresh, form } = await ownerOfForm(visit, () => codesPath);
    if (!isFresh) return redirect(visit, CONFIRM_PATH);
    const by = { asker: askerOf(visit.request), acting: session };
    const made = await makeRecoveryCodes(ctx, user.uuid, formIdOf(form), by);
    // the last factor was removed meanwhile
    if (made.outcome === "none") return redirect(visit, securityRefusing("factorGone"));
    const codes = made.outcome === "made" ? made.codes : null;
    return renderPage(visit, "recovery-codes", { carried: carriedBy(visit), codes, newCodes: newCodesFields(session) });
  });
}

/** Each form is good for its passkey alone. */
function renamePurpose(passkey = ""): string {
  return `${renamePath} ${passkey}`;
}

/** The form has an id of its own, by which a second press of its button is known. */
function newCodesFields(session: BrowserSession) {
  return { ...formFields(session, codesPath, {}), form: randomToken() };
}

interface PasskeyToAdd {
  /** Null: after the browser. */
  readonly name: string | null;
  readonly problem: PasskeyProblem | "name" | "full" | null;
  readonly signal?: PasskeySignal;
}

async function showAddPasskey(
  visit: Visit,
  owner: Owner,
  { name, problem, signal = null }: PasskeyToAdd,
): Promise<FastifyReply> {
  const { user } = owner;
  const { passkeys } = await listFactors(visit.ctx, user.uuid);
  const fields = enrolmentFields(visit, owner, addPasskeyPath, {});
  return renderPage(visit, "passkey-add", {
    carried: carriedBy(visit),
    fields,
    name,
    userAgent: visit.request.headers["user-agent"] ?? "",
    passkey: createButton(offerPasskey(visit.ctx, fields.csrf, user, passkeys), addPasskeyPath),
    scripts: PASSKEY_SCRIPTS,
    signal,
    problem: problem ?? (passkeys.length >= MAX_PASSKEYS ? "full" : null),
  });
}

/** @param wrong a name that a passkey cannot have */
async function showSecurity(
  visit: Visit,
  { session, user }: Owner,
  wrong: { readonly credentialId: string; readonly name: string } | null = null,
): Promise<FastifyReply> {
  // an application sent the user here to set something up
  const pending = await requestOfPage(visit, session);
  const { clientName } = await shownOf(visit, pending);
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  const query = readQuery(visit.request);
  return renderPage(visit, "security", {
    carried: carriedBy(visit),
    // a device's request names no application here: its page does
    waiting: pending === null ? null : { carried: pending.carried, clientName },
    account: user.email,
    hasPassword: user.hasPassword,
    zone: user.claims.zoneinfo ?? "UTC",
    totpSince: totp?.createdAt ?? null,
    offersPasskeys: visit.ctx.config.passkeys !== null,
    refused: REFUSED.find((refused) => refused === query["refused"]) ?? null,
    done: DONE.find((done) => done === query["done"]) ?? null,
    scripts: PASSKEY_SCRIPTS,
    signal: signalKnown(visit, user.uuid, passkeys),
    passkeys: passkeys.map(({ credentialId, name, createdAt, lastUsedAt }) => ({
      name,
      createdAt,
      lastUsedAt,
      wrongName: wrong?.credentialId === credentialId ? wrong.name : null,
      fields: formFields(session, renamePurpose(credentialId), { passkey: credentialId }),
      remove: `${path}/passkeys/remove?${new URLSearchParams({ passkey: credentialId })}`,
    })),
    recoveryCodes,
    newCodes: newCodesFields(session),
  });
}
