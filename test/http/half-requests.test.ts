import { connect } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";

const form = "Content-Type: application/x-www-form-urlencoded";
/** What is sent, and whether a byte follows every half second. */
const halves: Record<string, [start: string, drips: boolean]> = {
  "no byte": ["", false],
  "empty lines": ["\r\n", false],
  "half a request line": ["GET /lo", false],
  "half the headers": ["GET /login HTTP/1.1\r\nHost: x\r\nAccept: te", false],
  "headers without end": ["GET /login HTTP/1.1\r\nHost: x\r\nAccept: te", true],
  "half a body": [`POST /oauth2/token HTTP/1.1\r\nHost: x\r\n${form}\r\nContent-Length: 900\r\n\r\ngrant`, false],
  "a body without end": [`POST /oauth2/token HTTP/1.1\r\nHost: x\r\n${form}\r\nContent-Length: 900\r\n\r\ngrant`, true],
  "half a chunk": [
    `POST /oauth2/token HTTP/1.1\r\nHost: x\r\n${form}\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ngr`,
    false,
  ],
  "half a second request": ["GET /oauth2/jwks HTTP/1.1\r\nHost: x\r\n\r\nGET /login HTTP/1.1\r\nHo", false],
};

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

test("C-73 half a request is cut within 15 s on the public listener, while others are served", async () => {
  const stall = monitorEventLoopDelay();
  stall.enable();
  const open = Object.entries(halves).map(async ([name, half]) => [name, await secondsUntilCut(...half)] as const);
  const served = await fetch(`${app.url}/oauth2/jwks`);
  expect(served.status).toBe(200);
  const cut = await Promise.all(open);
  stall.disable();
  // while this process stood still nobody could be cut
  const late = cut.filter(([, seconds]) => seconds > 15 + stall.max / 1e9);
  expect(late).toEqual([]);
});

/** Seconds from the last byte of the start to the end of the connection; it is left alone after 40. */
function secondsUntilCut(start: string, drips: boolean): Promise<number> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
    const startedAt = performance.now();
    const drip = setInterval(() => drips && socket.write("a"), 500);
    const giveUp = setTimeout(() => socket.destroy(), 40_000);
    socket.on("connect", () => socket.write(start));
    socket.on("error", () => {});
    socket.resume();
    socket.on("close", () => {
      clearInterval(drip);
      clearTimeout(giveUp);
      resolve((performance.now() - startedAt) / 1000);
    });
  });
}
