import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { ErrorDetailSchema } from "../../../gen/auth/v1/error_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { AuthError } from "../../../src/errors.ts";
import { CallerLimits, MAX_IN_FLIGHT } from "../../../src/oauth/callers/caller-limits.ts";
import { protocols, startEdges, transportsTo } from "../../rpc/stand-ins.ts";
import { startApp, type TestApp } from "../../support/app.ts";

describe("limits of a caller", () => {
  test("calls under way are counted by client, and each that ends makes room", () => {
    const hits: string[] = [];
    const limits = new CallerLimits(null, (limit) => hits.push(limit), 2);
    const first = limits.enter("a");
    limits.enter("a");
    expect(() => limits.enter("a")).toThrow(AuthError);
    limits.enter("b");
    limits.leave(first);
    limits.enter("a");
    expect(() => limits.enter("a")).toThrow("more than 2 calls under way");
    expect(hits).toEqual(["caller_in_flight", "caller_in_flight"]);
  });

  test("calls a second come back with time, and no more than a second's worth of them", async () => {
    let now = 1_000;
    const clock = jest.spyOn(performance, "now").mockImplementation(() => now);
    const limits = new CallerLimits(20);
    const takeAll = () => {
      for (let taken = 0; ; taken++) {
        try {
          limits.leave(limits.enter("a"));
        } catch {
          return taken;
        }
      }
    };
    expect(takeAll()).toBe(20);
    now += 300;
    expect(takeAll()).toBe(6);
    now += 5_000;
    expect(takeAll()).toBe(20);
    limits.leave(limits.enter("b"));
    clock.mockRestore();
  });
});

describe("with CALLER_RATE_LIMIT", () => {
  const secret = "a secret of at least thirty-two characters";
  const basic = (id: string) => `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`;
  let app: TestApp;
  let transports: Record<string, Transport>;

  beforeAll(async () => {
    const client = (client_id: string) => ({
      client_id,
      client_secret: secret,
      grant_types: ["client_credentials"],
      token_endpoint_auth_method: "client_secret_basic",
      scope: "auth.tokens",
    });
    app = await startApp({ CALLER_RATE_LIMIT: "25" }, [client("busy"), client("calm")]);
    transports = transportsTo(Number(app.grpc.split(":")[1]), Number(new URL(app.internalUrl).port));
  });
  afterAll(() => app.close());

  /** What the metrics say of CALLER_RATE_LIMIT. */
  const hits = async () => {
    const text = await (await fetch(`${app.internalUrl}/metrics`)).text();
    return Number(/^auth_limits_hit_total\{limit="caller_rate"\} (\d+)$/m.exec(text)?.[1] ?? 0);
  };

  test.each(protocols)(
    "a busy client is RESOURCE_EXHAUSTED with a hint over %s, a calm one is served",
    async (protocol) => {
      const jwks = (id: string) =>
        createClient(TokenService, transports[protocol]!).getJwks({}, { headers: { authorization: basic(id) } });
      const from = performance.now();
      const counted = await hits();
      const outcomes = await Promise.all(Array.from({ length: 300 }, () => jwks("busy").catch(ConnectError.from)));
      const seconds = (performance.now() - from) / 1_000;
      const refused = outcomes.filter((outcome): outcome is ConnectError => outcome instanceof ConnectError);
      // 25, and 25 more for each second that the calls take
      expect(refused.length).toBeGreaterThanOrEqual(300 - 25 * Math.ceil(1 + seconds));
      for (const error of refused) {
        expect(error.code).toBe(Code.ResourceExhausted);
        expect(error.metadata.get("retry-after")).toBe("1");
        expect(error.findDetails(ErrorDetailSchema)).toMatchObject([
          { code: "AUTH_RATE_LIMITED", retryAfterSeconds: 1 },
        ]);
      }
      expect((await hits()) - counted).toBe(refused.length);
      await expect(jwks("calm")).resolves.toMatchObject({ maxAge: 300 });
    },
  );
});

test.each(protocols)("a client that hangs up a thousand times over %s has nothing under way", async (protocol) => {
  const edges = await startEdges({
    getJwks: (_request, context) =>
      new Promise((resolve) => {
        const { signal } = context as { signal: AbortSignal };
        signal.addEventListener("abort", () => resolve({}));
      }),
  });
  // each on its own connection: so many cancelled streams on one end it
  const connected = () =>
    createClient(TokenService, transportsTo(edges.grpc.port, edges.http.port)[protocol] as Transport);
  const headers = { authorization: "Bearer all" };
  for (let done = 0; done <= MAX_IN_FLIGHT; done += 50) {
    edges.reached.length = 0;
    const hangUp = new AbortController();
    const tokens = connected();
    const calls = Array.from({ length: 50 }, () => tokens.getJwks({}, { headers, signal: hangUp.signal }));
    const ended = Promise.allSettled(calls);
    const giveUpAt = performance.now() + 20_000;
    while (edges.reached.length < 50 && performance.now() < giveUpAt)
      await new Promise((resolve) => setTimeout(resolve, 2));
    expect(edges.reached).toHaveLength(50);
    hangUp.abort();
    await ended;
  }
  // the last of them may still be on its way
  const served = () =>
    connected()
      .revokeAuthorization({}, { headers })
      .then(
        () => true,
        () => false,
      );
  for (let tries = 0; tries < 200 && !(await served()); tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await served()).toBe(true);
  await edges.close();
});
