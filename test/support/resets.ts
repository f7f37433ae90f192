import { readFileSync } from "node:fs";
import type { TestApp } from "./app.ts";
import { postJson } from "./flow.ts";
import { rowsOf } from "./sqlite.ts";

export interface ToldEvent {
  topic: string;
  key: string;
  event: { payload: Record<string, string> };
}

/** What stands in the service's events file by now. */
export function eventsOf({ config }: TestApp): ToldEvent[] {
  const text = readFileSync(config.eventsFile, { encoding: "utf8", flag: "a+" });
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as ToldEvent);
}

export function resetEvents(app: TestApp, email: string): ToldEvent["event"][] {
  const mine = eventsOf(app).filter(
    ({ topic, event }) => topic === "password-reset" && event.payload["email"] === email,
  );
  return mine.map(({ event }) => event);
}

/** Waits until every event so far is in the file: each topic and each lane has a queue of its own, in no promised order. Only with SQLite. */
export async function allTold(app: TestApp): Promise<void> {
  const pending = () => rowsOf(app, "SELECT 1 FROM outbox WHERE status IN ('pending', 'waiting') LIMIT 1").length;
  await until(() => (pending() === 0 ? true : undefined));
}

export async function until<T>(find: () => T | undefined): Promise<T> {
  for (let tries = 0; tries < 1_000; tries++) {
    const found = find();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("it did not come");
}

/** Asks for a reset over HTTP. @returns the token that is mailed */
export async function resetTokenFor(app: TestApp, email: string): Promise<string> {
  const before = resetEvents(app, email).length;
  const response = await postJson(`${app.url}/api/users/password-reset`, { email });
  if (response.status !== 202) throw new Error(`the request answered ${response.status} ${await response.text()}`);
  return (await until(() => resetEvents(app, email)[before])).payload["resetToken"] ?? "";
}
