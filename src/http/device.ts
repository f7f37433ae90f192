import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { requestDeviceLogin, requestDeviceStepUp } from "../oauth/authorization/authorize.ts";
import {
  type DeviceDecision,
  decideDeviceCode,
  openDeviceCode,
  readUserCode,
  verificationUriComplete,
  WeakSignIn,
} from "../oauth/authorization/device-authorization.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { getUser } from "../users/users.ts";
import { setRetryAfter, toAuthError } from "./error-table.ts";
import { checkForm, FormRefused, formFields } from "./forms.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { browserOf, sessionOf, type Visit } from "./visit.ts";
import { requestOf } from "./waiting-request.ts";

const decisionPath = `${PATHS.device}/decision`;

/** The pages of the device flow (RFC 8628 section 3.3): type the code in, look at what it is for, decide. */
export function devicePages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(PATHS.device, async (visit) => {
    const { user_code: given, request: carried } = readQuery(visit.request);
    const session = await sessionOf(visit);
    if (session === null || session.userId === null) {
      const userCode = readUserCode(given ?? "");
      return goOn(visit, await requestDeviceLogin(ctx, session, browserOf(visit), userCode));
    }
    const pending = await requestOf(visit, session, carried);
    const userCode = readUserCode(given ?? pending?.parameters["user_code"] ?? "");
    return showForm(visit, session, { userCode: userCode ?? "", problem: null });
  });

  page.post(PATHS.device, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "device", form);
    const typed = form["user_code"] ?? "";
    return orForm(visit, { session, typed }, async () => {
      const asked = await openDeviceCode(ctx, session, typed);
      if ("decided" in asked) return showDone(visit, asked);
      const account = session.userId === null ? "" : (await getUser(ctx, session.userId)).email;
      // with it, another language comes back to this code
      const { request } = await requestDeviceLogin(ctx, session, browserOf(visit), asked.userCode);
      const { carried } = request;
      const fields = formFields(session, purposeOf(asked.userCode), { user_code: asked.userCode });
      return renderPage(visit, "device-confirm", { ...asked, account, carried, fields, action: decisionPath });
    });
  });

  page.post(decisionPath, async (visit) => {
    const form = readForm(visit.request);
    const typed = form["user_code"] ?? "";
    const session = await checkForm(visit, purposeOf(typed), form);
    const { decision } = form;
    if (decision !== "allow" && decision !== "deny") throw new FormRefused();
    const allowed = decision === "allow";
    return orForm(visit, { session, typed }, async () => {
      return showDone(visit, await decideDeviceCode(ctx, session, typed, allowed));
    });
  });

  // for the device's own screen: the same for every well-formed code, nothing is looked up
  app.get(`${PATHS.device}/qr.svg`, { exposeHeadRoute: true }, async (request, reply) => {
    const userCode = readUserCode(readQuery(request)["user_code"] ?? "");
    if (userCode === null)
      throw new AuthError("invalid_request", "user_code must be eight letters, for example BCDF-GHJK");
    const { default: qrCode } = await import("qrcode");
    const svg = await qrCode.toString(verificationUriComplete(ctx, userCode), { type: "svg", margin: 4 });
    return reply.header("content-security-policy", "default-src 'none'; sandbox").type("image/svg+xml").send(svg);
  });
}

function showDone(visit: Visit, { decided }: DeviceDecision): FastifyReply {
  return renderPage(visit, "device-done", { allowed: decided === "allowed" });
}

/** The confirmation's form is good for its code alone. */
function purposeOf(userCode: string): string {
  return `device-decision ${userCode}`;
}

/** What the page says of a code that does not open; anything else goes to the error page. */
const problems: Partial<Record<AuthError["code"], { readonly problem: string; readonly status: number }>> = {
  expired_token: { problem: "wrong", status: 400 },
  forbidden: { problem: "device_elsewhere", status: 403 },
  rate_limited: { problem: "rate_limited", status: 429 },
};

async function orForm(
  visit: Visit,
  { session, typed }: { readonly session: BrowserSession; readonly typed: string },
  work: () => Promise<FastifyReply>,
): Promise<FastifyReply> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof AuthError && thrown.code === "email_unverified") {
      // the code goes with them, and the page comes back with it
      const waiting = await requestDeviceLogin(visit.ctx, session, browserOf(visit), readUserCode(typed));
      return goOn(visit, { ...waiting, to: "verify-email" });
    }
    if (thrown instanceof WeakSignIn) {
      return goOn(visit, await requestDeviceStepUp(visit.ctx, session, browserOf(visit), thrown));
    }
    const found = thrown instanceof AuthError ? problems[thrown.code] : undefined;
    if (found === undefined) throw thrown;
    const { error } = toAuthError(visit.ctx, thrown);
    setRetryAfter(visit.reply, error.retryAfter);
    visit.reply.code(found.status);
    return showForm(visit, session, { userCode: typed.slice(0, 50), problem: found.problem });
  }
}

function showForm(
  visit: Visit,
  session: BrowserSession,
  { userCode, problem }: { readonly userCode: string; readonly problem: string | null },
): FastifyReply {
  return renderPage(visit, "device", {
    fields: formFields(session, "device", {}),
    userCode,
    problem: problem === "wrong" ? null : problem,
    isWrong: problem === "wrong",
  });
}
