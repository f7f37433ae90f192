import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { findPendingRequest, requestDeviceLogin } from "../oauth/authorization/authorize.ts";
import {
  decideDeviceCode,
  openDeviceCode,
  readUserCode,
  verificationUriComplete,
} from "../oauth/authorization/device-authorization.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { paths } from "../oauth/metadata.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { getUser } from "../users/users.ts";
import { browserOf, checkForm, formFields, sessionOf } from "./browser.ts";
import { setRetryAfter, toAuthError } from "./error-table.ts";
import { goOn } from "./go-on.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";

const decisionPath = `${paths.device}/decision`;

/** The pages of the device flow (RFC 8628 section 3.3): type the code in, look at what it is for, decide. */
export function devicePages(app: FastifyInstance, ctx: OAuthContext): void {
  const errorHandler = onErrorPage(ctx);

  app.get(paths.device, { errorHandler }, async (request, reply) => {
    const { user_code: given, request: id } = readQuery(request);
    const session = await sessionOf(ctx, request);
    if (session === null || session.userId === null) {
      const userCode = readUserCode(given ?? "");
      return goOn(ctx, request, reply, await requestDeviceLogin(ctx, session, browserOf(ctx, request), userCode), 302);
    }
    const kept = id === undefined ? null : await findPendingRequest(ctx, session, id);
    const userCode = readUserCode(given ?? kept?.parameters["user_code"] ?? "");
    return showForm(ctx, request, reply, session, userCode ?? "", null);
  });

  app.post(paths.device, { errorHandler }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "device", form);
    const typed = form["user_code"] ?? "";
    return orForm(ctx, request, reply, session, typed, async () => {
      const asked = await openDeviceCode(ctx, session, typed);
      const account = session.userId === null ? "" : (await getUser(ctx, session.userId)).email;
      const fields = formFields(session, purposeOf(asked.userCode), { user_code: asked.userCode });
      return renderPage(ctx, request, reply, "device-confirm", { ...asked, account, fields, action: decisionPath });
    });
  });

  app.post(decisionPath, { errorHandler }, async (request, reply) => {
    const form = readForm(request);
    const typed = form["user_code"] ?? "";
    const session = checkForm(ctx, request, await sessionOf(ctx, request), purposeOf(typed), form);
    const allowed = form["decision"] === "allow";
    return orForm(ctx, request, reply, session, typed, async () => {
      await decideDeviceCode(ctx, session, typed, allowed);
      return renderPage(ctx, request, reply, "device-done", { allowed });
    });
  });

  // for the device's own screen: the same for every well-formed code, nothing is looked up
  app.get(`${paths.device}/qr.svg`, async (request, reply) => {
    const userCode = readUserCode(readQuery(request)["user_code"] ?? "");
    if (userCode === null) throw new AuthError("invalid_request", "user_code must be eight letters, as XXXX-XXXX");
    const { default: qrCode } = await import("qrcode");
    const svg = await qrCode.toString(verificationUriComplete(ctx, userCode), { type: "svg", margin: 4 });
    return reply.header("content-security-policy", "default-src 'none'; sandbox").type("image/svg+xml").send(svg);
  });
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
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  typed: string,
  work: () => Promise<FastifyReply>,
): Promise<FastifyReply> {
  try {
    return await work();
  } catch (thrown) {
    const found = thrown instanceof AuthError ? problems[thrown.code] : undefined;
    if (found === undefined) throw thrown;
    const { error } = toAuthError(ctx, thrown);
    setRetryAfter(reply, error.retryAfter);
    return showForm(ctx, request, reply.code(found.status), session, typed.slice(0, 50), found.problem);
  }
}

function showForm(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  userCode: string,
  problem: string | null,
): FastifyReply {
  return renderPage(ctx, request, reply, "device", {
    fields: formFields(session, "device", {}),
    userCode,
    problem: problem === "wrong" ? null : problem,
    isWrong: problem === "wrong",
  });
}
