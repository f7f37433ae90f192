import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import {
  BatchIntrospectRequestSchema,
  BatchIntrospectResponseSchema,
  IntrospectRequestSchema,
  type IntrospectResponse,
  IntrospectResponseSchema,
} from "../../gen/auth/v1/introspection_pb.ts";

/**
 * The baseline: a bare grpc-js server that reads the same requests and gives the same answer each time, and does nothing else. The
 * answer is encoded once, as the service encodes the answer of a token that is asked for again.
 */
const [, , port = "0", answerBase64 = ""] = process.argv;
const answerBytes = Buffer.from(answerBase64, "base64");
const answer: IntrospectResponse = fromBinary(IntrospectResponseSchema, answerBytes);

const buffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const server = new Server();
server.addService(
  {
    introspect: {
      path: "/auth.v1.IntrospectionService/Introspect",
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(IntrospectRequestSchema, bytes),
      requestSerialize: (message) => buffer(toBinary(IntrospectRequestSchema, message as never)),
      responseSerialize: () => answerBytes,
      responseDeserialize: (bytes: Buffer) => fromBinary(IntrospectResponseSchema, bytes),
    },
    batchIntrospect: {
      path: "/auth.v1.IntrospectionService/BatchIntrospect",
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(BatchIntrospectRequestSchema, bytes),
      requestSerialize: (message) => buffer(toBinary(BatchIntrospectRequestSchema, message as never)),
      responseSerialize: (message) => buffer(toBinary(BatchIntrospectResponseSchema, message as never)),
      responseDeserialize: (bytes: Buffer) => fromBinary(BatchIntrospectResponseSchema, bytes),
    },
  },
  {
    introspect: (_call: unknown, done: (error: null, answer: IntrospectResponse) => void) => done(null, answer),
    batchIntrospect: (call: { request: { tokens: string[] } }, done: (error: null, answer: unknown) => void) =>
      done(null, { $typeName: "auth.v1.BatchIntrospectResponse", responses: call.request.tokens.map(() => answer) }),
  },
);
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write("up\n");
});
