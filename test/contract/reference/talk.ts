import { pkce, postForm, TestBrowser, type Tokens } from "../../support/flow.ts";
import { withAssertion } from "../../support/keys.ts";
import { type Answer, type Arrival, answerOf, walk } from "./answers.ts";
import { redirectUri, secretOf } from "./clients.ts";
import type { Server } from "./servers.ts";

/** One that says that it wants pages. */
export const freshBrowser = () => new TestBrowser({ accept: "text/html" });

export type Form = Record<string, string | undefined>;

/** What the cases say to either server. */
export class Talk {
  readonly server: Server;
  constructor(server: Server) {
    this.server = server;
  }

  endpoint(name: string): string {
    const url = this.server.metadata[`${name}_endpoint`];
    if (url === undefined) throw new Error(`no ${name}_endpoint`);
    return url;
  }

  /** A good authorization request, with changes; undefined takes a member out. */
  request(changes: Form = {}): { form: Record<string, string>; verifier: string } {
    const { verifier, challenge } = pkce();
    const whole: Form = {
      response_type: "code",
      client_id: "basic",
      redirect_uri: redirectUri,
      scope: "openid profile",
      state: "a state",
      code_challenge: challenge,
      code_challenge_method: "S256",
      ...changes,
    };
    const given = Object.entries(whole).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return { form: Object.fromEntries(given), verifier };
  }

  async authorize(changes: Form = {}, browser = freshBrowser(), more = ""): Promise<Answer> {
    const { form } = this.request(changes);
    const first = await browser.get(`${this.endpoint("authorization")}?${new URLSearchParams(form)}${more}`);
    return (await walk(this.server, first, browser))[0];
  }

  /** A code, and what redeems it. */
  async code(
    changes: Form = {},
    browser = freshBrowser(),
  ): Promise<{ form: Record<string, string>; arrival: Arrival }> {
    const { form, verifier } = this.request(changes);
    const first = await browser.get(`${this.endpoint("authorization")}?${new URLSearchParams(form)}`);
    const [answer, arrival] = await walk(this.server, first, browser);
    const code = arrival.at?.["code"];
    if (code === undefined) throw new Error(`no code: ${JSON.stringify(answer)} ${JSON.stringify(arrival)}`);
    const redemption = { grant_type: "authorization_code", code, redirect_uri: redirectUri, code_verifier: verifier };
    return { form: redemption, arrival };
  }

  basic(clientId = "basic", secret = secretOf(clientId)): Record<string, string> {
    const encode = (text: string) => encodeURIComponent(text).replaceAll("%20", "+");
    const pair = Buffer.from(`${encode(clientId)}:${encode(secret)}`).toString("base64");
    return { authorization: `Basic ${pair}` };
  }

  async token(form: Form, headers: Record<string, string> = this.basic()): Promise<Answer> {
    return answerOf(await this.post("token", form, headers));
  }

  post(endpoint: string, form: Form, headers: Record<string, string> = {}): Promise<Response> {
    const given = Object.entries(form).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return postForm(this.endpoint(endpoint), Object.fromEntries(given), headers);
  }

  async send(endpoint: string, init: RequestInit & { query?: string } = {}): Promise<Answer> {
    const { query = "", ...rest } = init;
    return answerOf(await fetch(`${this.endpoint(endpoint)}${query}`, { redirect: "manual", ...rest }));
  }

  /** Tokens of a user. */
  async tokens(changes: Form = {}, browser = freshBrowser()): Promise<Tokens> {
    const { form } = await this.code(changes, browser);
    const response = await this.post("token", form, this.basic());
    if (response.status !== 200) throw new Error(`token answered ${response.status} ${await response.text()}`);
    return (await response.json()) as Tokens;
  }

  /** A token of the client `service`. */
  async serviceToken(): Promise<string> {
    const response = await this.post("token", { grant_type: "client_credentials" }, this.basic("service"));
    return ((await response.json()) as Tokens).access_token;
  }

  async assertion(): Promise<Record<string, string>> {
    const { server } = this;
    return { client_id: "keyed", ...(await withAssertion(server.key, "keyed", server.issuer)) };
  }
}

export interface Case {
  readonly name: string;
  readonly send: (talk: Talk) => Promise<Answer>;
}
