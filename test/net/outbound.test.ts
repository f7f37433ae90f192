import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { HostAway, isPublicAddress, OutboundFailure, outboundFetch } from "../../src/net/outbound.ts";

let server: Server;
let port: number;
let connections = 0;
let requests: { method: string | undefined; url: string | undefined; body: string }[] = [];
beforeAll(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    requests.push({ method: request.method, url: request.url, body });
    if (request.url === "/redirect") response.writeHead(302, { location: `http://127.0.0.1:${port}/ok` }).end();
    else if (request.url === "/big") response.end(Buffer.alloc(10 * 1024 * 1024, "x"));
    else if (request.url === "/slow") response.write("{");
    else if (request.url === "/always-gzip" || (request.headers["accept-encoding"] ?? "gzip").includes("gzip"))
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("fine"));
    else if (request.url !== "/silent") response.end("fine");
  });
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ({ port } = server.address() as AddressInfo);
});
beforeEach(() => {
  connections = 0;
  requests = [];
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const allowing = (...hosts: string[]) => hosts;

describe("calls to URLs that clients registered", () => {
  it.each([
    "127.0.0.1",
    "127.255.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "no address",
  ])("S-101 takes %s for an address that is not public", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  it.each(["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "193.0.0.1", "2606:4700::1111", "2a00:1450::1"])(
    "takes %s for a public address",
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );

  it.each([
    "https://127.0.0.1:PORT/ok",
    "https://localhost:PORT/ok",
    "https://[::1]:PORT/ok",
    "https://[::ffff:127.0.0.1]:PORT/ok",
    "https://2130706433:PORT/ok",
    "https://0x7f.1:PORT/ok",
    "https://0:PORT/ok",
    "https://user@127.0.0.1:PORT/ok",
    "http://127.0.0.1:PORT/ok",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/",
    "nothing",
  ])("S-101 does not call %s, and the listener sees no connection", async (url) => {
    await expect(outboundFetch(allowing(), url.replace("PORT", String(port)))).rejects.toThrow(OutboundFailure);
    await expect(
      outboundFetch(allowing(`127.0.0.1:${port + 1}`), url.replace("PORT", String(port))),
    ).rejects.toBeInstanceOf(OutboundFailure);
    expect(connections).toBe(0);
  });

  it("calls an allowed host by name or by name and port, and posts what it is given", async () => {
    for (const allowed of ["127.0.0.1", `127.0.0.1:${port}`]) {
      const answer = await outboundFetch(allowing(allowed), `http://127.0.0.1:${port}/ok`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: "logout_token=ä",
      });
      expect([answer.status, answer.body.toString()]).toEqual([200, "fine"]);
    }
    expect((await outboundFetch(allowing("localhost"), `http://localhost:${port}/ok`)).status).toBe(200);
    expect(requests[0]).toEqual({ method: "POST", url: "/ok", body: "logout_token=ä" });
  });

  it("asks for an answer that is not compressed (RFC 9110 12.5.3), and says it where one is", async () => {
    const context = allowing(`127.0.0.1:${port}`);
    const answer = await outboundFetch(context, `http://127.0.0.1:${port}/ok`);
    expect(answer.body.toString()).toBe("fine");
    const call = outboundFetch(context, `http://127.0.0.1:${port}/always-gzip`);
    await expect(call).rejects.toThrow("the answer is compressed (gzip), which was not asked for");
  });

  it("S-101 does not follow a redirect", async () => {
    const answer = await outboundFetch(allowing(`127.0.0.1:${port}`), `http://127.0.0.1:${port}/redirect`);
    expect([answer.status, requests.map(({ url }) => url)]).toEqual([302, ["/redirect"]]);
  });

  it("S-101 cuts an answer of 10 MB and one that does not end", async () => {
    const context = allowing(`127.0.0.1:${port}`);
    await expect(outboundFetch(context, `http://127.0.0.1:${port}/big`)).rejects.toThrow("longer than 65536 bytes");
    for (const path of ["slow", "silent"]) {
      const from = performance.now();
      const call = outboundFetch(context, `http://127.0.0.1:${port}/${path}`, { timeoutMs: 100 });
      await expect(call).rejects.toThrow("no answer within 100 ms");
      await expect(call).rejects.not.toBeInstanceOf(HostAway);
      expect(performance.now() - from).toBeLessThan(20_000);
    }
  });

  it("says only that it failed where no server listens", async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, "127.0.0.1", resolve));
    const free = (gone.address() as AddressInfo).port;
    await new Promise((resolve) => gone.close(resolve));
    const call = outboundFetch(allowing("127.0.0.1"), `http://127.0.0.1:${free}/`);
    await expect(call).rejects.toThrow("the host could not be called");
  });
});
