import { request } from "node:http";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl } from "../support/flow.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** With Node's own client: fetch gives up before it sends so much. */
function statusOfGet(url: string, headers: Record<string, string> = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request(url, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .once("error", reject)
      .end();
  });
}

it("S-018 an authorization request that is too long is refused before anything is sent to the client", async () => {
  const url = authorizeUrl(app.url);
  const [path = ""] = url.split("?");
  const tooLong = async (status: number, change: (parameters: URLSearchParams) => void) => {
    const body = new URLSearchParams(new URL(url).search);
    change(body);
    const response = await fetch(path, { method: "POST", body, redirect: "manual" });
    expect([response.status, response.headers.get("location")]).toEqual([status, null]);
  };
  await tooLong(400, (parameters) => parameters.set("scope", "read ".repeat(10_000)));
  await tooLong(400, (parameters) =>
    parameters.set("scope", Array.from({ length: 10_000 }, (_, n) => n.toString(36)).join(" ")),
  );
  await tooLong(413, (parameters) => parameters.set("scope", "x".repeat(1_000_000)));
  await tooLong(400, (parameters) => {
    for (let n = 0; n < 5_000; n++) parameters.set(`p${n}`, "");
  });
  expect(await statusOfGet(`${url}&x=${"x".repeat(20_000)}`)).toBe(414);
  expect(await statusOfGet(url, { "x-long": "x".repeat(20_000) })).toBe(431);
});
