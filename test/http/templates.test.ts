import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "@jest/globals";
import { ConfigError, readConfig } from "../../src/config/config.ts";
import { startApp } from "../support/app.ts";
import { signUp, TestBrowser } from "../support/flow.ts";

function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "templates-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

function problemsOf(folder: string): string[] {
  try {
    // with a key: none is made on this machine
    readConfig({ TEMPLATES_DIR: folder, KEY_ENCRYPTION_KEY: Buffer.alloc(32, 3).toString("base64") });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problem.split(". Example")[0] ?? "");
  }
}

describe("TEMPLATES_DIR", () => {
  it("takes the place of templates of the same name, also where others include them; texts and forms stay", async () => {
    const folder = folderOf({
      "home.eta":
        '<% layout("./layout", { ...it, title: "Welcome" }) %>\n<p id="own"><%= it.t.signIn %> <%= "<b>" %></p>\n',
      "cancel.eta": "<p>never shown here</p>\n",
      "hidden.eta":
        '<% for (const [name, value] of Object.entries(it.fields)) { %><input type="hidden" name="<%= name %>" value="<%= value %>">\n<% } %><i>included</i>',
      "README.md": "Files of other kinds are left out.",
    });
    const app = await startApp({ TEMPLATES_DIR: folder });
    try {
      const home = await fetch(app.url, { headers: { "accept-language": "ko" } });
      expect(await home.text()).toMatch(/<h1>Welcome<\/h1>[\s\S]*<p id="own">로그인 &lt;b&gt;<\/p>/);
      expect(home.headers.get("content-security-policy")).toContain("default-src 'none'");
      const login = await (await fetch(`${app.url}/login`)).text();
      expect(login).toContain("<i>included</i>");
      // the form works: what it needs comes from the service
      const { email, password } = await signUp(app.url);
      const answer = await new TestBrowser().submit(`${app.url}/login`, { email, password });
      expect([answer.status, answer.headers.get("location")]).toEqual([303, "/"]);
    } finally {
      await app.close();
    }
  });

  it("that fails when a page is made takes no page away, and the log names it", async () => {
    const app = await startApp({ TEMPLATES_DIR: folderOf({ "home.eta": "<%= it.nothing.at.all %>" }) });
    try {
      const home = await fetch(app.url);
      expect([home.status, await home.text()]).toEqual([
        200,
        expect.stringContaining('<a class="button" href="/login">'),
      ]);
      expect(app.logs.some((line) => line.includes("TEMPLATES_DIR failed") && line.includes('"home"'))).toBe(true);
    } finally {
      await app.close();
    }
  });

  it("stops the start where a file has another name, does not compile or includes what is not there", () => {
    expect(problemsOf(folderOf({ "login.eta": "<p><%= it.t.signIn %></p>" }))).toEqual([]);
    expect(problemsOf(join(tmpdir(), "no-such-folder"))).toEqual([
      expect.stringMatching(/^TEMPLATES_DIR: cannot read .*no-such-folder \(ENOENT\)$/),
    ]);
    expect(
      problemsOf(
        folderOf({
          "Login.eta": "<p>",
          "consent.eta": "<% if ( %>",
          "error.eta": "<%= it.code",
          "signup.eta": '<%~ include("./feild", {}) %>',
        }),
      ).sort(),
    ).toEqual([
      expect.stringMatching(/^TEMPLATES_DIR: Login\.eta is no template of this service, which has account, .*login, /),
      expect.stringMatching(/^TEMPLATES_DIR: consent\.eta does not compile \(.+\)$/),
      expect.stringMatching(/^TEMPLATES_DIR: error\.eta does not compile \(unclosed tag at line 1 col \d+:?\)$/),
      "TEMPLATES_DIR: signup.eta includes feild, which is no template of this service",
    ]);
  });
});
