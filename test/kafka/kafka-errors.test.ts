import { describe, expect, test } from "@jest/globals";
import { PublishError } from "../../src/kafka/event-publisher.ts";
import { isNotAllowed, toPublishError } from "../../src/kafka/kafka-errors.ts";

/** An error of kafkajs with a protocol error code, as the broker sends it. */
const ofBroker = (code: number, message = "refused") => Object.assign(new Error(message), { code });
const caused = (cause: unknown) => new Error("retries exceeded", { cause });

describe("the meaning of a send error for its batch", () => {
  test.each([
    ["a message too large", ofBroker(10)],
    ["a batch too large, as the cause", caused(ofBroker(18))],
    ["an invalid record among several errors", Object.assign(new Error("some failed"), { errors: [ofBroker(87)] })],
    ["one of several causes", caused(caused(ofBroker(10)))],
  ])("F-12 undeliverable: %s", (_, error) => {
    expect(toPublishError(error)).toMatchObject({ failure: "undeliverable", cause: error, message: error.message });
  });

  test.each([
    ["a topic that does not exist", ofBroker(3)],
    ["a topic without permission", caused(ofBroker(29))],
    ["metadata of a topic that never came", Object.assign(new Error("x"), { name: "KafkaJSMetadataNotLoaded" })],
    ["a value that cannot be encoded", new TypeError("not a buffer")],
  ])("F-12 refused: %s", (_, error) => {
    expect(toPublishError(error).failure).toBe("refused");
  });

  test.each([
    ["a refused connection", Object.assign(new Error("connect"), { code: "ECONNREFUSED" })],
    ["no answer in time", new Error("no answer within 5000 ms")],
    ["too few replicas in sync", ofBroker(19)],
    ["something that is no error", "broken"],
  ])("F-10 away: %s", (_, error) => {
    expect(toPublishError(error).failure).toBe("away");
  });

  test("an error that was classified before stays as it is, and circular causes end", () => {
    const known = new PublishError("refused", "no such topic");
    expect(toPublishError(known)).toBe(known);
    const circular = new Error("circular");
    circular.cause = caused(circular);
    expect(toPublishError(circular).failure).toBe("away");
  });
});

test("creating topics is given up only where the broker does not allow it", () => {
  expect([29, 31, 44].map((code) => isNotAllowed(caused(ofBroker(code))))).toEqual([true, true, true]);
  expect([ofBroker(41), new Error("connect")].map(isNotAllowed)).toEqual([false, false]);
});
