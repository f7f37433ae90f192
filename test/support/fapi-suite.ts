import { pkce, postForm, type Tokens } from "./flow.ts";
import { assertionOf, assertionType, makeKey, proofOf, type TestKey } from "./keys.ts";
import { type Provider, SuiteModule } from "./suite.ts";

/**
 * What a module of the FAPI 2.0 plan does with private_key_jwt and DPoP: pushes, opens, redeems, calls the resource. Asked for a
 * nonce it comes again, as the suite does.
 */

export interface FapiClient {
  readonly clientId: string;
  readonly key: TestKey;
  readonly redirectUri: string;
}

/** Undefined is as it should be, null leaves it out. */
export interface Changes {
  readonly key?: TestKey;
  readonly claims?: Record<string, unknown>;
  readonly assertion?: null;
  readonly proof?: TestKey | null;
  readonly proofClaims?: Record<string, unknown>;
}

export interface Reply {
  readonly status: number;
  readonly json: boolean;
  readonly body: Partial<Tokens> & { error?: string; request_uri?: string; expires_in?: number };
}

export class FapiModule {
  readonly provider: Provider;
  readonly client: FapiClient;
  readonly front: SuiteModule;
  dpop: TestKey;
  private constructor(provider: Provider, client: FapiClient, front: SuiteModule, dpop: TestKey) {
    this.provider = provider;
    this.client = client;
    this.front = front;
    this.dpop = dpop;
  }

  static async start(
    provider: Provider,
    client: FapiClient,
    account: { email: string; password: string; nickname: string },
  ): Promise<FapiModule> {
    const { clientId, redirectUri } = client;
    const front = new SuiteModule(
      provider,
      { clientId, clientSecret: "", method: "client_secret_post", redirectUri },
      account,
    );
    return new FapiModule(provider, client, front, await makeKey());
  }

  /** A form to an endpoint below /oauth2, with assertion and proof. */
  async send(path: "par" | "token", form: Record<string, string>, changes: Changes = {}): Promise<Reply> {
    const url = `${this.provider.url}/oauth2/${path}`;
    const htu = `${this.provider.issuer}/oauth2/${path}`;
    const once = async (nonce?: string) => {
      const { key = this.client.key, claims = {}, proof = this.dpop, proofClaims = {} } = changes;
      const assertion = await assertionOf(key, this.client.clientId, this.provider.issuer, claims);
      const authentication =
        changes.assertion === null ? {} : { client_assertion_type: assertionType, client_assertion: assertion };
      const more = { claims: proofClaims, ...(nonce === undefined ? {} : { nonce }) };
      const headers = proof === null ? {} : { dpop: await proofOf(proof, "POST", htu, more) };
      return postForm(url, { ...authentication, ...form }, headers as Record<string, string>);
    };
    return readReply(await twice(once));
  }

  request(changes: Record<string, string | undefined> = {}) {
    const { verifier, challenge } = pkce();
    const whole: Record<string, string | undefined> = {
      response_type: "code",
      redirect_uri: this.client.redirectUri,
      scope: "openid profile",
      state: "a-state",
      nonce: "a-nonce",
      code_challenge: challenge,
      code_challenge_method: "S256",
      ...changes,
    };
    const given = Object.entries(whole).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return { form: Object.fromEntries(given), verifier };
  }

  async push(changes: Record<string, string | undefined> = {}, how: Changes = {}) {
    const { form, verifier } = this.request(changes);
    return { ...(await this.send("par", form, how)), verifier };
  }

  /** The browser at the authorization endpoint with nothing but client_id and request_uri. */
  open(requestUri: string, clientId = this.client.clientId): Promise<Response> {
    const query = new URLSearchParams({ client_id: clientId, request_uri: requestUri });
    return this.front.browser.get(`${this.provider.url}/oauth2/authorize?${query}`);
  }

  /** Up to the answer at the redirect URI, and what redeems its code. */
  async authorize(changes: Record<string, string | undefined> = {}, how: Changes = {}) {
    const { status, body, verifier } = await this.push(changes, how);
    if (status !== 201) throw new Error(`pushing answered ${status} ${JSON.stringify(body)}`);
    const { answer, page } = await this.front.follow(await this.open(body.request_uri ?? ""));
    if (answer === null) throw new Error(`no answer came: ${page?.status} ${page?.html.slice(0, 300)}`);
    const redemption = {
      grant_type: "authorization_code",
      code: answer["code"] ?? "",
      redirect_uri: this.client.redirectUri,
      code_verifier: verifier,
    };
    return { answer, redemption };
  }

  /** A whole authorization. */
  async tokens(changes: Record<string, string | undefined> = {}, how: Changes = {}): Promise<Tokens> {
    const { redemption } = await this.authorize(changes, how);
    const { status, body } = await this.send("token", redemption, how);
    if (status !== 200) throw new Error(`token answered ${status} ${JSON.stringify(body)}`);
    return body as Tokens;
  }

  resource(path: string, token: string, scheme = "DPoP", claims: Record<string, unknown> = {}): Promise<Response> {
    return twice(async (nonce) => {
      const more = { accessToken: token, claims, ...(nonce === undefined ? {} : { nonce }) };
      const proof = await proofOf(this.dpop, "GET", this.provider.issuer + path, more);
      return fetch(this.provider.url + path, { headers: { authorization: `${scheme} ${token}`, dpop: proof } });
    });
  }
}

async function twice(once: (nonce?: string) => Promise<Response>): Promise<Response> {
  const first = await once();
  const nonce = first.headers.get("dpop-nonce");
  const asked =
    (first.headers.get("www-authenticate") ?? "").includes("use_dpop_nonce") ||
    ((first.status === 400 || first.status === 401) && (await first.clone().text()).includes("use_dpop_nonce"));
  return asked && nonce !== null ? once(nonce) : first;
}

async function readReply(response: Response): Promise<Reply> {
  const json = /^application\/json\b/.test(response.headers.get("content-type") ?? "");
  return { status: response.status, json, body: (await response.json()) as Reply["body"] };
}
