/** The tokens of this tab. sessionStorage outlives a reload and ends with the tab. */
const names = ["accessToken", "refreshToken", "idToken"];

export const session = {
  get accessToken() {
    return sessionStorage.getItem("accessToken");
  },
  get refreshToken() {
    return sessionStorage.getItem("refreshToken");
  },
  get idToken() {
    return sessionStorage.getItem("idToken");
  },
  /** After a login. */
  start({ access_token, refresh_token, id_token }) {
    sessionStorage.setItem("accessToken", access_token);
    sessionStorage.setItem("refreshToken", refresh_token);
    sessionStorage.setItem("idToken", id_token);
  },
  /** After a refresh: only the access token is new, the first refresh token stays. */
  renew({ access_token }) {
    sessionStorage.setItem("accessToken", access_token);
  },
  end() {
    for (const name of names) sessionStorage.removeItem(name);
  },
};
