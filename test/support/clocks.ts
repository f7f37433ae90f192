import { jest } from "@jest/globals";
import type { TestApp } from "./app.ts";

/** However long it takes, the service's clock stands still: what is allowed or forgiven for seconds only does not end meanwhile. */
export async function inOneMoment<T>(apps: readonly TestApp[], work: () => Promise<T>): Promise<T> {
  const clocks = apps.map(({ clock }) => jest.spyOn(clock, "now").mockReturnValue(clock.now()));
  try {
    return await work();
  } finally {
    for (const clock of clocks) clock.mockRestore();
  }
}
