import { connect } from "node:net";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const listeners = () => [
  { url: app.url, path: "/login" },
  { url: app.url, path: "/oauth2/jwks" },
  { url: app.internalUrl, path: "/healthz" },
];

it("F-36 requests that come together on one connection are all answered", async () => {
  for (const { url, path } of listeners()) expect([path, await answersTo(url, path, 60)]).toEqual([path, 60]);
});

it("F-36 a thousand requests at once on each of five connections are cut, and others are served", async () => {
  for (const { url, path } of listeners()) {
    const floods = Array.from({ length: 5 }, () => answersTo(url, path, 1_000));
    const other = await fetch(`${url}${path}`);
    expect(other.status).toBe(200);
    await other.arrayBuffer();
    const most = Math.max(...(await Promise.all(floods)));
    expect([path, most <= 101]).toEqual([path, true]);
  }
});

/** Sends GETs in one write, the last of which asks for the end of the connection. @returns how many were answered with 200 until then */
function answersTo(url: string, path: string, count: number): Promise<number> {
  const { host, hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const get = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n`;
  return new Promise((resolve) => {
    let text = "";
    socket.setEncoding("latin1").on("data", (data: string) => {
      text += data;
    });
    socket.on("error", () => {});
    socket.once("close", () => resolve(text.match(/HTTP\/1\.1 200 /g)?.length ?? 0));
    socket.write(`${`${get}\r\n`.repeat(count - 1)}${get}connection: close\r\n\r\n`);
  });
}
