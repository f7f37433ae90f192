import { setTimeout as sleep } from "node:timers/promises";
import { type Account, getCode, getTokens, patiently, postJson, redeem, signUp } from "../support/flow.ts";
import { APPLICATIONS } from "./harness/client.ts";

/** The clusters of the tests and of the harness have this client. */
const rotating = { clientId: "rotating", ...APPLICATIONS.rotating };
const named = { client_id: rotating.clientId, redirect_uri: rotating.redirectUri };

type Login = Awaited<ReturnType<typeof getCode>>;

export interface OldPasswords {
  /** The rounds after which a browser was signed in, or its code was good, by the old password. */
  readonly left: readonly number[];
  /** Logins that came before the change, and those that it refused. Where there are none of a kind, the two were never at the same time. */
  readonly accepted: number;
  readonly refused: number;
}

/**
 * Signs in at one replica with a password that is changed at another one at the same time, in rounds.
 * @param urls of replicas whose databases may commit apart, as nodes of a cluster do
 */
export async function sessionsOfOldPasswords(urls: readonly string[], rounds: number): Promise<OldPasswords> {
  const urlOf = (n: number) => urls[n % urls.length] ?? "";
  let account = await signUp(urlOf(0));
  const left: number[] = [];
  let accepted = 0;
  let head = 0;
  for (let round = 1; round <= rounds; round++) {
    // so that the limit of wrong passwords is not reached
    if (round % 5 === 0) account = await signUp(urlOf(0));
    const { access_token } = await getTokens(urlOf(0), account, rotating);
    const password = `password of round ${round}`;
    const [changed, { login, at }] = await Promise.all([
      changePassword(urlOf(round), access_token, account.password, password),
      sleep(head).then(() => logIn(urlOf(round + 1), account)),
    ]);
    // whichever is answered first begins later the next time, so that both commit at about the same time
    head = Math.max(0, head + ((at < changed ? 1 : -1) * (round < 8 ? 40 : 12) * (1 + Math.random())) / 2);
    if (login !== null) accepted++;
    if (login !== null && (await isAlive(urls, login))) left.push(round);
    account = { ...account, password };
  }
  return { left, accepted, refused: rounds - accepted };
}

/** As a client does that takes 503 for "not now". @returns when it was answered */
async function changePassword(base: string, token: string, currentPassword: string, newPassword: string) {
  for (let refused = 0; ; refused++) {
    const headers = { authorization: `Bearer ${token}` };
    const { status } = await postJson(`${base}/api/users/me/password`, { currentPassword, newPassword }, headers);
    // the answer to the one before may have been lost
    if (status === 204 || (refused > 0 && status === 401)) return performance.now();
    if (status !== 503) throw new Error(`the change of the password answered ${status}`);
    await sleep(200);
  }
}

/** @returns the signed-in browser and its code, null where it was refused; and when */
async function logIn(base: string, account: Account): Promise<{ login: Login | null; at: number }> {
  const login = await getCode(base, account, rotating).catch(() => null);
  return { login: login?.code === "" ? null : login, at: performance.now() };
}

async function isAlive(urls: readonly string[], { browser, code, verifier }: Login): Promise<boolean> {
  const pages = await Promise.all(urls.map((url) => patiently(() => browser.get(`${url}/account`))));
  const redeemed = await patiently(() => redeem(urls[0] ?? "", code, verifier, named));
  return pages.some(({ status }) => status === 200) || redeemed.status === 200;
}
