import axios from "/axios.js";
import { session } from "/session.js";

/**
 * The HTTP client of the portal. It adds the access token to every call. On a 401 it refreshes, as JSON, and sends the call
 * again, once; when that fails, too, the reader goes to the login.
 * @param goToLogin called when the session is over
 */
export function createApi({ issuer, clientId, api: baseURL }, goToLogin) {
  const api = axios.create({ baseURL });

  api.interceptors.request.use((config) => {
    // the refresh carries it too, although it has expired
    if (session.accessToken !== null) config.headers.Authorization = `Bearer ${session.accessToken}`;
    return config;
  });

  api.interceptors.response.use(undefined, async (error) => {
    const { config, response } = error;
    if (response?.status !== 401 || config.repeated || session.refreshToken === null) throw error;
    config.repeated = true;
    try {
      const { data } = await api.post(
        `${issuer}/oauth2/token`,
        {
          grant_type: "refresh_token",
          refresh_token: session.refreshToken,
          client_id: clientId,
        },
        { repeated: true },
      );
      session.renew(data);
    } catch (failure) {
      session.end();
      goToLogin();
      throw failure;
    }
    return api.request(config);
  });

  return api;
}
