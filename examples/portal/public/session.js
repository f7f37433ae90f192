/**
 * What the portal knows of who is signed in: tokens, when the access token expires, and the claims of the ID token. localStorage is shared by
 * all tabs, and tells each of them when another one changes it.
 */
const name = "session";

function read() {
  return JSON.parse(localStorage.getItem(name) ?? "null");
}

function write(session) {
  localStorage.setItem(name, JSON.stringify(session));
}

/** For this page only: who checks signatures is the server that gets the token. */
export function claimsOf(token) {
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

const expiry = (seconds) => Date.now() + seconds * 1000;

export const session = {
  get isOpen() {
    return read() !== null;
  },
  get accessToken() {
    return read()?.accessToken ?? null;
  },
  get refreshToken() {
    return read()?.refreshToken ?? null;
  },
  get idToken() {
    return read()?.idToken ?? null;
  },
  /** Milliseconds since 1970 at which the access token expires. */
  get expiresAt() {
    return read()?.expiresAt ?? null;
  },
  /** Who signed in, and how: the claims of the ID token; null when signed out. */
  get claims() {
    const { idToken } = read() ?? {};
    return idToken === undefined ? null : claimsOf(idToken);
  },
  /** After a login. */
  start({ access_token, refresh_token, id_token, expires_in }) {
    write({
      accessToken: access_token,
      refreshToken: refresh_token,
      idToken: id_token,
      expiresAt: expiry(expires_in),
    });
  },
  /** After a refresh. A client without rotation keeps its first refresh token, every other one gets a new one. */
  renew({ access_token, refresh_token, id_token, expires_in }) {
    const { refreshToken, idToken } = read();
    write({
      accessToken: access_token,
      refreshToken: refresh_token ?? refreshToken,
      idToken: id_token ?? idToken,
      expiresAt: expiry(expires_in),
    });
  },
  end() {
    localStorage.removeItem(name);
  },
  /** @param listener called after another tab signed in, renewed or signed out */
  onOtherTab(listener) {
    addEventListener("storage", ({ key }) => {
      if (key === name || key === null) listener();
    });
  },
};
