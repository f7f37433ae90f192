import {
  type Account,
  authorizeUrl,
  claimsOf,
  hiddenFields,
  internalBasic,
  pkce,
  portal,
  postForm,
  postJson,
  TestBrowser,
  type Tokens,
  uniqueEmail,
} from "../../support/flow.ts";
import type { Call, Ledger, Operation } from "./ledger.ts";

/** An application that a user signed in to, as its client knows it. */
export interface Session {
  /** Authorization id. */
  readonly sid: string;
  readonly account: Account;
  readonly clientId: string;
  tokens: Tokens;
  accessExpiresAt: number;
  /** `asked`: a sign-out may have happened. */
  ended: "no" | "asked" | "yes";
  busy: boolean;
  /** Refused although nobody signed it out. */
  lost: boolean;
}

export const APPLICATIONS = {
  "portal-client": { redirectUri: portal.redirectUri, scope: "openid profile read write" },
  rotating: { redirectUri: "http://localhost:4100/callback", scope: "openid profile" },
} as const;
export type ClientId = keyof typeof APPLICATIONS;
/** An application with a secret, which a row registers for itself: the load does not use it. */
export const SITE = { redirectUri: "http://localhost:4200/callback", scope: "openid profile" };
const applications = { ...APPLICATIONS, site: SITE };
type AnyClientId = keyof typeof applications;

/** A code that its client has not redeemed yet. */
export interface Code {
  readonly account: Account;
  readonly clientId: AnyClientId;
  readonly code: string;
  readonly verifier: string;
}

const password = "correct horse battery";

/** What the answer of a call is taken for. */
interface Answer {
  readonly status: number;
  readonly retryAfter: boolean;
  readonly body: string;
  readonly location: string | null;
}

/** Calls of honest clients, each with its entries in the ledger. */
export class Client {
  readonly ledger: Ledger;
  /** Milliseconds after which a client takes a call for lost. */
  readonly patience: number;

  constructor(ledger: Ledger, patience = 10_000) {
    this.ledger = ledger;
    this.patience = patience;
  }

  /** @returns null unless the account was made for sure */
  async signUp(base: string, email = uniqueEmail()): Promise<Account | null> {
    const account = { email, password, nickname: "honest" };
    const { call, answer } = await this.#call("sign-up", { email }, () =>
      postJson(`${base}/api/users/signup`, account),
    );
    if (answer === null) return null;
    if (answer.status === 201) {
      const { data } = JSON.parse(answer.body) as { data: { uuid: string } };
      this.ledger.end(call, "ok", "", { uuid: data.uuid });
      return account;
    }
    this.#notOk(call, answer, [409, 429]);
    return null;
  }

  /** Authorization, password and redemption. @returns null unless the client has its tokens */
  async signIn(base: string, account: Account, clientId: ClientId): Promise<Session | null> {
    const code = await this.authorize(base, account, clientId);
    return code === null ? null : await this.redeem(base, code);
  }

  /** Authorization and password. */
  async authorize(base: string, account: Account, clientId: AnyClientId): Promise<Code | null> {
    const { redirectUri, scope } = applications[clientId];
    const { verifier, challenge } = pkce();
    const browser = new TestBrowser({ "user-agent": "fault harness" });
    let page = "";
    const opened = await this.#call("login", { email: account.email, step: "authorize" }, async () => {
      const url = authorizeUrl(base, { clientId, redirectUri, scope, challenge });
      const redirect = await browser.get(url);
      const location = redirect.headers.get("location");
      if (location === null || new URL(location, base).pathname !== "/login") return redirect;
      const response = await browser.get(new URL(location, base).href);
      page = await response.clone().text();
      return response;
    });
    if (opened.answer === null) return null;
    if (opened.answer.status !== 200) return this.#notOk(opened.call, opened.answer, [429]);
    this.ledger.end(opened.call, "ok");

    const form = { ...hiddenFields(page), email: account.email, password: account.password };
    const posted = await this.#call("login", { email: account.email, step: "password" }, () =>
      browser.post(`${base}/login`, form),
    );
    if (posted.answer === null) return null;
    const code = new URL(posted.answer.location ?? "none:", base).searchParams.get("code");
    if (code === null) return this.#notOk(posted.call, posted.answer, [429]);
    this.ledger.end(posted.call, "ok");
    return { account, clientId, code, verifier };
  }

  /** @param secret of the client, if it has one */
  async redeem(base: string, { account, clientId, code, verifier }: Code, secret?: string): Promise<Session | null> {
    const authentication = secret === undefined ? {} : { client_secret: secret };
    const form = { grant_type: "authorization_code", code, code_verifier: verifier, ...authentication };
    const { redirectUri } = applications[clientId];
    const ids = { code, email: account.email };
    // a client whose answer was lost tries once more, and then signs in again
    for (const mayBeUsed of [false, true]) {
      const { call, answer } = await this.#call("redeem", ids, () =>
        postForm(`${base}/oauth2/token`, { ...form, client_id: clientId, redirect_uri: redirectUri }),
      );
      if (answer === null) continue;
      if (answer.status !== 200) {
        this.#notOk(call, answer, mayBeUsed ? [400] : []);
        if (answer.status < 500) return null;
        continue;
      }
      const tokens = JSON.parse(answer.body) as Tokens;
      const sid = String(claimsOf(tokens.refresh_token)["sid"]);
      this.ledger.end(call, "ok", "", { sid });
      const accessExpiresAt = performance.now() + tokens.expires_in * 1_000;
      return { sid, account, clientId, tokens, accessExpiresAt, ended: "no", busy: false, lost: false };
    }
    return null;
  }

  /** @returns whether the client has new tokens */
  async refresh(base: string, session: Session): Promise<boolean> {
    const { sid, clientId, ended } = session;
    const form = { grant_type: "refresh_token", refresh_token: session.tokens.refresh_token, client_id: clientId };
    const { call, answer } = await this.#call("refresh", { sid }, () => postForm(`${base}/oauth2/token`, form));
    if (answer === null) return false;
    if (answer.status === 200) {
      if (ended === "yes") {
        this.ledger.end(call, "wrong", "a session that was signed out got tokens");
        return false;
      }
      session.tokens = JSON.parse(answer.body) as Tokens;
      session.accessExpiresAt = performance.now() + session.tokens.expires_in * 1_000;
      this.ledger.end(call, "ok", "", { generation: String(claimsOf(session.tokens.refresh_token)["gen"]) });
      return true;
    }
    if (ended === "no" && answer.status < 500 && answer.status !== 429) session.lost = true;
    this.#notOk(call, answer, ended === "no" ? [429] : [400, 401, 429]);
    return false;
  }

  /** @param authorization of the service that asks */
  async introspect(base: string, session: Session, authorization = internalBasic): Promise<boolean> {
    const { sid, tokens, ended } = session;
    const { call, answer } = await this.#call("introspect", { sid }, () =>
      postForm(`${base}/oauth2/introspect`, { token: tokens.access_token }, { authorization }),
    );
    if (answer === null) return false;
    if (answer.status !== 200) return this.#notOk(call, answer, []) ?? false;
    const { active } = JSON.parse(answer.body) as { active: boolean };
    const late = performance.now() > session.accessExpiresAt - 3_000;
    if (!active && ended === "no" && session.ended === "no" && !late) {
      this.ledger.end(call, "wrong", "active:false for a good token");
      return false;
    }
    if (active && ended === "yes") {
      this.ledger.end(call, "wrong", "active:true for a session that was signed out");
      return false;
    }
    this.ledger.end(call, "ok");
    return true;
  }

  async signOut(base: string, session: Session): Promise<boolean> {
    const { sid, clientId, tokens } = session;
    session.ended = "asked";
    const { call, answer } = await this.#call("sign-out", { sid }, () =>
      postForm(`${base}/oauth2/revoke`, { token: tokens.refresh_token, client_id: clientId }),
    );
    if (answer === null) return false;
    if (answer.status !== 200) return this.#notOk(call, answer, []) ?? false;
    session.ended = "yes";
    this.ledger.end(call, "ok");
    return true;
  }

  async #call(
    operation: Operation,
    ids: Record<string, string>,
    send: () => Promise<Response>,
  ): Promise<{ call: Call; answer: Answer | null }> {
    const call = this.ledger.invoke(operation, ids);
    try {
      const answer = await withinPatience(this.patience, async () => {
        const response = await send();
        const retryAfter = response.headers.has("retry-after");
        const location = response.headers.get("location");
        return { status: response.status, retryAfter, location, body: await response.text() };
      });
      return { call, answer };
    } catch (error) {
      const { message, cause } = error as Error & { cause?: Error };
      this.ledger.end(call, "unknown", cause?.message ?? message);
      return { call, answer: null };
    }
  }

  /** @param allowed statuses that refuse what this call asked for, and rightly */
  #notOk(call: Call, { status, retryAfter, body, location }: Answer, allowed: readonly number[]): null {
    const detail = `${status} ${location ?? ""} ${body.slice(0, 200)}`;
    // told by way of the redirect URI (RFC 6749 section 4.1.2.1)
    if (location?.includes("error=temporarily_unavailable")) this.ledger.end(call, "unknown", detail);
    else if (status >= 500) this.ledger.end(call, status === 503 && retryAfter ? "unknown" : "wrong", detail);
    else this.ledger.end(call, allowed.includes(status) ? "refused" : "wrong", detail);
    return null;
  }
}

async function withinPatience<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  try {
    return await Promise.race([work(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
