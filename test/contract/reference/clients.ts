import type { TestKey } from "../../support/keys.ts";

/** The same registrations at both servers, by RFC 7591's names. */
export const redirectUri = "https://client.example/cb";
export const postLogoutUri = "https://client.example/bye";
export const resource = "https://api.example/";
export const initialAccessToken = "an-initial-access-token-that-both-servers-know";
export const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code";

export const secretOf = (clientId: string) => `the secret of ${clientId}, thirty-two characters and more`;

const userScope = "openid profile email offline_access";
const user = {
  redirect_uris: [redirectUri],
  post_logout_redirect_uris: [postLogoutUri],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  scope: userScope,
};
const serviceOnly = { redirect_uris: [], grant_types: ["client_credentials"], response_types: [] };

export interface Registration {
  readonly client_id: string;
  readonly token_endpoint_auth_method: string;
  readonly [member: string]: unknown;
}

export function registrations(key: TestKey): Registration[] {
  return [
    { ...user, client_id: "public", token_endpoint_auth_method: "none" },
    { ...user, client_id: "basic", token_endpoint_auth_method: "client_secret_basic" },
    { ...user, client_id: "post", token_endpoint_auth_method: "client_secret_post" },
    {
      ...user,
      client_id: "keyed",
      token_endpoint_auth_method: "private_key_jwt",
      token_endpoint_auth_signing_alg: "ES256",
      jwks: { keys: [key.jwk] },
    },
    {
      ...user,
      client_id: "device",
      token_endpoint_auth_method: "none",
      redirect_uris: [],
      post_logout_redirect_uris: [],
      response_types: [],
      grant_types: [deviceGrant, "refresh_token"],
    },
    { ...serviceOnly, client_id: "service", token_endpoint_auth_method: "client_secret_basic", scope: "read" },
  ];
}
