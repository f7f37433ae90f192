import { constants } from "node:http2";
import { status as grpcStatus } from "@grpc/grpc-js";
import { describe, expect, test } from "@jest/globals";
import { app, grpcCall, post, raw, statusOf, stillServes, useInternalApp, worker } from "./internal-app.ts";
import {
  flag,
  frame,
  framesOf,
  frameType,
  h2Frame,
  headersOf,
  hpack,
  inFrames,
  opening,
  openPeer,
  RawGrpc,
} from "./raw-peers.ts";

useInternalApp();

describe("frames and headers", () => {
  const getJwks = "/auth.v1.TokenService/GetJwks";
  const good = () => [...headersOf(getJwks), ["authorization", worker.authorization]] as [string, string][];
  const without = (name: string) => good().filter(([field]) => field !== name);
  const grpcPort = () => Number(app.grpc.split(":")[1]);

  /** How the first stream of a connection ends, or the connection. */
  async function endOf(...frames: Buffer[]): Promise<string> {
    const peer = await openPeer(grpcPort());
    peer.socket.write(Buffer.concat([opening, ...frames]));
    try {
      for (let tries = 0; tries < 1_000; tries++) {
        for (const { type, flags, payload, streamId } of framesOf(peer.received())) {
          if (type === frameType.goaway) return `GOAWAY ${payload.readUInt32BE(4)}`;
          if (streamId !== 1) continue;
          if (type === frameType.rst) return `RST_STREAM ${payload.readUInt32BE()}`;
          if (type === frameType.headers && (flags & flag.endStream) !== 0) {
            return `answered ${payload.includes("OK") ? "OK" : "with an error"}`;
          }
        }
        if (peer.socket.readyState !== "open") return "closed";
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return "nothing";
    } finally {
      peer.socket.destroy();
    }
  }
  const headers = (fields: readonly (readonly [string, string])[]) =>
    h2Frame(frameType.headers, flag.endHeaders, 1, hpack(fields));
  const message = h2Frame(frameType.data, flag.endStream, 1, frame(Buffer.alloc(0)));

  test.each<[string, () => [string, string][]]>([
    ["no method", () => without(":method")],
    ["no path", () => without(":path")],
    ["no scheme", () => without(":scheme")],
    ["two paths", () => [...good().slice(0, 4), [":path", "/twice"], ...good().slice(4)]],
    ["an unknown one", () => [[":nothing", "x"], ...good()]],
    ["one after the others", () => [...good(), [":path", "/late"]]],
    ["capitals", () => [...good(), ["X-Upper", "x"]]],
    ["a connection header", () => [...good(), ["connection", "close"]]],
  ])("S-187 pseudo-headers with %s end the stream with PROTOCOL_ERROR, never the process", async (_, fields) => {
    expect(await endOf(headers(fields()), message)).toBe("RST_STREAM 1");
    await stillServes();
  });

  test("S-187 invalid header fields are dropped, and the call is answered as without them", async () => {
    expect(await endOf(headers(good()), message)).toBe("answered OK");
    for (const field of [
      ["x-line", "a\r\nb: c"],
      ["", "nameless"],
    ] as [string, string][]) {
      expect(await endOf(headers([...good(), field]), message)).toBe("answered OK");
    }
  });

  test("S-187 an unknown compression flag, trailers only and half a frame are refused", async () => {
    const empty = frame(Buffer.alloc(0));
    expect(await statusOf("TokenService/GetJwks", empty)).toBe("OK");
    expect(await statusOf("TokenService/GetJwks", frame(Buffer.alloc(3), 0xff))).toBe("INVALID_ARGUMENT");
    for (const flags of [1, 0xff]) {
      const headers = { "content-type": "application/grpc-web+proto" };
      const overWeb = await post("TokenService/GetJwks", frame(Buffer.alloc(0), flags), headers);
      expect(await overWeb.text()).toMatch(/grpc-status: 13/);
    }
    for (const body of [Buffer.alloc(0), Buffer.alloc(3), empty.subarray(0, 4), frame(empty, 0, 100)]) {
      expect(await statusOf("TokenService/GetJwks", body)).toBe("UNIMPLEMENTED");
    }
    expect(await statusOf("TokenService/GetJwks", Buffer.concat([empty, empty]))).toBe("UNIMPLEMENTED");
    const cancelled = h2Frame(frameType.rst, 0, 1, Buffer.from([0, 0, 0, 8]));
    const ping = h2Frame(frameType.ping, 0, 0, Buffer.alloc(8));
    const peer = await openPeer(grpcPort());
    const half = h2Frame(frameType.data, 0, 1, Buffer.alloc(3));
    peer.socket.write(Buffer.concat([opening, headers(good()), half, cancelled, ping, half.subarray(0, 5)]));
    while (!framesOf(peer.received()).some(({ type }) => type === frameType.ping)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(framesOf(peer.received()).filter(({ streamId }) => streamId === 1)).toEqual([]);
    peer.socket.resetAndDestroy();
    await stillServes();
  });

  const deleteUser = "/auth.v1.UserService/DeleteUser";

  test("S-187 content types that are not gRPC's for protobuf are answered with 415", async () => {
    for (const type of [
      "application/grpc+xml",
      "application/grpc+json",
      "application/grpcx",
      "application/json",
      "text/plain",
    ]) {
      const answer = await raw.call(deleteUser, frame(Buffer.alloc(0)), { ...worker, "content-type": type });
      expect([type, answer.headers[":status"]]).toEqual([type, 415]);
    }
    for (const type of ["application/grpc", "application/grpc+proto"]) {
      const answer = await raw.call(deleteUser, frame(Buffer.alloc(0)), { ...worker, "content-type": type });
      expect([type, grpcStatus[answer.status]]).toEqual([type, "INVALID_ARGUMENT"]);
    }
    expect((await post("UserService/DeleteUser", "{}", { "content-type": "application/xml" })).status).toBe(415);
    expect((await post("UserService/DeleteUser", "{}", { "content-type": "application/grpc" })).status).toBe(415);
  });

  test("S-188 metadata of 64 KiB and of 2,000 keys are refused, and the connection goes on", async () => {
    const session = new RawGrpc(app.grpc, { maxSendHeaderBlockLength: 1024 * 1024 });
    const keys = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`x-${index}`, "v"]));
    for (const headers of [{ "x-large": "x".repeat(64 * 1024) }, { "x-large": "x".repeat(17 * 1024) }, keys]) {
      const answer = await session.call(deleteUser, frame(Buffer.alloc(0)), { ...worker, ...headers });
      // gRPC clients read the reset as RESOURCE_EXHAUSTED too
      const refused = answer.status === -1 ? `reset ${answer.rstCode}` : grpcStatus[answer.status];
      expect([`reset ${constants.NGHTTP2_ENHANCE_YOUR_CALM}`, "RESOURCE_EXHAUSTED"]).toContain(refused);
    }
    const after = await session.call(deleteUser, frame(Buffer.alloc(0)), worker);
    expect([session.session.destroyed, grpcStatus[after.status]]).toEqual([false, "INVALID_ARGUMENT"]);
    session.close();
    expect((await post("TokenService/GetJwks", "{}", { "x-large": "x".repeat(64 * 1024) })).status).toBe(431);
    await stillServes();
  });

  test("S-188 a call with metadata over the limit is refused in words at once, its message is not waited for", async () => {
    const watch = "/auth.v1.IntrospectionService/WatchRevocations";
    for (const [path, more] of [
      [deleteUser, {}],
      [watch, {}],
      [deleteUser, { "grpc-encoding": "gzip" }],
    ] as const) {
      const large = { ...worker, ...more, "x-large": "x".repeat(16 * 1024) };
      const answer = await raw.call(path, Buffer.alloc(0), large, false);
      const refused = [grpcStatus[answer.status], answer.message];
      expect([path, ...refused]).toEqual([path, "RESOURCE_EXHAUSTED", "metadata is larger than 16 KiB"]);
    }
    await stillServes();
  });

  test("F-38 a peer that never confirms the settings is sent away after a few calls of 60 KiB of metadata", async () => {
    const block = hpack([...good(), ...Array.from({ length: 4 }, (_, n) => [`x-${n}`, "y".repeat(15_000)] as const)]);
    const peer = await openPeer(grpcPort());
    peer.socket.write(opening);
    for (let id = 1; id < 80 && peer.socket.writable; id += 2) peer.socket.write(inFrames(id, block));
    await peer.closed;
    const frames = framesOf(peer.received());
    expect(frames.map(({ type }) => type)).toContain(frameType.goaway);
    const refused = frames.filter(({ type, streamId }) => type === frameType.headers && streamId > 0);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(10);
    await stillServes();
  });

  test("S-188 binary metadata that is not base64 is refused or ignored, and the server goes on", async () => {
    for (const value of ["!!!!", "=", "a", "\u00ff".repeat(10), "x,y"]) {
      const answer = await grpcCall("TokenService/GetJwks", frame(Buffer.alloc(0)), { "trace-bin": value });
      expect(["OK", "INTERNAL", "INVALID_ARGUMENT"]).toContain(grpcStatus[answer.status]);
      expect([200, 400]).toContain((await post("TokenService/GetJwks", "{}", { "trace-bin": value })).status);
    }
    await stillServes();
  });
});
