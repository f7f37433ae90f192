import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "@jest/globals";
import {
  BatchIntrospectResponseSchema,
  type IntrospectResponse,
  IntrospectResponseSchema,
} from "../../gen/auth/v1/introspection_pb.ts";
import { encode } from "../../src/rpc/message-writer.ts";

describe("introspections as bytes", () => {
  it.each([0, 1, 2, 3])("are what the protobuf library writes, with each field set and left out (%i)", (remainder) => {
    const all = create(IntrospectResponseSchema);
    IntrospectResponseSchema.fields.forEach((field, index) => {
      if (index % 4 !== remainder) Object.assign(all, { [field.localName]: sampleOf(field.localName) });
    });
    expect(encode(IntrospectResponseSchema, all)).toEqual(Buffer.from(toBinary(IntrospectResponseSchema, all)));
    // those that have no message in them are written without the library
    const { cnf: _, act: __, ...flat } = all;
    const message = create(IntrospectResponseSchema, flat);
    expect(encode(IntrospectResponseSchema, message)).toEqual(Buffer.from(toBinary(IntrospectResponseSchema, message)));
  });

  it("know each field of the schema", () => {
    for (const { localName } of IntrospectResponseSchema.fields) {
      const message = create(IntrospectResponseSchema, { [localName]: sampleOf(localName) });
      expect([localName, encode(IntrospectResponseSchema, message).length > 0]).toEqual([localName, true]);
    }
  });

  it("hold nothing of an earlier message that could not be encoded", () => {
    const broken = create(IntrospectResponseSchema, { scope: "openid", exp: 2n ** 64n });
    expect(() => encode(IntrospectResponseSchema, broken)).toThrow();
    const inactive = create(IntrospectResponseSchema, { active: false });
    expect(encode(IntrospectResponseSchema, inactive)).toHaveLength(0);
  });

  it("are the same in a batch", () => {
    const message = create(BatchIntrospectResponseSchema, {
      responses: [
        { active: true, scope: "openid", jti: "one" },
        { active: false },
        { active: true, act: { sub: "two" } },
      ],
    });
    expect(encode(BatchIntrospectResponseSchema, message)).toEqual(
      Buffer.from(toBinary(BatchIntrospectResponseSchema, message)),
    );
  });
});

function sampleOf(name: string): IntrospectResponse[keyof IntrospectResponse] {
  const values: Record<string, unknown> = {
    active: true,
    exp: 1_800_000_000n,
    iat: 1_799_999_000n,
    nbf: 1n,
    authTime: 1_799_998_000n,
    amr: ["pwd", ""],
    aud: ["https://api.example", "b\u00fccher"],
    roles: ["USER", ""],
    cnf: { $typeName: "auth.v1.Confirmation", jkt: "key" },
    act: { $typeName: "auth.v1.Actor", sub: "service" },
  };
  return (values[name] ?? `the ${name}`) as IntrospectResponse[keyof IntrospectResponse];
}
