import { createHash, randomBytes } from "node:crypto";

/** What a portal, a browser without script and an internal service do, over HTTP. */

export interface Tokens {
  access_token: string;
  refresh_token: string;
  id_token: string;
  expires_in: number;
  token_type: string;
  scope: string;
}

export const portal = { clientId: "portal-client", redirectUri: "http://localhost:3000/callback" };
export const internalBasic = `Basic ${Buffer.from("internal-service:internal-service-secret").toString("base64")}`;

export function pkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(32).toString("base64url");
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

export function uniqueEmail(): string {
  return `user-${randomBytes(6).toString("hex")}@example.test`;
}

export interface Account {
  email: string;
  password: string;
  nickname: string;
}

export function postJson(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** Seconds after which a service that is busy wants to be asked again; null: it has answered. */
function hintOf({ status, headers }: Response): number | null {
  if (status === 503 && headers.has("retry-after")) return Number(headers.get("retry-after"));
  // told by way of the redirect URI (RFC 6749 section 4.1.2.1)
  return headers.get("location")?.includes("error=temporarily_unavailable") === true ? 1 : null;
}

/** As a client of a busy service: a 503 with `Retry-After` is tried again, and is no answer (C-21). */
export async function patiently(call: () => Promise<Response>): Promise<Response> {
  for (let tries = 0; ; tries++) {
    const response = await call();
    const hint = hintOf(response);
    if (hint === null || tries > 60) return response;
    await response.arrayBuffer();
    await new Promise((resolve) => setTimeout(resolve, hint * 1_000 * (0.5 + Math.random())));
  }
}

/**
 * `patiently`, and how often the service was too busy to answer: it may have done its work before that, and then no call of many that
 * race hears that it won.
 */
export class PatientCalls {
  busy = 0;

  ask(call: () => Promise<Response>): Promise<Response> {
    return patiently(async () => {
      const response = await call();
      if (hintOf(response) !== null) this.busy++;
      return response;
    });
  }
}

export function postForm(
  url: string,
  form: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(url, { method: "POST", headers, body: new URLSearchParams(form), redirect: "manual" });
}

/** A new account. */
export async function signUp(
  base: string,
  account: Partial<Account> = {},
  headers: Record<string, string> = {},
): Promise<Account & { uuid: string }> {
  const whole = { email: uniqueEmail(), password: "correct horse battery", nickname: "nick", ...account };
  const response = await patiently(() => postJson(`${base}/api/users/signup`, whole, headers));
  if (response.status !== 201) throw new Error(`sign-up answered ${response.status} ${await response.text()}`);
  const { data } = (await response.json()) as { data: { uuid: string } };
  return { ...whole, uuid: data.uuid };
}

/** A browser without script: keeps cookies, does not follow redirects by itself. */
export class TestBrowser {
  readonly cookies = new Map<string, string>();
  readonly headers: Record<string, string>;
  constructor(headers: Record<string, string> = {}) {
    this.headers = headers;
  }

  async request(url: string, init: RequestInit = {}): Promise<Response> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, {
      redirect: "manual",
      ...init,
      headers: { ...this.headers, ...(cookie === "" ? {} : { cookie }), ...(init.headers as Record<string, string>) },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (/expires=Thu, 01 Jan 1970|max-age=0/i.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  get(url: string): Promise<Response> {
    return this.request(url);
  }

  post(url: string, form: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> {
    return this.request(url, { method: "POST", body: new URLSearchParams(form), headers });
  }

  /** Opens a page, fills its form and sends it. */
  async submit(url: string, fields: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> {
    const page = await patiently(() => this.get(url));
    const html = await page.text();
    const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1];
    if (action === undefined) throw new Error(`no form at ${url} (${page.status}): ${html.slice(0, 500)}`);
    return this.post(new URL(action, url).href, { ...hiddenFields(html), ...fields }, headers);
  }
}

export function hiddenFields(html: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [, name = "", value = ""] of html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)) {
    fields[name] = unescapeHtml(value);
  }
  return fields;
}

export function unescapeHtml(text: string): string {
  const characters: Record<string, string> = { lt: "<", gt: ">", quot: '"', "#39": "'", amp: "&" };
  return text.replaceAll(/&(lt|gt|quot|#39|amp);/g, (_, name: string) => characters[name] ?? "");
}

export interface AuthorizeOptions {
  clientId?: string;
  redirectUri?: string;
  scope?: string;
  state?: string;
  challenge?: string;
  extra?: Record<string, string>;
}

export function authorizeUrl(base: string, options: AuthorizeOptions = {}): string {
  const query = new URLSearchParams({
    response_type: "code",
    client_id: options.clientId ?? portal.clientId,
    redirect_uri: options.redirectUri ?? portal.redirectUri,
    scope: options.scope ?? "openid profile read write",
    state: options.state ?? "a-state",
    code_challenge: options.challenge ?? pkce().challenge,
    code_challenge_method: "S256",
    ...options.extra,
  });
  return `${base}/oauth2/authorize?${query}`;
}

/** Flow 1 up to the code. Each step may go to another replica: `bases` are taken in turn. */
export async function getCode(
  bases: string | readonly string[],
  account: Account,
  options: AuthorizeOptions & { browser?: TestBrowser; verifier?: string } = {},
): Promise<{ code: string; verifier: string; browser: TestBrowser; location: URL }> {
  const turn = takeTurns(bases);
  const pair = pkce();
  const browser = options.browser ?? new TestBrowser({ "user-agent": "test browser" });
  let response = await patiently(() => browser.get(authorizeUrl(turn(), { challenge: pair.challenge, ...options })));
  const step = response.headers.get("location") ?? "";
  if (step.startsWith("/login") || new URL(step, "http://x").pathname === "/login") {
    const page = await patiently(() => browser.get(new URL(step, turn()).href));
    const fields = { ...hiddenFields(await page.text()), email: account.email, password: account.password };
    response = await patiently(() => browser.post(`${turn()}/login`, fields));
  }
  const location = response.headers.get("location");
  if (location === null) throw new Error(`no redirect: ${response.status} ${(await response.text()).slice(0, 500)}`);
  const url = new URL(location, turn());
  return { code: url.searchParams.get("code") ?? "", verifier: pair.verifier, browser, location: url };
}

export async function redeem(
  base: string,
  code: string,
  verifier: string,
  extra: Record<string, string> = {},
): Promise<Response> {
  return postForm(`${base}/oauth2/token`, {
    grant_type: "authorization_code",
    code,
    redirect_uri: portal.redirectUri,
    client_id: portal.clientId,
    code_verifier: verifier,
    ...extra,
  });
}

/** Flow 1 whole. */
export async function getTokens(
  bases: string | readonly string[],
  account: Account,
  options: AuthorizeOptions & { browser?: TestBrowser; tokenParameters?: Record<string, string> } = {},
): Promise<Tokens & { browser: TestBrowser }> {
  const turn = takeTurns(bases);
  const { code, verifier, browser } = await getCode(bases, account, options);
  const parameters = {
    ...(options.clientId === undefined ? {} : { client_id: options.clientId }),
    ...(options.redirectUri === undefined ? {} : { redirect_uri: options.redirectUri }),
    ...options.tokenParameters,
  };
  const response = await patiently(() => redeem(turn(), code, verifier, parameters));
  if (response.status !== 200) throw new Error(`token answered ${response.status} ${await response.text()}`);
  return { ...((await response.json()) as Tokens), browser };
}

export function refresh(base: string, refreshToken: string, extra: Record<string, string> = {}): Promise<Response> {
  return postForm(`${base}/oauth2/token`, {
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: portal.clientId,
    ...extra,
  });
}

export async function introspect(base: string, token: string, basic = internalBasic): Promise<Record<string, unknown>> {
  const asking = () => postForm(`${base}/oauth2/introspect`, { token }, { authorization: basic });
  const response = await patiently(asking);
  if (response.status !== 200) throw new Error(`introspection answered ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

/** What every replica says within REVOCATION_MAX_STALENESS of a revocation (1 s unless set). */
export async function introspectSettled(base: string, token: string): Promise<Record<string, unknown>> {
  let answer: Record<string, unknown> = {};
  await acceptedUntil(async () => {
    answer = await introspect(base, token);
    return answer["active"] !== false;
  }, 1_000);
  return answer;
}

/**
 * Asks until it is refused, or was asked later than `boundMs` from now and is good still. What counts is when a question was asked:
 * on a machine that is busy the answer may take long.
 * @returns milliseconds until the last question that was answered with "good" was asked, 0 where there was none
 */
export async function acceptedUntil(isGood: () => boolean | Promise<boolean>, boundMs: number): Promise<number> {
  const from = performance.now();
  for (let last = 0; ; ) {
    const asked = performance.now() - from;
    if (!(await isGood())) return last;
    last = asked;
    if (asked > boundMs) return last;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function claimsOf(jwt: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;
}

function takeTurns(bases: string | readonly string[]): () => string {
  const all = typeof bases === "string" ? [bases] : bases;
  let next = 0;
  return () => all[next++ % all.length] ?? "";
}
