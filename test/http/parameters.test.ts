import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import Fastify, { type FastifyInstance } from "fastify";
import { AuthError } from "../../src/errors.ts";
import { addBodyParser, readForm, readFormOrJson, readJson, readQuery } from "../../src/http/parameters.ts";

let app: FastifyInstance;

beforeAll(async () => {
  app = Fastify();
  addBodyParser(app);
  app.setErrorHandler((error, _request, reply) => {
    const code = error instanceof AuthError ? error.code : "not an AuthError";
    const status = (error as { statusCode?: number }).statusCode ?? 400;
    return reply.code(status).send({ code });
  });
  app.post("/form", (request) => Promise.resolve(readForm(request)));
  app.post("/either", (request) => Promise.resolve(readFormOrJson(request)));
  app.post("/json", (request) => Promise.resolve(readJson(request)));
  app.get("/query", (request) => Promise.resolve(readQuery(request)));
  await app.ready();
});

afterAll(() => app.close());

async function send(url: string, body: string | Buffer, type: string, headers: Record<string, string> = {}) {
  const answer = await app.inject({
    method: "POST",
    url,
    payload: body,
    headers: { "content-type": type, ...headers },
  });
  return { status: answer.statusCode, body: answer.json<unknown>() };
}

const form = "application/x-www-form-urlencoded";
const json = "application/json";
const refused = { status: 400, body: { code: "invalid_request" } };
const wrongType = { status: 415, body: { code: "invalid_request" } };

describe("a form", () => {
  it("is decoded, and a parameter without a value is absent", async () => {
    const read = await send("/form", "a=b+c%20d&empty=&bare&ü=%C3%A9", form);
    expect(read).toEqual({ status: 200, body: { a: "b c d", ü: "é" } });
  });

  it.each(["application/x-www-form-urlencoded; charset=UTF-8", 'Application/X-WWW-Form-URLEncoded;charset="utf-8"'])(
    "may be sent as %s",
    async (type) => expect(await send("/form", "a=b", type)).toEqual({ status: 200, body: { a: "b" } }),
  );

  it.each([
    ["a repeated parameter", "a=1&a=2"],
    ["a repeated parameter without values", "a=&a="],
    ["an array", "a[]=1"],
    ["a NUL", "a=%00"],
    ["broken percent-encoding", "a=%zz"],
    ["bytes that are not UTF-8", "a=%ff"],
    ["a scope of more than 4000 characters", `scope=${"x".repeat(4001)}`],
    ["more than 100 parameters", Array.from({ length: 101 }, (_, at) => `p${at}=1`).join("&")],
  ])("with %s is refused", async (_name, body) => expect(await send("/form", body, form)).toEqual(refused));

  it.each(["charset=ISO-8859-1", "charset=us-ascii", 'charset="utf-8"', "charset=utf8", "version=1; a=b", ""])(
    "is read with the parameter %j, in which percent-encoded text is the same",
    async (parameter) => {
      const read = await send("/form", "a=%C3%A9", `${form};${parameter}`);
      expect(read).toEqual({ status: 200, body: { a: "é" } });
    },
  );

  it("C-50 is told from its header in no time, however many parameters that names", async () => {
    const began = process.cpuUsage();
    for (const type of [form, json]) {
      expect(await send("/form", "a=b", `${type}${"; ".repeat(26)}x`)).toEqual(wrongType);
      expect(await send("/form", "a=b", `${type};${" ".repeat(14_000)}x`)).toEqual(wrongType);
    }
    // what other processes take does not count; an expression that goes back over the blanks takes minutes
    const { user, system } = process.cpuUsage(began);
    expect((user + system) / 1e6).toBeLessThan(2);
  });

  it("may repeat only what its endpoint says", async () => {
    expect(await send("/form", "resource=a&resource=b", form)).toEqual(refused);
  });

  it("of another type, charset or encoding answers 415", async () => {
    expect(await send("/form", "{}", json)).toEqual(wrongType);
    expect(await send("/form", "a=b", `${form}; charset=latin1`)).toEqual(wrongType);
    expect(await send("/form", "a=b", form, { "content-encoding": "gzip" })).toEqual(wrongType);
  });

  it("whose raw bytes are not UTF-8 is refused", async () => {
    expect(await send("/form", Buffer.from([0x61, 0x3d, 0xff]), form)).toEqual(refused);
  });
});

describe("a JSON body", () => {
  it("keeps the members' types and nested members of one name", async () => {
    const read = await send("/json", '{"a":1,"b":{"a":[true]}}', json);
    expect(read).toEqual({ status: 200, body: { a: 1, b: { a: [true] } } });
  });

  it.each([
    ["no JSON", "{"],
    ["an array", "[]"],
    ["null", "null"],
    ["a repeated member", '{"a":1,"a":2}'],
    ["a member repeated by an escape", '{"a":1,"\\u0061":2}'],
    [
      "more than 100 members",
      JSON.stringify(Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`p${at}`, 1]))),
    ],
  ])("of %s is refused", async (_name, body) => expect(await send("/json", body, json)).toEqual(refused));

  it("of another type answers 415", async () => expect(await send("/json", "a=b", form)).toEqual(wrongType));

  it.each(["charset=utf8", "charset=iso-8859-1", "charset=utf-8; charset=utf-8", 'profile="x"', ""])(
    "may name a charset or parameter that means nothing: %j",
    async (parameter) => {
      const read = await send("/json", '{"a":"é"}', `${json}; ${parameter}`);
      expect(read).toEqual({ status: 200, body: { a: "é" } });
    },
  );

  it("in place of a form follows the form's rules", async () => {
    expect(await send("/either", '{"a":"b","empty":""}', json)).toEqual({ status: 200, body: { a: "b" } });
    expect(await send("/either", "a=b", form)).toEqual({ status: 200, body: { a: "b" } });
    expect(await send("/either", '{"a":1}', json)).toEqual(refused);
    expect(await send("/either", '{"a[]":"1"}', json)).toEqual(refused);
  });
});

it("a query is read by the form's rules", async () => {
  const ask = async (url: string) => (await app.inject({ url })).json<unknown>();
  expect(await ask("/query?a=b+c")).toEqual({ a: "b c" });
  expect(await ask("/query")).toEqual({});
  expect(await ask("/query?a=1&a=1")).toEqual({ code: "invalid_request" });
});
