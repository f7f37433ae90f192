import { isUtf8 } from "node:buffer";
import { type DescMessage, fromBinary, ScalarType } from "@bufbuild/protobuf";
import { AuthError } from "../errors.ts";

/** Fields in one message, those of messages in it included: a full batch has a thousand. */
const maxFields = 10_000;
const maxDepth = 10;

const readOptions = { readUnknownFields: false } as const;

/** @throws AuthError invalid_request */
export function readMessage(schema: DescMessage, bytes: Uint8Array): object {
  try {
    checkFields(schema, bytes);
    return fromBinary(schema, bytes, readOptions);
  } catch (cause) {
    throw invalid(schema, cause);
  }
}

/**
 * JSON that somebody else reads: decoders put U+FFFD where text is not UTF-8, and every bracket and comma costs.
 * @throws AuthError invalid_request
 */
export function checkJson(schema: DescMessage, bytes: Uint8Array): void {
  if (!isUtf8(bytes)) throw invalid(schema, new Error("the text is not UTF-8"));
  let parts = 0;
  for (const byte of bytes) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) parts++;
  if (parts > maxFields) throw invalid(schema, new Error("too many parts"));
  // an escape that no backslash before it takes away
  if (/(?:^|[^\\])(?:\\\\)*\\u0000/.test(Buffer.from(bytes).toString("latin1"))) throw invalid(schema, nul());
}

function nul(): Error {
  return new Error("a text holds a NUL");
}

function invalid(schema: DescMessage, cause: unknown): AuthError {
  return new AuthError("invalid_request", `the message is not a valid ${schema.typeName}`, { cause });
}

function checkFields(schema: DescMessage, bytes: Uint8Array): void {
  countFields(schema, bytes, 0, bytes.length, 0, maxFields, bytes.includes(0));
}

/**
 * Walks over the fields before anything is made of them: a message may not cost more to read than its contract needs. Unknown
 * fields are passed over, as they must be, but not by the million; groups and varints of more than ten bytes are refused. No
 * text holds a NUL, which others may take for its end.
 * @returns how many fields are left
 */
function countFields(
  schema: DescMessage,
  bytes: Uint8Array,
  from: number,
  end: number,
  depth: number,
  left: number,
  lookForNul: boolean,
): number {
  if (depth > maxDepth) throw new Error("the message is nested too deeply");
  let at = from;
  let fields = left;

  /** Up to 32 bits; more are cut off, which no tag and no length of this contract has. */
  const varint = (): number => {
    let value = 0;
    for (let length = 0; length < 10; length++) {
      if (at >= end) throw new Error("a varint ends too soon");
      const byte = bytes[at++] as number;
      if (length < 5) value += (byte & 0x7f) * 2 ** (7 * length);
      if (byte < 0x80) return value;
    }
    throw new Error("a varint of more than ten bytes");
  };

  while (at < end) {
    if (--fields < 0) throw new Error("too many fields");
    const tag = varint();
    const wireType = tag & 7;
    if (tag < 8) throw new Error("a field without a number");
    if (wireType === 2) {
      const length = varint();
      const start = at;
      at += length;
      if (at > end) throw new Error("a field ends after its message");
      const inner = innerOf(schema, Math.floor(tag / 8));
      if (inner === "text") {
        if (lookForNul && bytes.subarray(start, at).includes(0)) throw nul();
      } else if (inner !== undefined) fields = countFields(inner, bytes, start, at, depth + 1, fields, lookForNul);
    } else if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else throw new Error(`a field of wire type ${wireType}`);
  }
  if (at > end) throw new Error("a field ends after its message");
  return fields;
}

const inners = new WeakMap<DescMessage, ReadonlyMap<number, DescMessage | "text">>();

/** What a field holds that is looked into. */
function innerOf(schema: DescMessage, number: number): DescMessage | "text" | undefined {
  let inner = inners.get(schema);
  if (inner === undefined) {
    const entries = schema.fields.flatMap((field): [number, DescMessage | "text"][] => {
      if (field.message !== undefined) return [[field.number, field.message]];
      return field.scalar === ScalarType.STRING ? [[field.number, "text"]] : [];
    });
    inner = new Map(entries);
    inners.set(schema, inner);
  }
  return inner.get(number);
}
