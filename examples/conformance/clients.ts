import { type ConformanceOptions, publicPart, type Secrets, suiteBaseOf } from "./settings.ts";

const everyScope = "openid profile email address phone offline_access";

/** The clients of the plans with static registration, as CLIENTS_FILE holds them. None is first-party: the suite sees consent, too. */
export function clientsOf(options: ConformanceOptions, { clients, fapiKeys }: Secrets): object[] {
  const base = suiteBaseOf(options);
  // the suite's OpenID Connect plans send no PKCE; these clients authenticate, so an operator may let them go without
  const common = { redirect_uris: [`${base}/callback`], scope: everyScope, require_pkce: false };
  return [
    { ...common, client_id: "basic-1", client_secret: clients["basic-1"] },
    { ...common, client_id: "basic-2", client_secret: clients["basic-2"] },
    {
      ...common,
      client_id: "post",
      client_secret: clients.post,
      token_endpoint_auth_method: "client_secret_post",
    },
    {
      ...common,
      client_id: "logout",
      client_secret: clients.logout,
      post_logout_redirect_uris: [`${base}/post_logout_redirect`],
    },
    {
      // of its own: the modules of the other logout plan listen at no back-channel URI, and fail when something is sent there
      ...common,
      client_id: "backchannel",
      client_secret: clients.backchannel,
      post_logout_redirect_uris: [`${base}/post_logout_redirect`],
      backchannel_logout_uri: `${base}/backchannel_logout`,
      backchannel_logout_session_required: true,
    },
    {
      client_id: "fapi-1",
      profile: "fapi2",
      redirect_uris: [`${base}/callback`],
      scope: everyScope,
      jwks: { keys: [publicPart(fapiKeys[0])] },
    },
    {
      client_id: "fapi-2",
      profile: "fapi2",
      // the suite gives its second client a query, to see that it is kept
      redirect_uris: [`${base}/callback?dummy1=lorem&dummy2=ipsum`],
      scope: everyScope,
      jwks: { keys: [publicPart(fapiKeys[1])] },
    },
    {
      // of its own: the user whose consent to the first one is remembered is not asked again
      client_id: "fapi-rejected",
      profile: "fapi2",
      redirect_uris: [`${base}/callback`],
      scope: everyScope,
      jwks: { keys: [publicPart(fapiKeys[2])] },
    },
  ];
}

/** Every standard claim but those that every account has (OpenID Connect Core section 5.1). */
export const userClaims = {
  name: "Sue Suite",
  given_name: "Sue",
  family_name: "Suite",
  middle_name: "Conformance",
  preferred_username: "sue",
  profile: "https://sue.example/",
  picture: "https://sue.example/sue.png",
  website: "https://sue.example/",
  gender: "female",
  birthdate: "1990-01-31",
  zoneinfo: "Europe/London",
  locale: "en-GB",
  phone_number: "+442071234567",
  phone_number_verified: true,
  address: {
    formatted: "1 Example Street\nLondon\nUnited Kingdom",
    street_address: "1 Example Street",
    locality: "London",
    postal_code: "N1 1AA",
    country: "United Kingdom",
  },
};
