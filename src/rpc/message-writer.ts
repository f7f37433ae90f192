import { create, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type IntrospectResponse, IntrospectResponseSchema } from "../../gen/auth/v1/introspection_pb.ts";

/** Bytes of messages that are answered again and again. */
const encoded = new WeakMap<object, Buffer | null>();

/** Keeps the bytes of this message once it was sent: it must not change any more. */
export function encodeOnce(message: object): void {
  encoded.set(message, null);
}

export function encode(schema: DescMessage, message: object): Buffer {
  const known = encoded.get(message);
  if (known) return known;
  const bytes = encodeNew(schema, message);
  if (known === null) encoded.set(message, bytes);
  return bytes;
}

function encodeNew(schema: DescMessage, message: object): Buffer {
  const list = schema.fields.length === 1 ? schema.fields[0] : undefined;
  if (list?.fieldKind === "list" && list.message !== undefined) {
    return encodeList(list.number, list.message, (message as Record<string, readonly object[]>)[list.localName] ?? []);
  }
  if (isIntrospection(schema, message) && message.cnf === undefined && message.act === undefined) {
    return encodeFlat(message);
  }
  const bytes = toBinary(schema, create(schema, message as never));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A message that is a list of messages and nothing else: those whose bytes are kept need no encoding. */
function encodeList(number: number, schema: DescMessage, messages: readonly object[]): Buffer {
  const head = new BinaryWriter();
  const parts: Uint8Array[] = [];
  for (const message of messages) {
    const bytes = encode(schema, message);
    parts.push(head.tag(number, WireType.LengthDelimited).uint32(bytes.length).finish(), bytes);
  }
  return Buffer.concat(parts);
}

function isIntrospection(schema: DescMessage, message: object): message is IntrospectResponse {
  return schema === IntrospectResponseSchema && "$typeName" in message;
}

/** Keeps its buffer from one message to the next: `toBinary` makes a writer, and four buffers, each time. */
const writer = new BinaryWriter();

/**
 * The bytes of an introspection without `cnf` and `act`, as `toBinary` writes them, in a sixth of its time. For a token
 * seen for the first time, encoding was the largest cost after the signature.
 */
function encodeFlat(message: IntrospectResponse): Buffer {
  // empty, also after a message that could not be written
  writer.finish();
  if (message.active) writer.tag(1, WireType.Varint).bool(true);
  writeText(2, message.scope);
  writeText(3, message.clientId);
  writeText(4, message.username);
  writeText(5, message.tokenType);
  writeNumber(6, message.exp);
  writeNumber(7, message.iat);
  writeNumber(8, message.nbf);
  writeText(9, message.sub);
  for (const audience of message.aud) writer.tag(10, WireType.LengthDelimited).string(audience);
  writeText(11, message.iss);
  writeText(12, message.jti);
  writeText(13, message.sid);
  for (const role of message.roles) writer.tag(14, WireType.LengthDelimited).string(role);
  writeText(15, message.nickname);
  writeNumber(18, message.authTime);
  writeText(19, message.acr);
  for (const method of message.amr) writer.tag(20, WireType.LengthDelimited).string(method);
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeText(field: number, text: string): void {
  if (text !== "") writer.tag(field, WireType.LengthDelimited).string(text);
}

function writeNumber(field: number, value: bigint): void {
  if (value !== 0n) writer.tag(field, WireType.Varint).int64(value);
}
