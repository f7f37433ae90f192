import { randomBytes } from "node:crypto";
import { createRemoteJWKSet, type JWTVerifyResult, jwtVerify } from "jose";
import { type Account, hiddenFields, pkce, postForm, TestBrowser, type Tokens } from "./flow.ts";

/**
 * What a module of the OpenID Foundation's conformance suite does: a browser of its own, requests as the suite writes them (without
 * PKCE but in one module), and the checks it makes of every answer.
 */

export interface SuiteClient {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly method: "client_secret_basic" | "client_secret_post";
  readonly redirectUri: string;
}

export interface Provider {
  readonly url: string;
  readonly issuer: string;
}

/** What the browser saw and where it ended. */
export interface Visit {
  /** Paths of the pages with a form that were filled in: /login, /consent. */
  readonly forms: readonly string[];
  /** What reached the redirect URI. */
  readonly answer: Readonly<Record<string, string>> | null;
  /** How: in the query, or posted by a page. */
  readonly mode: "query" | "form_post" | null;
  /** The last page, where the browser did not get to the redirect URI. */
  readonly page: { readonly status: number; readonly html: string } | null;
  /** What was sent. */
  readonly request: Readonly<Record<string, string>>;
  /** Null: sent without PKCE. */
  readonly verifier: string | null;
}

export type IdToken = JWTVerifyResult["payload"] & Record<string, unknown>;

export class SuiteModule {
  readonly browser = new TestBrowser();
  readonly provider: Provider;
  readonly client: SuiteClient;
  readonly account: Account;
  constructor(provider: Provider, client: SuiteClient, account: Account) {
    this.provider = provider;
    this.client = client;
    this.account = account;
  }

  /** A module goes on with its second client in the same browser. */
  as(client: SuiteClient): SuiteModule {
    const other = new SuiteModule(this.provider, client, this.account);
    for (const [name, value] of this.browser.cookies) other.browser.cookies.set(name, value);
    return other;
  }

  /** An authorization request, followed to its end. A member that is undefined is not sent; order is kept. */
  async authorize(
    changes: Record<string, string | undefined> = {},
    method: "GET" | "POST" = "GET",
    order: (names: string[]) => string[] = (names) => names,
  ): Promise<Visit> {
    const whole: Record<string, string | undefined> = {
      client_id: this.client.clientId,
      redirect_uri: this.client.redirectUri,
      scope: "openid",
      state: randomBytes(8).toString("hex"),
      nonce: randomBytes(8).toString("hex"),
      response_type: "code",
      ...changes,
    };
    const names = order(Object.keys(whole).filter((name) => whole[name] !== undefined));
    const request = Object.fromEntries(names.map((name) => [name, whole[name] ?? ""]));
    const endpoint = `${this.provider.url}/oauth2/authorize`;
    const first =
      method === "GET"
        ? await this.browser.get(`${endpoint}?${new URLSearchParams(request)}`)
        : await this.browser.post(endpoint, request, { origin: "https://suite.example" });
    return { ...(await this.follow(first)), request, verifier: null };
  }

  async authorizeWithPkce(changes: Record<string, string | undefined> = {}): Promise<Visit> {
    const { verifier, challenge } = pkce();
    const visit = await this.authorize({ code_challenge: challenge, code_challenge_method: "S256", ...changes });
    return { ...visit, verifier };
  }

  /** From the authorization endpoint's answer on: signs in, allows what it is asked. */
  async follow(first: Response): Promise<Omit<Visit, "request" | "verifier">> {
    const forms: string[] = [];
    let response = first;
    for (let step = 0; step < 8; step++) {
      const location = response.headers.get("location");
      if (location !== null) {
        const url = new URL(location, this.provider.url);
        if (url.href.startsWith(this.client.redirectUri)) {
          return { forms, answer: Object.fromEntries(url.searchParams), mode: "query", page: null };
        }
        // the issuer may be at another address than the listener
        response = await this.browser.get(this.provider.url + url.pathname + url.search);
        continue;
      }
      const html = await response.text();
      const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1];
      if (action === this.client.redirectUri) {
        return { forms, answer: hiddenFields(html), mode: "form_post", page: null };
      }
      if (action !== "/login" && action !== "/consent") {
        return { forms, answer: null, mode: null, page: { status: response.status, html } };
      }
      forms.push(action);
      const { email, password } = this.account;
      const typed = action === "/login" ? { email, password } : { decision: "allow" };
      response = await this.browser.post(this.provider.url + action, { ...hiddenFields(html), ...typed });
    }
    throw new Error(`the browser is sent around: ${forms.join(" ")}`);
  }

  /** A successful answer at the redirect URI. @returns its code */
  codeOf(visit: Visit): string {
    const { answer, request } = visit;
    if (answer === null) throw new Error(`no answer came: ${visit.page?.status} ${visit.page?.html.slice(0, 500)}`);
    this.#checkAnswer(answer, request, ["code"]);
    const { code = "" } = answer;
    // EnsureMinimumAuthorizationCodeLength, RFC 6749 section 10.10
    if (code.length * 8 < 128) throw new Error("the code is too short");
    return code;
  }

  /** An error at the redirect URI, with what the suite checks of each. @returns `error` */
  errorOf({ answer, request, page }: Visit): string {
    if (answer === null) throw new Error(`no answer came: ${page?.status}`);
    this.#checkAnswer(answer, request, ["error", "error_description"]);
    if (/[^\x20\x21\x23-\x5b\x5d-\x7e]/.test(answer["error_description"] ?? "")) {
      throw new Error("error_description has characters that RFC 6749 section 4.1.2.1 does not allow");
    }
    return answer["error"] ?? "";
  }

  #checkAnswer(answer: Readonly<Record<string, string>>, request: Readonly<Record<string, string>>, own: string[]) {
    const allowed = [...own, "state", "iss"];
    const unknown = Object.keys(answer).filter((name) => !allowed.includes(name));
    if (unknown.length > 0) throw new Error(`unexpected in the answer: ${unknown.join(" ")} ${JSON.stringify(answer)}`);
    if (answer["state"] !== request["state"]) throw new Error("state did not come back as it was");
    if (answer["iss"] !== this.provider.issuer) throw new Error(`iss is ${answer["iss"]}`);
  }

  /** A token request with the client's authentication. */
  token(form: Record<string, string>, client: SuiteClient = this.client): Promise<Response> {
    const { clientId, clientSecret, method } = client;
    const basic = Buffer.from(`${clientId}:${clientSecret}`).toString("base64");
    return method === "client_secret_basic"
      ? postForm(`${this.provider.url}/oauth2/token`, form, { authorization: `Basic ${basic}` })
      : postForm(`${this.provider.url}/oauth2/token`, { ...form, client_id: clientId, client_secret: clientSecret });
  }

  redemption(visit: Visit): Record<string, string> {
    const { redirectUri } = this.client;
    const code = this.codeOf(visit);
    const form = { grant_type: "authorization_code", code, redirect_uri: redirectUri };
    return visit.verifier === null ? form : { ...form, code_verifier: visit.verifier };
  }

  /** Code for tokens; the ID token is checked as a client must (OpenID Connect Core section 3.1.3.7). */
  async redeem(visit: Visit): Promise<Tokens & { claims: IdToken; header: JWTVerifyResult["protectedHeader"] }> {
    const response = await this.token(this.redemption(visit));
    if (response.status !== 200) throw new Error(`token answered ${response.status} ${await response.text()}`);
    const tokens = (await response.json()) as Tokens;
    const { claims, header } = await this.readIdToken(tokens.id_token);
    if (claims["nonce"] !== visit.request["nonce"]) throw new Error("nonce is not the request's");
    return { ...tokens, claims, header };
  }

  async readIdToken(jwt: string): Promise<{ claims: IdToken; header: JWTVerifyResult["protectedHeader"] }> {
    const keys = createRemoteJWKSet(new URL(`${this.provider.url}/oauth2/jwks`));
    const { payload, protectedHeader } = await jwtVerify(jwt, keys, {
      issuer: this.provider.issuer,
      audience: this.client.clientId,
      requiredClaims: ["sub", "iat", "exp"],
    });
    return { claims: payload, header: protectedHeader };
  }

  /** A whole authorization, as most modules begin. */
  async signIn(changes: Record<string, string | undefined> = {}) {
    const visit = await this.authorize(changes);
    return { visit, ...(await this.redeem(visit)) };
  }

  /** Of a client that registered itself: no operator let it go without. */
  async signInWithPkce() {
    return this.redeem(await this.authorizeWithPkce());
  }

  userinfo(token: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.provider.url}/userinfo`, { headers: { authorization: `Bearer ${token}` }, ...init });
  }
}
