import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, it, jest } from "@jest/globals";

/** What the name server answers, one answer a question; the last one stays. */
let answers: { address: string; family: number }[][] = [];
let questions = 0;
jest.unstable_mockModule("node:dns/promises", () => ({
  lookup: async () => answers[Math.min(questions++, answers.length - 1)],
}));
const { HostAway, outboundFetch } = await import("../../src/net/outbound.ts");

let port: number;
let connections = 0;
const server = createServer((_request, response) => response.end("fine")).on("connection", () => connections++);
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ({ port } = server.address() as AddressInfo);
});
beforeEach(() => {
  questions = 0;
  connections = 0;
});
afterAll(() => {
  server.close();
});

const v4 = (address: string) => ({ address, family: 4 });
const allowing = (...hosts: string[]) => hosts;

it("S-101 refuses a name of which any address is not public", async () => {
  for (const addresses of [
    [v4("127.0.0.1")],
    [v4("192.0.1.1"), v4("127.0.0.1")],
    [
      { address: "2606:4700::1111", family: 6 },
      { address: "::1", family: 6 },
    ],
    [{ address: "::ffff:127.0.0.1", family: 6 }],
  ]) {
    answers = [addresses];
    await expect(outboundFetch(allowing(), `https://keys.example:${port}/`)).rejects.toThrow(
      "not on the public network",
    );
  }
  expect(connections).toBe(0);
});

it("S-101 resolves a name once and connects to that address: later answers of the name server have no effect", async () => {
  answers = [[v4("127.0.0.1")], [v4("192.0.2.1")]];
  const answer = await outboundFetch(allowing("keys.example"), `http://keys.example:${port}/`);
  expect([answer.status, questions, connections]).toEqual([200, 1, 1]);
});

it("S-101 gives up on a name server that does not answer in time", async () => {
  answers = [new Promise(() => {}) as never];
  const call = outboundFetch(allowing(), "https://keys.example/", { timeoutMs: 100 });
  // nothing is known of the host: it may be there again soon
  await expect(call).rejects.toBeInstanceOf(HostAway);
});
