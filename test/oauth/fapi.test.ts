import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { readClientRegistration } from "../../src/store/client-metadata.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, hiddenFields, pkce, postForm, signUp, TestBrowser, type Tokens } from "../support/flow.ts";
import { assertionOf, assertionType, inSeconds, makeKey, proofOf, type TestKey } from "../support/keys.ts";

const redirectUri = "https://bank.example/callback";

describe("a client of profile fapi2", () => {
  let app: TestApp;
  let key: TestKey;
  let rsa: TestKey;
  let legacy: TestKey;
  let dpop: TestKey;
  beforeAll(async () => {
    [key, rsa, legacy, dpop] = await Promise.all([makeKey(), makeKey("PS256"), makeKey("RS256"), makeKey()]);
    const jwks = { keys: [key.jwk, rsa.jwk, { ...legacy.jwk, alg: undefined }] };
    const common = { profile: "fapi2", jwks, scope: "openid profile", first_party: true };
    app = await startApp({}, [{ client_id: "bank", redirect_uris: [redirectUri, `${redirectUri}/two`], ...common }]);
  });
  afterEach(() => {
    app.clock.shift = 0;
  });
  afterAll(() => app.close());

  const pushed = (challenge: string, more: Record<string, string> = {}): Record<string, string> => ({
    response_type: "code",
    redirect_uri: redirectUri,
    scope: "openid profile",
    state: "a-state",
    nonce: "n".repeat(64),
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...more,
  });

  interface Call {
    key?: TestKey;
    claims?: Record<string, unknown>;
    proof?: TestKey | null;
  }
  /** A form to an endpoint, with assertion and proof; asked for a nonce it comes again with one. */
  async function call(path: string, form: Record<string, string>, options: Call = {}) {
    const url = `${app.url}/oauth2/${path}`;
    const by = options.proof === undefined ? dpop : options.proof;
    const once = async (nonce?: string) => {
      const client_assertion = await assertionOf(options.key ?? key, "bank", app.url, options.claims ?? {});
      const headers: Record<string, string> = {};
      if (by !== null) headers["dpop"] = await proofOf(by, "POST", url, nonce === undefined ? {} : { nonce });
      const whole = { client_assertion_type: assertionType, client_assertion, ...form };
      const response = await postForm(url, whole, headers);
      const body = (await response.json()) as Partial<Tokens> & { error?: string; request_uri?: string };
      return { status: response.status, nonce: response.headers.get("dpop-nonce") ?? undefined, body };
    };
    const first = await once();
    return first.body.error === "use_dpop_nonce" ? once(first.nonce) : first;
  }
  const errorOf = async (path: string, form: Record<string, string>, options: Call = {}) =>
    (await call(path, form, options)).body.error;

  async function answerTo(uri: string): Promise<URL> {
    const browser = new TestBrowser();
    const { email, password } = await signUp(app.url);
    const query = new URLSearchParams({ client_id: "bank", request_uri: uri });
    const step = await browser.get(`${app.url}/oauth2/authorize?${query}`);
    const page = await browser.get(new URL(step.headers.get("location") ?? "", app.url).href);
    const answer = await browser.post(`${app.url}/login`, { ...hiddenFields(await page.text()), email, password });
    return new URL(answer.headers.get("location") ?? "");
  }
  async function getCode(): Promise<{ form: Record<string, string>; answer: URL }> {
    const { verifier, challenge } = pkce();
    const { body } = await call("par", pushed(challenge));
    const answer = await answerTo(body.request_uri ?? "");
    const code = answer.searchParams.get("code") ?? "";
    return {
      answer,
      form: { grant_type: "authorization_code", code, redirect_uri: redirectUri, code_verifier: verifier },
    };
  }

  it("S-150 S-151 S-152 runs the whole flow: pushed, signed, bound, without rotation, signed by ES256", async () => {
    const { answer, form } = await getCode();
    expect(Object.fromEntries(answer.searchParams)).toMatchObject({ state: "a-state", iss: app.url });
    const { status, body } = await call("token", form);
    expect([status, body.token_type]).toEqual([200, "DPoP"]);
    for (const token of [body.access_token, body.id_token]) {
      expect(JSON.parse(Buffer.from(token?.split(".")[0] ?? "", "base64url").toString())).toMatchObject({
        alg: "ES256",
      });
    }
    const claims = JSON.parse(Buffer.from(body.id_token?.split(".")[1] ?? "", "base64url").toString());
    expect(claims).toMatchObject({ nonce: "n".repeat(64), aud: "bank", iss: app.url });
    for (let n = 0; n < 2; n++) {
      const form = { grant_type: "refresh_token", refresh_token: body.refresh_token ?? "" };
      const again = await call("token", form);
      expect([again.status, again.body.refresh_token]).toEqual([200, body.refresh_token]);
    }
  });

  it("S-149 gets no token for a password, none as a public client, and none that is not bound", async () => {
    const password = { grant_type: "password", username: "a@example.com", password: "correct horse battery" };
    expect(await errorOf("token", password)).toBe("unsupported_grant_type");
    const { form } = await getCode();
    expect(await errorOf("token", form, { proof: null })).toBe("invalid_dpop_proof");
    const asPublic = await postForm(`${app.url}/oauth2/token`, { ...form, client_id: "bank" });
    expect([asPublic.status, await asPublic.json()]).toMatchObject([401, { error: "invalid_client" }]);
    expect((await call("token", form)).status).toBe(200);
  });

  it("S-149 S-150 cannot be registered without its protections", () => {
    const base = { client_id: "x", profile: "fapi2", redirect_uris: [redirectUri], jwks: { keys: [key.jwk] } };
    expect(readClientRegistration(base, true)).toMatchObject({ clientId: "x" });
    const weaker: [object, string][] = [
      [{ token_endpoint_auth_method: "none", jwks: undefined }, "token_endpoint_auth_method"],
      [
        { token_endpoint_auth_method: "client_secret_basic", client_secret: "s".repeat(40) },
        "token_endpoint_auth_method",
      ],
      [{ token_endpoint_auth_signing_alg: "RS256" }, "token_endpoint_auth_signing_alg"],
      [{ id_token_signed_response_alg: "RS256" }, "id_token_signed_response_alg"],
      [{ access_token_signed_response_alg: "RS256" }, "access_token_signed_response_alg"],
      [{ introspection_signed_response_alg: "RS256" }, "introspection_signed_response_alg"],
      [{ require_pushed_authorization_requests: false }, "require_pushed_authorization_requests"],
      [{ dpop_bound_access_tokens: false }, "dpop_bound_access_tokens"],
      [{ refresh_token_rotation: true }, "refresh_token_rotation"],
      [{ redirect_uris: ["http://bank.example/callback"] }, "redirect_uris"],
      [{ jwks: { keys: [smallRsa()] } }, "jwks"],
    ];
    for (const [change, member] of weaker) {
      const problems = readClientRegistration({ ...base, ...change }, true);
      expect([change, Array.isArray(problems) && problems.some((each) => each.startsWith(member))]).toEqual([
        change,
        true,
      ]);
    }
  });

  it("S-150 takes assertions for the issuer alone, 8 s ahead and not 61 s", async () => {
    const form = () => pushed(pkce().challenge);
    const status = async (claims: Record<string, unknown>) => (await call("par", form(), { claims })).status;
    expect(await status({ nbf: inSeconds(8), iat: inSeconds(8) })).toBe(201);
    for (const claims of [
      { nbf: inSeconds(61) },
      { iat: inSeconds(61) },
      { aud: `${app.url}/oauth2/par` },
      { aud: `${app.url}/oauth2/token` },
      { aud: [app.url] },
    ]) {
      expect([claims, await status(claims)]).toEqual([claims, 401]);
    }
  });

  it("S-153 never takes RS256, though the key is registered, nor proofs with it", async () => {
    expect((await call("par", pushed(pkce().challenge), { key: rsa })).status).toBe(201);
    expect(await errorOf("par", pushed(pkce().challenge), { key: legacy })).toBe("invalid_client");
    expect(await errorOf("par", pushed(pkce().challenge), { proof: legacy })).toBe("invalid_dpop_proof");
    const jwks = (await (await fetch(`${app.url}/oauth2/jwks`)).json()) as { keys: { kty: string; n?: string }[] };
    for (const { kty, n = "" } of jwks.keys) {
      if (kty === "RSA") expect(Buffer.from(n, "base64url").length * 8).toBeGreaterThanOrEqual(2048);
    }
  });

  it("S-152 has to push, its redirect URI too, and nothing in the browser's URL counts", async () => {
    const plain = await fetch(authorizeUrl(app.url, { clientId: "bank", redirectUri }), { redirect: "manual" });
    expect(new URL(plain.headers.get("location") ?? "").searchParams.get("error")).toBe("invalid_request");
    const { redirect_uri: _, ...without } = pushed(pkce().challenge);
    expect(await errorOf("par", without)).toBe("invalid_request");
    expect(await errorOf("par", pushed(pkce().challenge, { redirect_uri: "https://evil.example" }))).toBe(
      "invalid_request",
    );
    expect(await errorOf("par", pushed(pkce().challenge, { code_challenge_method: "plain" }))).toBe("invalid_request");
    const { body } = await call("par", pushed(pkce().challenge));
    const query = {
      client_id: "bank",
      request_uri: body.request_uri ?? "",
      redirect_uri: `${redirectUri}/two`,
      prompt: "none",
    };
    const step = await fetch(`${app.url}/oauth2/authorize?${new URLSearchParams(query)}`, { redirect: "manual" });
    expect(step.headers.get("location")).toMatch(/^\/login/);
  });

  it("S-152 a code is good for a minute, to the key it was pushed with", async () => {
    const { form } = await getCode();
    const thief = await makeKey();
    expect(await errorOf("token", form, { proof: thief })).toBe("invalid_grant");
    expect((await call("token", form)).status).toBe(200);
    const late = (await getCode()).form;
    app.clock.shift = 61_000;
    const url = `${app.url}/oauth2/token`;
    const claims = { exp: inSeconds(120), iat: inSeconds(61) };
    const once = async (nonce?: string) =>
      postForm(
        url,
        {
          ...late,
          client_assertion_type: assertionType,
          client_assertion: await assertionOf(key, "bank", app.url, claims),
        },
        { dpop: await proofOf(dpop, "POST", url, { claims: { iat: inSeconds(61), nonce } }) },
      );
    const nonce = (await once()).headers.get("dpop-nonce") ?? undefined;
    expect(await (await once(nonce)).json()).toMatchObject({ error: "invalid_grant" });
  });
});

function smallRsa(): object {
  const { publicKey }: { publicKey: KeyObject } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  return publicKey.export({ format: "jwk" });
}
