import { session } from "/session.js";

/** Milliseconds before the access token expires at which it is renewed. */
const early = 30_000;

/**
 * Renews the access token, once for all tabs: a lock lets one tab ask, and those that waited for it find the new token in the session.
 * With rotation a second use of the same refresh token would look like theft.
 * @param post sends the refresh
 */
export function createRenewal(post, { issuer, clientId }) {
  let timer;

  /**
   * @param stale the access token that is not good any more
   * @throws when there is no new one; a refused refresh has ended the session by then, an unreachable service has not
   */
  function renew(stale) {
    return navigator.locks.request("renewal", async () => {
      const { accessToken, refreshToken: refresh_token } = session;
      if (accessToken === null) throw new Error("You have signed out.");
      if (accessToken !== stale) return;
      const answer = await ask(refresh_token);
      // who signed out meanwhile stays signed out
      if (session.refreshToken === refresh_token) session.renew(answer.data);
      schedule();
    });
  }

  async function ask(refresh_token) {
    try {
      return await post(`${issuer}/oauth2/token`, { grant_type: "refresh_token", refresh_token, client_id: clientId });
    } catch (error) {
      const isRefused = error.response?.status === 400 || error.response?.status === 401;
      if (isRefused && session.refreshToken === refresh_token) session.end();
      throw error;
    }
  }

  /** Renews shortly before the access token expires, whichever tab's turn it is. Without one it does nothing. */
  function schedule() {
    clearTimeout(timer);
    const { accessToken, expiresAt } = session;
    if (accessToken === null) return;
    timer = setTimeout(() => renew(accessToken).catch(() => {}), Math.max(0, expiresAt - early - Date.now()));
  }

  return { renew, schedule };
}
