import { afterEach, expect, it, jest } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { startHousekeeping } from "../../src/jobs/housekeeping.ts";
import { startApp, type TestApp } from "../support/app.ts";

let app: TestApp | undefined;
afterEach(async () => {
  jest.useRealTimers();
  await app?.close();
});

it("what fails keeps nothing else from being done, and the log says what it was", async () => {
  app = await startApp();
  const { context, logs } = app;
  const away = new AuthError("unavailable", "the table is locked");
  jest.spyOn(context.store, "cleanUp").mockImplementation(async (_now, _batch, broken) => {
    broken?.set("used_once", away);
    return 0;
  });
  jest.spyOn(context.store.outbox, "stats").mockRejectedValue(away);
  const done = Promise.withResolvers<void>();
  jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask", "Date", "performance"] });
  const housekeeping = startHousekeeping(context, {
    "rotate keys": () => Promise.reject(away),
    "erase closed accounts": async () => done.resolve(),
  });
  jest.advanceTimersByTime(30_000);
  jest.useRealTimers();
  await done.promise;
  await housekeeping.close();
  const failed = logs.map((line) => JSON.parse(line)).flatMap(({ task }) => (task === undefined ? [] : [task]));
  expect(failed).toEqual(["measure the outbox", "delete expired rows of used_once", "rotate keys"]);
});
