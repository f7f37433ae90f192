/** Paths of the public listener, below the issuer. */
export const PATHS = {
  authorize: "/oauth2/authorize",
  pushedAuthorization: "/oauth2/par",
  token: "/oauth2/token",
  deviceAuthorization: "/oauth2/device_authorization",
  device: "/device",
  register: "/oauth2/register",
  introspect: "/oauth2/introspect",
  revoke: "/oauth2/revoke",
  jwks: "/oauth2/jwks",
  userinfo: "/userinfo",
  logout: "/connect/logout",
} as const;
