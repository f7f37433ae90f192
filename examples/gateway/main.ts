import { startGateway } from "./gateway.ts";

const env = (name: string, standard: string) => process.env[name] ?? standard;
const list = (text: string) => text.split(",").filter((part) => part !== "");

const gateway = await startGateway({
  port: Number(env("PORT", "4000")),
  host: env("HOST", "localhost"),
  upstream: env("UPSTREAM", "http://localhost:8081"),
  corsOrigins: list(env("CORS_ORIGINS", "http://localhost:3000")),
  verifier: {
    issuer: env("ISSUER", "http://localhost:8081"),
    audience: list(env("AUDIENCE", "portal-client")),
    stream: {
      baseUrl: env("AUTH_GRPC_URL", "http://127.0.0.1:9091"),
      credentials: {
        clientId: env("AUTH_CLIENT_ID", "internal-service"),
        clientSecret: env("AUTH_CLIENT_SECRET", "internal-service-secret"),
      },
    },
    log: { info: console.log, warn: console.warn, error: console.error },
  },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void gateway.close());
console.log(`the gateway is at ${gateway.url}`);
