import type { DescMessage, JsonObject, Message, MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary, toJson } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  PasswordResetEventSchema,
  UserDeletedEventSchema,
  UserEmailVerificationEventSchema,
  UserLoginEventSchema,
  UserPasswordChangedEventSchema,
  UserSecurityEventSchema,
  UserSignupEventSchema,
} from "../../gen/auth/events/v1/events_pb.ts";
import type { AuthEvent } from "../events.ts";

/** An event as a consumer gets it, with the event that it encodes. */
export interface OutboundEvent {
  readonly topic: string;
  /** The user's UUID: all events of a user are in one partition, in order. */
  readonly key: string;
  /** The protobuf message, without framing. */
  readonly value: Uint8Array;
  /** CloudEvents 1.0, Kafka protocol binding, binary content mode. */
  readonly headers: Readonly<Record<string, string>>;
  readonly event: AuthEvent;
}

const topics: Readonly<Record<AuthEvent["eventType"], string>> = {
  USER_SIGNUP: "user-signup",
  USER_LOGIN: "user-login",
  PASSWORD_RESET: "password-reset",
  USER_EMAIL_VERIFICATION: "user-email-verification",
  USER_PASSWORD_CHANGED: "user-password-changed",
  USER_DELETED: "user-deleted",
  USER_SECURITY: "user-security",
};

export const EVENT_TOPICS: readonly string[] = Object.values(topics);

/** @param issuer `ce_source` of the event @throws when the event does not fit its protobuf message */
export function encodeEvent(event: AuthEvent, issuer: string): OutboundEvent {
  const { schema, message } = messageOf(event);
  return {
    topic: topics[event.eventType],
    key: event.payload.uuid,
    value: toBinary(schema, message),
    headers: {
      ce_specversion: "1.0",
      ce_id: event.eventId,
      ce_source: issuer,
      ce_type: schema.typeName,
      ce_time: new Date(event.timestamp).toISOString(),
      "content-type": "application/protobuf",
    },
    event,
  };
}

/** ProtoJSON of the event's message. */
export function eventToJson(event: AuthEvent): JsonObject {
  const { schema, message } = messageOf(event);
  return toJson(schema, message) as JsonObject;
}

function messageOf(event: AuthEvent) {
  const head = {
    eventId: event.eventId,
    eventType: event.eventType,
    timestamp: timestampFromMs(event.timestamp),
  };
  const message = <Schema extends DescMessage>(schema: Schema, init: MessageInitShape<Schema>) => ({
    schema: schema as DescMessage,
    message: create(schema, init) as Message,
  });
  switch (event.eventType) {
    case "USER_SIGNUP": {
      const payload = { ...event.payload, createdAt: timestampFromMs(event.payload.createdAt) };
      return message(UserSignupEventSchema, { ...head, payload });
    }
    case "USER_LOGIN":
      return message(UserLoginEventSchema, { ...head, payload: { ...event.payload } });
    case "PASSWORD_RESET": {
      const payload = { ...event.payload, expiresAt: timestampFromMs(event.payload.expiresAt) };
      return message(PasswordResetEventSchema, { ...head, payload });
    }
    case "USER_EMAIL_VERIFICATION": {
      const payload = { ...event.payload, expiresAt: timestampFromMs(event.payload.expiresAt) };
      return message(UserEmailVerificationEventSchema, { ...head, payload });
    }
    case "USER_PASSWORD_CHANGED":
      return message(UserPasswordChangedEventSchema, { ...head, payload: { ...event.payload } });
    case "USER_DELETED": {
      const payload = { ...event.payload, deletedAt: timestampFromMs(event.payload.deletedAt) };
      return message(UserDeletedEventSchema, { ...head, payload });
    }
    case "USER_SECURITY":
      return message(UserSecurityEventSchema, { ...head, payload: { ...event.payload } });
    default:
      throw new TypeError(`no message for events of type ${String((event as { eventType: unknown }).eventType)}`);
  }
}
