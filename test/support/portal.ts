import type { Page } from "playwright-core";
import type { PortalOptions } from "../../examples/portal/server.ts";
import type { TestApp } from "./app.ts";

/** What the example portal calls of a service in this process. */
export function internalOf({ grpc, internalUrl }: TestApp): PortalOptions["internal"] {
  return {
    grpcUrl: `http://${grpc}`,
    connectUrl: internalUrl,
    clientId: "internal-service",
    clientSecret: "internal-service-secret",
  };
}

/** What the tabs of the example portal share. */
export interface StoredSession {
  readonly accessToken: string;
  readonly refreshToken: string;
}

/** The portal's session, which must be open. */
export function storedIn(page: Page): Promise<StoredSession> {
  return page.evaluate<StoredSession>('JSON.parse(localStorage.getItem("session"))');
}
