import { create, toBinary } from "@bufbuild/protobuf";
import { IntrospectRequestSchema } from "../gen/auth/v1/introspection_pb.ts";
import { testEnvironment } from "../test/support/app.ts";
import { authorizeUrl, getTokens, hiddenFields, internalBasic, signUp, TestBrowser } from "../test/support/flow.ts";
import type { Figure } from "./figures.ts";
import { type Load, residentMegabytes, runLoad, serverCpu, startPinned, stop } from "./support/processes.ts";

/** More than ten times what argon2 does on the service's one core. */
const loginsPerSecond = 550;
const seconds = 15;

interface Flood extends Load {
  readonly refused: number;
  readonly withoutHint: number;
  /** Milliseconds. */
  readonly refusedP99: number;
}

/**
 * Introspection at a steady rate while logins arrive at ten times what argon2 can do, all on one core: the 99th percentile
 * against the same rate without logins.
 */
export async function loginFlood(): Promise<readonly Figure[]> {
  const env = await testEnvironment({ ACCESS_TOKEN_TTL: "3600", LOG_LEVEL: "error" });
  const url = env["ISSUER"] ?? "";
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  try {
    const { access_token: token } = await getTokens(url, await signUp(url));
    const message = Buffer.from(toBinary(IntrospectRequestSchema, create(IntrospectRequestSchema, { token })));
    const steady = () =>
      runLoad("grpc-load.ts", {
        address: `127.0.0.1:${env["GRPC_PORT"]}`,
        path: "/auth.v1.IntrospectionService/Introspect",
        authorization: internalBasic,
        connections: 2,
        streams: 1,
        perSecond: 200,
        seconds,
        warmUp: 2,
        messages: [message.toString("base64")],
      });
    const browser = new TestBrowser();
    await browser.get(authorizeUrl(url));
    const fields = hiddenFields(await (await browser.get(`${url}/login`)).text());
    // all of different accounts: nothing but the queue refuses them
    const bodies = Array.from({ length: 5_000 }, (_, n) =>
      new URLSearchParams({ ...fields, email: `nobody-${n}@example.test`, password: "wrong password" }).toString(),
    );
    const flood = () =>
      runLoad("http-load.ts", {
        port: Number(new URL(url).port),
        path: "/login",
        authorization: "none",
        headers: { cookie: [...browser.cookies].map(([name, value]) => `${name}=${value}`).join("; ") },
        connections: 300,
        perSecond: loginsPerSecond,
        seconds,
        bodies,
      }) as Promise<Flood>;
    await steady();
    const idle = await steady();
    const before = residentMegabytes(service.pid ?? 0);
    const [busy, logins] = await Promise.all([steady(), flood()]);
    const after = residentMegabytes(service.pid ?? 0);
    const figure = (name: string, value: number, unit: string, bar: number | null): Figure => {
      return { name, value: Math.round(value * 100) / 100, unit, bar };
    };
    return [
      figure("introspection p99, no logins", idle.p99, "ms", null),
      figure("introspection p99, login flood", busy.p99, "ms", null),
      figure("ratio of the two", busy.p99 / idle.p99, "", 2),
      figure("logins that arrived", (logins.answered + logins.refused) / logins.seconds, "a second", null),
      figure("logins checked", logins.answered / logins.seconds, "a second", null),
      figure("logins checked, of those that arrived", logins.answered / (logins.answered + logins.refused), "", 0.1),
      figure("refused logins answered within, p99", logins.refusedP99, "ms", 100),
      figure("refused logins without a retry hint", logins.withoutHint, "", 0),
      figure("memory grown by", after - before, "MB", 150),
    ];
  } finally {
    await stop(service);
  }
}
