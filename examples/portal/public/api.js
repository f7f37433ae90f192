import axios from "/axios.js";
import { createRenewal } from "/renewal.js";
import { session } from "/session.js";

/**
 * The HTTP client of the portal. It adds the access token to every call. On a 401 it refreshes, as JSON, and sends the call
 * again, once; when the session is over the reader goes to the login.
 * @param goToLogin called when the session is over
 */
export function createApi(config, goToLogin) {
  const api = axios.create({ baseURL: config.api });
  const renewal = createRenewal((url, body) => api.post(url, body, { repeated: true }), config);

  api.interceptors.request.use((request) => {
    // the refresh carries it too, although it has expired
    if (session.isOpen) request.headers.Authorization = `Bearer ${session.accessToken}`;
    return request;
  });

  api.interceptors.response.use(undefined, async (error) => {
    const { config: request, response } = error;
    if (response?.status !== 401 || request.repeated || !session.isOpen) throw error;
    // a new token of the same sign-in would be no stronger
    if (demandOf(response) !== null) throw error;
    request.repeated = true;
    try {
      await renewal.renew(request.headers.Authorization.slice("Bearer ".length));
    } catch (failure) {
      if (!session.isOpen) goToLogin();
      throw failure;
    }
    return api.request(request);
  });

  return { api, schedule: renewal.schedule };
}

/**
 * What the API asks the user for before it does this (RFC 9470 section 3).
 * @returns parameters of the authorization request, or null for another refusal
 */
export function demandOf(response) {
  const challenge = response?.headers["www-authenticate"] ?? "";
  const { error, acr_values, max_age } = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  );
  if (error !== "insufficient_user_authentication") return null;
  return { ...(acr_values && { acr_values }), ...(max_age && { max_age }) };
}
