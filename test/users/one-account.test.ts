import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { normaliseEmail, readableEmail } from "../../src/users/input.ts";
import { Program } from "../commands/program.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, authorizeUrl, hiddenFields, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { resetTokenFor } from "../support/resets.ts";

const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid" };

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [{ client_id: "album", redirect_uris: [album.redirectUri], scope: "openid" }]);
});
afterAll(() => app.close());

const users = () => createClient(UserService, internalTransport(app.grpc));

/** One address in the spellings that people, phones and browsers send; the first as it is stored. */
function spellingsOf(name: string): [string, ...string[]] {
  return [
    `${name}@xn--bcher-kva.example`,
    `${name}@bücher.example`,
    `${name}@bu\u0308cher.example`,
    `${name.toUpperCase()}@BÜCHER.EXAMPLE`,
    `${name}@XN--BCHER-KVA.example`,
    `${name}\uff20bücher.example`,
    `${name}@bücher\u3002example`,
    `${name}@bücher\uff0eexample`,
    ` ${name}@b\u00adücher.example`,
    `${[...name].map((c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0)).join("")}@bücher.example`,
  ];
}

describe("an address with an internationalised domain", () => {
  it("C-39 is one account by API, page and RPC, however it is spelt", async () => {
    for (const [index] of spellingsOf("info").entries()) {
      const spellings = spellingsOf(`info${String.fromCharCode(97 + index)}`);
      const account = await signUp(app.url, { email: spellings[index] ?? "" });
      for (const email of spellings) {
        const again = { email, password: account.password, nickname: "n" };
        expect([email, (await postJson(`${app.url}/api/users/signup`, again)).status]).toEqual([email, 409]);
        const known = { uuid: account.uuid, email: spellings[0] };
        expect((await users().getUserByEmail({ email })).user).toMatchObject(known);
        await expect(users().signUp(again)).rejects.toThrow("already");
      }
      const email = spellings[(index + 3) % spellings.length] ?? "";
      const answer = await new TestBrowser().submit(`${app.url}/login`, { email, password: account.password });
      expect([email, answer.status]).toEqual([email, 303]);
    }
  });

  it("C-39 is one account on the sign-up page and by a reset, and people read it in Unicode", async () => {
    const [stored, typed] = spellingsOf("press");
    const browser = new TestBrowser();
    const step = await browser.get(authorizeUrl(app.url, album));
    const login = new URL(step.headers.get("location") ?? "", app.url);
    const account: Account = { email: typed ?? "", password: "correct horse battery", nickname: "Press" };
    const signUpUrl = `${app.url}/signup?request=${login.searchParams.get("request")}`;
    const consent = await browser.submit(signUpUrl, { ...account });
    const page = await (await browser.get(new URL(consent.headers.get("location") ?? "", app.url).href)).text();
    expect(page).toContain(`<dd>${typed}</dd>`);
    expect(await (await browser.get(`${app.url}/`)).text()).toContain(`<strong>${typed}</strong>`);

    const other = spellingsOf("press")[3] ?? "";
    const sent = await new TestBrowser().submit(`${app.url}/password-reset`, { email: other });
    expect(await sent.text()).toContain(`<strong>${typed}</strong>`);
    // mails go to the ASCII form, which every program understands
    const token = await resetTokenFor(app, stored);
    const form = await (await fetch(`${app.url}/password-reset?token=${token}`)).text();
    expect(/<input id="username"[^>]*>/.exec(form)?.[0]).toContain(`value="${stored}"`);
    expect(hiddenFields(form)["token"]).toBe(token);
  });

  it("C-39 is one account on the command line", async () => {
    const program = await Program.migrated();
    const [stored, typed, ...others] = spellingsOf("office");
    const add = (email: string) =>
      program.run(["user", "add", email, "--nickname", "Office", "--json"], { input: "correct horse battery" });
    const added = await add(typed ?? "");
    const { user } = added.json<{ user: { uuid: string; email: string } }>();
    expect(user.email).toBe(stored);
    expect((await add(stored)).status).not.toBe(0);
    const shown = await program.run(["user", "show", others[1] ?? "", "--json"]);
    expect(shown.json<{ user: { uuid: string } }>().user.uuid).toBe(user.uuid);
  });

  it("C-39 takes addresses as they are where there is nothing to convert, and refuses what is none", async () => {
    for (const [given, stored] of [
      ["a@1", "a@1"],
      ["a@0x7f.1", "a@0x7f.1"],
      ["a@b.example.", "a@b.example."],
      ["a@bücher.example/x", "a@bücher.example/x"],
      ["no address", "no address"],
      ["@", "@"],
      [`a@${"ü".repeat(300)}.example`, `a@${"ü".repeat(300)}.example`],
    ] as const) {
      expect([given, normaliseEmail(given)]).toEqual([given, stored]);
      expect(normaliseEmail(normaliseEmail(given))).toBe(normaliseEmail(given));
    }
    for (const email of ["a@bücher.example.", "a@bü cher.example", "ü@bücher.example", "a@bücher..example"]) {
      const body = { email, password: "correct horse battery", nickname: "n" };
      expect([email, (await postJson(`${app.url}/api/users/signup`, body)).status]).toEqual([email, 400]);
    }
    expect(readableEmail("a@xn--bcher-kva.example")).toBe("a@bücher.example");
    expect(readableEmail("a@xn--\u00fc.example")).toContain("a@");
    expect(readableEmail("nobody")).toBe("nobody");
  });
});
