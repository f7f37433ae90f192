import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "../support/app.ts";
import {
  getTokens,
  hiddenFields,
  internalBasic,
  introspect,
  patiently,
  postForm,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";

const path = "/account/sign-out-everywhere";
const authorizations = 20_000;

let database: MariaDb;
let url: string;
let app: TestApp;
beforeAll(async () => {
  database = await startMariaDb();
  url = await database.createDatabase();
  // tokens that outlive the test, however long its rows take
  const [first] = await startReplicas(1, { DATABASE_URL: url, ACCESS_TOKEN_TTL: "3600" });
  if (first === undefined) throw new Error("no replica");
  app = first;
});
afterAll(async () => {
  await app?.close();
  await database?.stop();
});

it("C-03 a user of 20,000 authorizations who signs out everywhere 48 times at once costs nobody else an introspection", async () => {
  const other = await getTokens(app.url, await signUp(app.url));
  const account = await signUp(app.url);
  const browsers = Array.from({ length: 48 }, () => new TestBrowser());
  const [first = new TestBrowser()] = browsers;
  const tokens = await getTokens(app.url, account, { browser: first });
  await multiply(String((await introspect(app.url, tokens.access_token))["sid"]), authorizations);
  // one session: 48 posts of one page
  for (const browser of browsers) for (const [name, value] of first.cookies) browser.cookies.set(name, value);
  const html = await (await first.get(`${app.url}/`)).text();
  const fields = fieldsOf(html);

  let storming = true;
  const answers: number[] = [];
  const beside = Promise.all(
    Array.from({ length: 4 }, async () => {
      while (storming) {
        const form = { token: other.access_token };
        const { status } = await postForm(`${app.url}/oauth2/introspect`, form, { authorization: internalBasic });
        answers.push(status);
      }
    }),
  );
  const ends = await Promise.all(browsers.map((browser) => browser.post(`${app.url}${path}`, fields)));
  storming = false;
  await beside;

  expect(answers.filter((status) => status !== 200)).toEqual([]);
  // one of them ends the session; the others end where it does, or are told to come back, as all are by a machine that is too busy
  if (ends.every(({ status }) => status === 503))
    ends.push(await patiently(() => first.post(`${app.url}${path}`, fields)));
  expect(ends.map(({ status }) => status)).toContain(303);
  for (const end of ends) {
    if (end.status === 503) expect(end.headers.has("retry-after")).toBe(true);
    else expect(end.status).toBeLessThan(500);
  }
  expect(await introspect(app.url, tokens.access_token)).toEqual({ active: false });
  expect((await patiently(() => refresh(app.url, tokens.refresh_token))).status).toBe(401);
  expect(await introspect(app.url, other.access_token)).toMatchObject({ active: true });
});

/** Copies an authorization, under ids of their own. */
async function multiply(id: string, count: number): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  const [columns] = (await execute(
    url,
    `SELECT column_name AS name FROM information_schema.columns WHERE table_schema = '${name}' AND table_name = 'oauth2_authorization' AND column_name <> 'id'`,
  )) as [{ name: string }[]];
  const names = columns.map((column) => column.name).join(", ");
  const select = (limit: number) =>
    `INSERT INTO oauth2_authorization (id, ${names}) SELECT UUID(), ${names} FROM oauth2_authorization WHERE id = '${id}' OR subject = (SELECT subject FROM (SELECT subject FROM oauth2_authorization WHERE id = '${id}') AS one) LIMIT ${limit}`;
  for (let made = 1; made < count; made *= 2) await execute(url, select(Math.min(made, count - made)));
}

function fieldsOf(html: string): Record<string, string> {
  return hiddenFields(html.split(`action="${path}"`)[1]?.split("</form>")[0] ?? "");
}
