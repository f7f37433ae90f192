import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import accepts from "@fastify/accepts";
import cookie from "@fastify/cookie";
import cors from "@fastify/cors";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify, type HTTPMethods } from "fastify";
import type { Config } from "../config/config.ts";
import { AuthError } from "../errors.ts";
import { endOf } from "../net/close-http.ts";
import { guardHttp1, oneAtATime } from "../net/connection-guard.ts";
import type { Drainable } from "../net/drainable.ts";
import { duplicateHeader, refuseExpectations } from "../net/strict-http.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { duringRequest } from "../telemetry/request.ts";
import { accountPage } from "./account.ts";
import { accountApi } from "./account-api.ts";
import { accountDataPages } from "./account-data.ts";
import { accountEmailPage } from "./account-email.ts";
import { accountProfilePage } from "./account-profile.ts";
import { accountRestorePage } from "./account-restore.ts";
import { assets } from "./assets.ts";
import { authorizeEndpoint } from "./authorize.ts";
import { changePasswordPage } from "./change-password.ts";
import { clientLogo } from "./client-logo.ts";
import { confirmPages } from "./confirm.ts";
import { consentPage } from "./consent.ts";
import { BROWSER_PATHS, corsOf, letOriginRead, READABLE_BY_ALL, readableBy } from "./cors.ts";
import { devicePages } from "./device.ts";
import { deviceAuthorizationEndpoint } from "./device-authorization.ts";
import { offerNonces } from "./dpop.ts";
import { sendError, sendMethodNotAllowed } from "./error-table.ts";
import { introspectEndpoint } from "./introspect.ts";
import { loginPage } from "./login.ts";
import { logoutEndpoint } from "./logout.ts";
import { showNoPage } from "./pages/error-page.ts";
import { PAGE_OF_FORM } from "./pages-of-forms.ts";
import { addBodyParser, queryOf } from "./parameters.ts";
import { passkeyChallenge } from "./passkey-button.ts";
import { passwordResetPages } from "./password-reset.ts";
import { pushedAuthorizationEndpoint } from "./pushed-authorization.ts";
import { nameReaders } from "./reader.ts";
import { registrationEndpoints } from "./registration.ts";
import { removeFactorPages } from "./remove-factor.ts";
import { addressOf, infoOf, nameRequests } from "./request-info.ts";
import { revokeEndpoint } from "./revoke.ts";
import { secondStepPage } from "./second-step.ts";
import { securityPages } from "./security.ts";
import { selectAccountPage } from "./select-account.ts";
import { signUpPage } from "./sign-up.ts";
import { stepUpPage } from "./step-up.ts";
import { tokenEndpoint } from "./token.ts";
import { totpPages } from "./totp.ts";
import { userinfoEndpoint } from "./userinfo.ts";
import { verifyEmailPages } from "./verify-email.ts";
import { goToPageOfForm } from "./waiting-request.ts";
import { isPublicDocument, wellKnownEndpoints } from "./well-known.ts";

type Endpoint = (app: FastifyInstance, ctx: OAuthContext) => void;

/** One file an endpoint; each adds its routes. What people see. */
const pages: readonly Endpoint[] = [
  authorizeEndpoint,
  accountPage,
  accountProfilePage,
  accountEmailPage,
  accountDataPages,
  accountRestorePage,
  changePasswordPage,
  securityPages,
  removeFactorPages,
  totpPages,
  confirmPages,
  loginPage,
  passkeyChallenge,
  secondStepPage,
  stepUpPage,
  signUpPage,
  consentPage,
  selectAccountPage,
  devicePages,
  passwordResetPages,
  verifyEmailPages,
  logoutEndpoint,
  assets,
  clientLogo,
];
/** What applications call from a browser. */
const browserApi: readonly Endpoint[] = [
  pushedAuthorizationEndpoint,
  tokenEndpoint,
  deviceAuthorizationEndpoint,
  revokeEndpoint,
  userinfoEndpoint,
  registrationEndpoints,
  accountApi,
];
/** Documents that any origin may read, without a question beforehand: their GET needs nothing of CORS but one header. */
const documents: readonly Endpoint[] = [wellKnownEndpoints];
/** What only servers call. */
const serverApi: readonly Endpoint[] = [introspectEndpoint];

const bodyLimit = 64 * 1024;
const maxHeaderSize = 16 * 1024;
const hstsSeconds = 31_536_000;

export interface HttpListener extends Drainable {
  readonly port: number;
  /** Takes no new requests, answers those under way for `graceMs` milliseconds, then cuts them off. */
  close(graceMs: number): Promise<void>;
}

/** The public listener: OAuth, OpenID Connect, the pages and the account API. */
export async function startHttpServer(ctx: OAuthContext): Promise<HttpListener> {
  const { config } = ctx;
  const app = fastify({
    bodyLimit,
    exposeHeadRoutes: false,
    trustProxy: config.trustProxy.length === 0 ? false : [...config.trustProxy],
    serverFactory: (answer) => createGuarded(answer, config),
    routerOptions: { maxParamLength: 200 },
    // requests that arrive while the listener drains are still answered
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => {
      reply.headers(headersOf(config));
      letOriginRead(ctx, request, reply as FastifyReply);
      return sendError(ctx, request, reply as FastifyReply, error);
    },
    clientErrorHandler: (error, socket) => refuseBytes(ctx, error, socket),
  });
  const end = endOf(app.server);
  addBodyParser(app);
  app.setErrorHandler((error, request, reply) => {
    letOriginRead(ctx, request, reply);
    // a request that failed before its endpoint is not under way yet
    return duringRequest(infoOf(request), () => sendError(ctx, request, reply, error));
  });
  // these decorate requests of every path: a page may answer any of them
  nameReaders(app);
  await app.register(accepts);
  await app.register(async (scope) => {
    // the request of an application that waits is in a cookie
    await scope.register(cookie);
    scope.setNotFoundHandler((request, reply) => {
      reply.code(404);
      letOriginRead(ctx, request, reply);
      if (request.url.startsWith("/api/")) {
        return sendError(ctx, request, reply, new AuthError("not_found", "there is nothing at this path"));
      }
      if (!asksForPage(request)) return reply.send({ error: "not_found" });
      reply.headers(pageHeaders);
      return showNoPage({ ctx, request, reply }, "not_found");
    });
  });
  nameRequests(app);
  observe(app, ctx);
  sendHeaders(app, headersOf(config));
  refuseTwins(app);
  if (config.rateLimitPerMinute !== null) {
    app.addHook("onRequest", async (request) => {
      if (!isPublicDocument(request.url)) ctx.requestLimit.take(addressOf(request));
    });
  }
  await app.register(async (scope) => {
    sendHeaders(scope, pageHeaders);
    await scope.register(cookie);
    addEndpoints(scope, ctx, pages, { arePages: true });
  });
  await app.register(async (scope) => {
    await scope.register(cors, () => corsOf(ctx));
    offerNonces(scope, ctx);
    addEndpoints(scope, ctx, browserApi);
  });
  await app.register(async (scope) => {
    addEndpoints(scope, ctx, documents, { leaving: "OPTIONS" });
  });
  await app.register(async (scope) => {
    addEndpoints(scope, ctx, serverApi);
  });
  await app.listen(config.http);
  return {
    port: (app.server.address() as AddressInfo).port,
    drain: end.drain,
    close: (graceMs) => end.close(() => app.close(), graceMs),
  };
}

function createGuarded(answer: RequestListener, { keepAliveTimeoutMs: keepAliveTimeout }: Config) {
  const limits = {
    maxHeaderSize,
    headersTimeout: 10_000,
    // with the interval below, whatever does not arrive is cut within 15 s
    requestTimeout: 12_000,
    // Node looks for late headers and bodies every 30 s unless told otherwise
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout,
  };
  const server = createServer(limits, oneAtATime(answer));
  server.setTimeout(30_000);
  guardHttp1(server);
  refuseExpectations(server);
  return server;
}

/** Of every answer. One that is data needs no more: no browser renders it. What may be cached says so itself. */
function headersOf({ issuer, hstsIncludeSubDomains }: Config): Readonly<Record<string, string>> {
  return {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(issuer.startsWith("https:")
      ? { "strict-transport-security": `max-age=${hstsSeconds}${hstsIncludeSubDomains ? "; includeSubDomains" : ""}` }
      : {}),
  };
}

/**
 * The headers that Helmet sets, as constants: its plugin builds them again for each request. Rendered pages bring their own policy. No
 * Cross-Origin-Opener-Policy: an application that opened the login in a popup would lose it.
 */
const pageHeaders = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "origin-agent-cluster": "?1",
  "referrer-policy": "no-referrer",
  "x-dns-prefetch-control": "off",
  "x-download-options": "noopen",
  "x-frame-options": "DENY",
  "x-permitted-cross-domain-policies": "none",
  "x-xss-protection": "0",
} as const;

function sendHeaders(app: FastifyInstance, headers: Readonly<Record<string, string>>): void {
  app.addHook("onRequest", (request, reply, done) => {
    reply.headers(headers).header("x-request-id", infoOf(request).id);
    done();
  });
}

/** Answers what is no request of HTTP, and hangs up. */
function refuseBytes(
  ctx: OAuthContext,
  error: Error & { readonly code: string; readonly rawPacket?: unknown },
  socket: Socket,
): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) return void socket.destroy();
  // where the packet begins with a request line, that line alone may be what is too long
  const packet = Buffer.isBuffer(error.rawPacket) ? error.rawPacket.toString("latin1") : "";
  const line = /^[A-Z]+ [^\r\n]*/.exec(packet)?.[0] ?? "";
  // other packets may have the line and the origin
  const origin = /\r\norigin:[ \t]*(\S+)/i.exec(packet)?.[1];
  const readable = line === "" ? READABLE_BY_ALL : readableBy(ctx, line.split(" ", 2)[1] ?? "", origin);
  const [status, description] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? line.length > maxHeaderSize
        ? ["414 URI Too Long", `the URL is longer than ${maxHeaderSize} bytes`]
        : ["431 Request Header Fields Too Large", `the headers are longer than ${maxHeaderSize} bytes`]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", "the request did not come in time"]
        : ["400 Bad Request", "the request is malformed"];
  const body = JSON.stringify({ error: "invalid_request", error_description: description });
  const all = {
    ...headersOf(ctx.config),
    ...readable,
    "content-type": "application/json; charset=utf-8",
    connection: "close",
  };
  const head = Object.entries({ ...all, "content-length": body.length }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  // HEAD has no body (RFC 9110 section 9.3.2)
  socket.end(`HTTP/1.1 ${status}\r\n${head.join("")}\r\n${line.startsWith("HEAD ") ? "" : body}`);
}

function refuseTwins(app: FastifyInstance): void {
  app.addHook("onRequest", (request, reply, done) => {
    const twin = duplicateHeader(request.raw.rawHeaders);
    if (twin === null) return done();
    reply.header("connection", "close");
    done(new AuthError("invalid_request", `duplicate header ${twin}`));
  });
}

function observe(app: FastifyInstance, ctx: OAuthContext): void {
  app.addHook("onResponse", (request, reply, done) => {
    const operation = request.routeOptions.url ?? "unknown";
    const { statusCode: status, elapsedTime: ms } = reply;
    ctx.metrics.requests.observe({ edge: "http", operation, outcome: String(status) }, ms / 1000);
    if (ctx.log.isLevelEnabled("debug")) {
      ctx.log.debug({ request_id: infoOf(request).id, method: request.method, operation, status, ms }, "request");
    }
    done();
  });
}

/** Does a browser open this address, and not a program call it? */
function asksForPage({ headers, url }: FastifyRequest): boolean {
  if (isPublicDocument(url) || BROWSER_PATHS.some((path) => url.startsWith(path))) return false;
  return /(^|[\s,])text\/html\s*($|[;,])/i.test(headers.accept ?? "");
}

/**
 * Adds endpoints; their paths answer methods they do not know with 405 and the ones they do.
 * @param options.leaving a method that is answered for every path elsewhere
 */
function addEndpoints(
  app: FastifyInstance,
  ctx: OAuthContext,
  endpoints: readonly Endpoint[],
  { arePages = false, leaving }: { readonly arePages?: boolean; readonly leaving?: "OPTIONS" } = {},
): void {
  const known = new Map<string, Set<string>>();
  let adding = true;
  app.addHook("onRoute", ({ url, method }) => {
    if (adding) known.set(url, (known.get(url) ?? new Set()).add(String(method)));
  });
  for (const endpoint of endpoints) endpoint(app, ctx);
  adding = false;
  if (leaving !== undefined) for (const methods of known.values()) methods.add(leaving);
  refuseOtherMethods(app, ctx, known, arePages);
}

/** @param arePages pages answer browsers with one; the others with data alone */
function refuseOtherMethods(
  app: FastifyInstance,
  ctx: OAuthContext,
  known: ReadonlyMap<string, ReadonlySet<string>>,
  arePages: boolean,
): void {
  const all: HTTPMethods[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
  for (const [url, methods] of known) {
    app.route({
      method: all.filter((method) => !methods.has(method)),
      url,
      handler: (request, reply) => {
        const page = arePages ? pageOfFormAt(url, request) : null;
        if (page !== null) return goToPageOfForm({ ctx, request, reply }, page);
        letOriginRead(ctx, request, reply);
        reply.code(405).header("allow", [...methods].join(", "));
        if (!arePages || !asksForPage(request)) return sendMethodNotAllowed(request, reply);
        return showNoPage({ ctx, request, reply }, "method_not_allowed");
      },
    });
  }
}

/** The page of a form whose address a browser opens without it. A form that is sent by GET is none. */
function pageOfFormAt(url: string, request: FastifyRequest): string | null {
  if (request.method !== "GET" || !asksForPage(request)) return null;
  const names = [...queryOf(request).keys()];
  return names.every((name) => name === "request") ? (PAGE_OF_FORM[url] ?? null) : null;
}
