import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { UserSignupEventSchema } from "../../gen/auth/events/v1/events_pb.ts";
import type { AuthEvent } from "../../src/events.ts";
import { EVENT_TOPICS, encodeEvent, eventToJson } from "../../src/kafka/encode.ts";
import { CHANGED, DELETED, LOGIN, RESET, SECURITY, SIGNUP, UUID, VERIFICATION } from "./events.ts";

const ISSUER = "https://auth.example.com";

describe("the message", () => {
  test("of a sign-up has its fields under the numbers of the contract", () => {
    const { value } = encodeEvent(SIGNUP, ISSUER);
    const event = readMessage(value);
    expect(text(event, 1)).toBe("evt-20260118-001");
    expect(text(event, 2)).toBe("USER_SIGNUP");
    expect(readMessage(bytes(event, 3)).get(1)).toBe(1_768_739_696n);
    const payload = readMessage(bytes(event, 4));
    expect([1, 2, 3, 4].map((field) => text(payload, field))).toEqual([UUID, "user@example.com", "nick", "EMAIL"]);
    expect(readMessage(bytes(payload, 5)).get(1)).toBe(1_768_739_696n);
  });

  test("of a login keeps milliseconds, as nanoseconds of the timestamp", () => {
    const event = readMessage(encodeEvent(LOGIN, ISSUER).value);
    const timestamp = readMessage(bytes(event, 3));
    expect(timestamp.get(2)).toBe(250_000_000n);
    const payload = readMessage(bytes(event, 4));
    expect([3, 4, 5].map((field) => text(payload, field))).toEqual(["OAUTH2", "192.0.2.1", "Mozilla/5.0"]);
  });

  test("of a password reset carries token, page and end", () => {
    const payload = readMessage(bytes(readMessage(encodeEvent(RESET, ISSUER).value), 4));
    expect(text(payload, 3)).toBe("reset-token-secret");
    expect(text(payload, 4)).toBe("https://auth.example.com/reset?token=reset-token-secret");
    expect(readMessage(bytes(payload, 5)).get(1)).toBe(1_768_743_296n);
    expect(text(payload, 6)).toBe("192.0.2.1");
  });

  test("F-16 that was written by the first version is still read", () => {
    const written = Buffer.from(encodeEvent(SIGNUP, ISSUER).value).toString("hex");
    expect(fromBinary(UserSignupEventSchema, Buffer.from(KEPT_SIGNUP, "hex")).payload?.email).toBe("user@example.com");
    expect(written).toBe(KEPT_SIGNUP);
  });
});

test("ProtoJSON is the JSON that consumers of the JSON events know", () => {
  expect(JSON.stringify(eventToJson(SIGNUP))).toBe(
    `{"eventId":"evt-20260118-001","eventType":"USER_SIGNUP","timestamp":"2026-01-18T12:34:56Z","payload":{"uuid":"${UUID}",` +
      `"email":"user@example.com","nickname":"nick","signupMethod":"EMAIL","createdAt":"2026-01-18T12:34:56Z"}}`,
  );
  expect(eventToJson(LOGIN)).toEqual({
    eventId: "evt-20260118-002",
    eventType: "USER_LOGIN",
    timestamp: "2026-01-18T12:34:56.250Z",
    payload: { ...LOGIN.payload },
  });
  expect(eventToJson(RESET)).toEqual({
    eventId: "evt-20260118-003",
    eventType: "PASSWORD_RESET",
    timestamp: "2026-01-18T12:34:56Z",
    payload: { ...RESET.payload, expiresAt: "2026-01-18T13:34:56Z" },
  });
  expect(eventToJson(VERIFICATION)["payload"]).toEqual({
    ...VERIFICATION.payload,
    expiresAt: "2026-01-18T13:34:56Z",
  });
  expect(eventToJson(CHANGED)["payload"]).toEqual(CHANGED.payload);
  expect(eventToJson(DELETED)["payload"]).toEqual({ ...DELETED.payload, deletedAt: "2026-01-18T12:34:56Z" });
  expect(eventToJson(SECURITY)["payload"]).toEqual(SECURITY.payload);
});

test("each type of event has its topic, and the user's UUID is the key", () => {
  const all = [SIGNUP, LOGIN, RESET, VERIFICATION, CHANGED, DELETED, SECURITY];
  const encoded = all.map((event) => encodeEvent(event, ISSUER));
  const topics = [
    ...["user-signup", "user-login", "password-reset", "user-email-verification"],
    ...["user-password-changed", "user-deleted", "user-security"],
  ];
  expect(encoded.map(({ topic }) => topic)).toEqual(topics);
  expect(EVENT_TOPICS).toEqual(topics);
  expect(new Set(encoded.map(({ key }) => key))).toEqual(new Set([UUID]));
});

test("the headers are those of a CloudEvent in binary mode", () => {
  expect(encodeEvent(LOGIN, ISSUER).headers).toEqual({
    ce_specversion: "1.0",
    ce_id: "evt-20260118-002",
    ce_source: ISSUER,
    ce_type: "auth.events.v1.UserLoginEvent",
    ce_time: "2026-01-18T12:34:56.250Z",
    "content-type": "application/protobuf",
  });
});

test("an event that no message can hold is refused with an error", () => {
  const withoutTime = { ...SIGNUP, timestamp: Number.NaN };
  expect(() => encodeEvent(withoutTime, ISSUER)).toThrow();
  const unknown = { ...SIGNUP, eventType: "USER_SLEPT" } as unknown as AuthEvent;
  expect(() => encodeEvent(unknown, ISSUER)).toThrow("USER_SLEPT");
});

/** Bytes of SIGNUP as they were first published. */
const KEPT_SIGNUP =
  "0a106576742d32303236303131382d303031120b555345525f5349474e55501a0608f0a6b3cb06224d0a2431323365343536" +
  "372d653839622d343264332d613435362d343236363134313734303030121075736572406578616d706c652e636f6d1a046e" +
  "69636b2205454d41494c2a0608f0a6b3cb06";

// A reader of the protobuf wire format that knows nothing of the generated code

type Fields = Map<number, bigint | Uint8Array>;

function readMessage(data: Uint8Array): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < data.length) {
    const tag = Number(varint());
    const wireType = tag & 7;
    if (wireType === 0) {
      fields.set(tag >> 3, varint());
    } else {
      expect(wireType).toBe(2);
      const length = Number(varint());
      fields.set(tag >> 3, data.subarray(at, at + length));
      at += length;
    }
  }
  return fields;
}

function bytes(fields: Fields, field: number): Uint8Array {
  return fields.get(field) as Uint8Array;
}

function text(fields: Fields, field: number): string {
  return Buffer.from(bytes(fields, field)).toString("utf8");
}
