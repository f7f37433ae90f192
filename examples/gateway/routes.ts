/** One row: the first that fits a request decides; what fits none is 404. */
export interface Route {
  /** Every method when absent. */
  readonly method?: string;
  /** Exact, or with `*` at the end: everything that begins so. */
  readonly path: string;
  /** All of them must be held; none for any good token; null lets requests without a token through. */
  readonly scopes: readonly string[] | null;
}

export const routes: readonly Route[] = [
  { method: "POST", path: "/api/users/signup", scopes: null },
  { method: "POST", path: "/api/users/password-reset*", scopes: null },
  { method: "GET", path: "/api/users/me", scopes: ["read"] },
  { path: "/api/users/me*", scopes: ["read", "write"] },
  { path: "/api/*", scopes: ["read"] },
];
