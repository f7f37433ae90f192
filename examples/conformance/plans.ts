import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { JWK } from "jose";
import { automationOf, userRejects } from "./browser.ts";
import { type ConformanceOptions, email, issuerOf, type Secrets, writePrivately } from "./settings.ts";

export interface Plan {
  /** The file's name without `.json`. */
  readonly name: string;
  /** Plan and variants, as the suite's scripts/run-test-plan.py takes them. */
  readonly run: string;
  readonly configuration: object;
}

/** @param registrationToken with which the suite registers the clients of its dynamic plan */
export function plansOf(options: ConformanceOptions, secrets: Secrets, registrationToken: string): Plan[] {
  const issuer = issuerOf(options);
  const { clients, fapiKeys, password } = secrets;
  const common = (description: string) => ({
    alias: options.alias,
    description,
    server: { discoveryUrl: `${issuer}/.well-known/openid-configuration`, login_hint: email },
    ...automationOf(issuer, { email, password }),
  });
  const secret = (id: keyof typeof clients) => ({ client_id: id, client_secret: clients[id] });
  const staticClients = {
    client: secret("basic-1"),
    client2: secret("basic-2"),
    client_secret_post: secret("post"),
  };
  const fapiClient = (id: string, key: JWK, scope: string) => {
    return { client_id: id, scope, jwks: { keys: [key] }, dpop_signing_alg: "ES256" };
  };
  const fapi = (scope: string) => {
    const automation = automationOf(issuer, { email, password });
    const rejected = { ...automation.override[userRejects], client: fapiClient("fapi-rejected", fapiKeys[2], scope) };
    return {
      client: fapiClient("fapi-1", fapiKeys[0], scope),
      client2: fapiClient("fapi-2", fapiKeys[1], scope),
      override: { ...automation.override, [userRejects]: rejected },
    };
  };
  const dynamic = (name: string) => ({ client_name: name, initial_access_token: registrationToken });
  const certification = (name: string, variants: string) => `${name}-certification-test-plan${variants}`;
  const fapiPlan = (openid: string) =>
    `fapi2-security-profile-final-test-plan[openid=${openid}][client_auth_type=private_key_jwt][sender_constrain=dpop][fapi_profile=plain_fapi][authorization_request_type=simple]`;
  const plan = (name: string, run: string, more: object): Plan => ({
    name,
    run,
    configuration: { ...common(name), ...more },
  });
  const withStaticClients = "[server_metadata=discovery][client_registration=static_client]";
  const code = "[client_registration=static_client][response_type=code]";
  return [
    plan("oidcc-basic", certification("oidcc-basic", withStaticClients), staticClients),
    plan("oidcc-config", certification("oidcc-config", ""), {}),
    plan("oidcc-dynamic", certification("oidcc-dynamic", "[response_type=code]"), {
      client: dynamic("suite 1"),
      client2: dynamic("suite 2"),
    }),
    plan("oidcc-formpost-basic", certification("oidcc-formpost-basic", withStaticClients), staticClients),
    plan("oidcc-rp-initiated-logout", certification("oidcc-rp-initiated-logout", code), {
      client: secret("logout"),
    }),
    plan("oidcc-backchannel-rp-initiated-logout", certification("oidcc-backchannel-rp-initiated-logout", code), {
      client: secret("backchannel"),
    }),
    plan("fapi2-plain-oauth", fapiPlan("plain_oauth"), {
      ...fapi("profile"),
      server: { discoveryUrl: `${issuer}/.well-known/oauth-authorization-server` },
      resource: { resourceUrl: `${issuer}/api/users/me` },
    }),
    plan("fapi2-openid-connect", fapiPlan("openid_connect"), {
      ...fapi("openid profile"),
      resource: { resourceUrl: `${issuer}/userinfo` },
    }),
  ];
}

/** One file a plan; they hold secrets. @returns what run-test-plan.py takes for each */
export function writePlans(folder: string, plans: readonly Plan[]): string[] {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return plans.map(({ name, run, configuration }) => {
    const file = join(folder, `${name}.json`);
    writePrivately(file, configuration);
    return `${run} ${file}`;
  });
}
