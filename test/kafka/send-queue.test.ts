import { expect, test } from "@jest/globals";
import type { OutboundEvent } from "../../src/kafka/encode.ts";
import { encodeEvent } from "../../src/kafka/encode.ts";
import { type Held, NONE_HELD, PublishError } from "../../src/kafka/event-publisher.ts";
import { SendQueue } from "../../src/kafka/send-queue.ts";
import { LOGIN, RESET, SIGNUP } from "./events.ts";

const [first, second, third] = [SIGNUP, LOGIN, RESET].map((event) => [encodeEvent(event, "i")]) as [
  OutboundEvent[],
  OutboundEvent[],
  OutboundEvent[],
];

/** A queue whose sends end when the test says so. */
function controlled() {
  const sends: { batch: readonly OutboundEvent[]; done(): void; fail(error: Error): void }[] = [];
  const queue = new SendQueue((batch) => {
    const { promise, resolve, reject } = Promise.withResolvers<Held>();
    sends.push({ batch, done: () => resolve(NONE_HELD), fail: reject });
    return promise;
  });
  const sent = () => sends.map(({ batch }) => batch);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { queue, sends, sent, turn };
}

test("sends one batch at a time, in the order of the calls", async () => {
  const { queue, sends, sent, turn } = controlled();
  const all = [first, second, third].map((batch) => queue.add(batch, undefined));
  await turn();
  expect(sent()).toEqual([first]);
  sends[0]?.done();
  await all[0];
  await turn();
  expect(sent()).toEqual([first, second]);
  sends[1]?.done();
  await turn();
  sends[2]?.done();
  await Promise.all(all);
  await queue.idle();
  expect(sent()).toEqual([first, second, third]);
});

test("F-12 a refused batch fails alone", async () => {
  const { queue, sends, sent, turn } = controlled();
  const refused = queue.add(first, undefined);
  const next = queue.add(second, undefined);
  sends[0]?.fail(new PublishError("refused", "no such topic"));
  await expect(refused).rejects.toMatchObject({ failure: "refused" });
  await turn();
  sends[1]?.done();
  await next;
  expect(sent()).toEqual([first, second]);
});

test("F-10 while the broker is away the batches behind fail without a send of their own, later ones are tried", async () => {
  const { queue, sends, sent, turn } = controlled();
  const waiting = [first, second, third].map((batch) => queue.add(batch, undefined));
  sends[0]?.fail(new PublishError("away", "connect ECONNREFUSED"));
  const outcomes = await Promise.allSettled(waiting);
  expect(outcomes.map((outcome) => outcome.status === "rejected" && outcome.reason.message)).toEqual(
    Array(3).fill("connect ECONNREFUSED"),
  );
  expect(sent()).toEqual([first]);
  const later = queue.add(third, undefined);
  await turn();
  sends[1]?.done();
  await later;
});

test("an aborted batch leaves the queue at once, and one that is given up under way holds up none behind it", async () => {
  const { queue, sends, sent, turn } = controlled();
  const [giveUp, leave] = [new AbortController(), new AbortController()];
  const underWay = queue.add(first, giveUp.signal);
  const left = queue.add(second, leave.signal);
  const last = queue.add(third, undefined);
  leave.abort();
  await expect(left).rejects.toMatchObject({ failure: "away", message: "given up" });
  giveUp.abort();
  sends[0]?.fail(new PublishError("away", "given up"));
  await expect(underWay).rejects.toThrow("given up");
  await turn();
  sends[1]?.done();
  await last;
  expect(sent()).toEqual([first, third]);
});
