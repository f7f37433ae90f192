import type { AddressInfo } from "node:net";
import accepts from "@fastify/accepts";
import cookie from "@fastify/cookie";
import cors, { type FastifyCorsOptionsDelegateCallback } from "@fastify/cors";
import helmet from "@fastify/helmet";
import { type FastifyInstance, type FastifyRequest, fastify, type HTTPMethods } from "fastify";
import type { Context } from "../context.ts";
import { networkOf } from "../limits.ts";
import { isLoopback } from "../oauth/client-metadata.ts";
import { paths } from "../oauth/metadata.ts";
import { accountApi } from "./account-api.ts";
import { authorizeEndpoint } from "./authorize.ts";
import { consentPage } from "./consent.ts";
import { sendError } from "./error-table.ts";
import { introspectEndpoint } from "./introspect.ts";
import { loginPage } from "./login.ts";
import { logoutEndpoint } from "./logout.ts";
import { addBodyParser } from "./parameters.ts";
import { passwordResetPages } from "./password-reset.ts";
import { revokeEndpoint } from "./revoke.ts";
import { signUpPage } from "./sign-up.ts";
import { tokenEndpoint } from "./token.ts";
import { userinfoEndpoint } from "./userinfo.ts";
import { wellKnownEndpoints } from "./well-known.ts";

/** One file an endpoint; each adds its routes. */
const endpoints = [
  authorizeEndpoint,
  loginPage,
  signUpPage,
  consentPage,
  passwordResetPages,
  tokenEndpoint,
  introspectEndpoint,
  revokeEndpoint,
  userinfoEndpoint,
  logoutEndpoint,
  wellKnownEndpoints,
  accountApi,
];

const bodyLimit = 64 * 1024;

/** The public listener: OAuth, OpenID Connect, the pages and the account API. */
export async function startHttpServer(ctx: Context): Promise<{ port: number; close(): Promise<void> }> {
  const { config } = ctx;
  const app = fastify({
    bodyLimit,
    exposeHeadRoutes: false,
    trustProxy: config.trustProxy.length === 0 ? false : [...config.trustProxy],
    requestTimeout: 15_000,
    connectionTimeout: 30_000,
    keepAliveTimeout: 72_000,
    http: { headersTimeout: 10_000, maxHeaderSize: 16 * 1024 },
    routerOptions: { maxParamLength: 200 },
    // requests that arrive while the listener drains are still answered
    return503OnClosing: false,
  });
  addBodyParser(app);
  await app.register(accepts);
  await app.register(cookie);
  await app.register(helmet, {
    contentSecurityPolicy: false,
    hsts: config.issuer.startsWith("https:") ? { maxAge: 31_536_000 } : false,
    frameguard: { action: "deny" },
    crossOriginResourcePolicy: false,
  });
  const corsOf: FastifyCorsOptionsDelegateCallback = (request: FastifyRequest, done) => {
    const { origin } = request.headers;
    const allowed = origin !== undefined && mayBeCalledFromBrowsers(request.url) && isAllowedOrigin(ctx, origin);
    done(null, {
      origin: allowed ? origin : false,
      strictPreflight: false,
      methods: ["GET", "POST"],
      allowedHeaders: ["authorization", "content-type", "dpop"],
      exposedHeaders: ["retry-after", "www-authenticate"],
      maxAge: 600,
    });
  };
  await app.register(cors, () => corsOf);
  observe(app, ctx);
  app.setErrorHandler((error, request, reply) => sendError(ctx, request, reply, error));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: "not_found" }));
  const { rateLimitPerMinute } = config;
  if (rateLimitPerMinute !== null) {
    app.addHook("onRequest", (request) => ctx.limits.takeRequest(networkOf(request.ip), rateLimitPerMinute));
  }
  const known = new Map<string, Set<string>>();
  app.addHook("onRoute", ({ url, method }) => {
    if (url !== "*") known.set(url, (known.get(url) ?? new Set()).add(String(method)));
  });
  for (const endpoint of endpoints) endpoint(app, ctx);
  refuseOtherMethods(app, new Map([...known].map(([url, methods]) => [url, new Set(methods)])));
  await app.listen(config.http);
  return { port: (app.server.address() as AddressInfo).port, close: () => app.close() };
}

const browserPaths = new Set<string>([
  paths.token,
  paths.revoke,
  paths.userinfo,
  paths.jwks,
  "/.well-known/openid-configuration",
  "/.well-known/oauth-authorization-server",
]);

function mayBeCalledFromBrowsers(url: string): boolean {
  const path = url.split("?", 1)[0] ?? "";
  return browserPaths.has(path) || path.startsWith("/api/users/");
}

function isAllowedOrigin({ config }: Context, origin: string): boolean {
  if (config.corsOrigins !== "loopback") return config.corsOrigins.includes(origin);
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname) && new URL(origin).origin === origin;
}

function observe(app: FastifyInstance, ctx: Context): void {
  app.addHook("onSend", async (_request, reply) => {
    if (!reply.hasHeader("cache-control")) reply.header("cache-control", "no-store");
  });
  app.addHook("onResponse", async (request, reply) => {
    const operation = request.routeOptions.url ?? "unknown";
    const outcome = String(reply.statusCode);
    ctx.metrics.requests.observe({ edge: "http", operation, outcome }, reply.elapsedTime / 1000);
    ctx.log.debug({ method: request.method, operation, status: reply.statusCode, ms: reply.elapsedTime }, "request");
  });
}

/** Every path answers methods it does not know with 405 and the ones it does. */
function refuseOtherMethods(app: FastifyInstance, known: ReadonlyMap<string, ReadonlySet<string>>): void {
  const all: HTTPMethods[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
  const answer = { error: "invalid_request", error_description: "this method is not allowed here" };
  for (const [url, methods] of known) {
    app.route({
      method: all.filter((method) => !methods.has(method)),
      url,
      handler: (_request, reply) =>
        reply
          .code(405)
          .header("allow", [...methods].join(", "))
          .send(answer),
    });
  }
}
