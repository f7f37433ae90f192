import { setTimeout as sleep } from "node:timers/promises";

const fresh = { headers: { connection: "close" } };

/**
 * Asks `/healthz` and `/readyz` in turn, each on a new connection, from the first answer until `done` after `/readyz` said yes.
 * @returns what went wrong: a probe that got no answer, or another than a process that lives and starts gives
 */
export async function watchStart(internalUrl: string, done: () => boolean): Promise<string[]> {
  const ask = (path: string) => fetch(`${internalUrl}${path}`, fresh);
  while ((await ask("/healthz").catch(() => null)) === null) await sleep(5);
  const wrong: string[] = [];
  let ready = false;
  while (!ready || !done()) {
    for (const path of ["/healthz", "/readyz"]) {
      try {
        const response = await ask(path);
        const body = (await response.json()) as { ready?: boolean; reason?: string };
        const isExpected =
          response.status === 200 || (path === "/readyz" && response.status === 503 && (body.reason ?? "") !== "");
        if (!isExpected) wrong.push(`${path}: ${response.status} ${JSON.stringify(body)}`);
        if (path === "/readyz" && response.status === 200) ready = true;
      } catch (error) {
        wrong.push(`${path}: ${String((error as Error).cause ?? error)}`);
      }
    }
  }
  return wrong;
}
