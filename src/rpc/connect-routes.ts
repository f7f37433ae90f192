import type { DescMethod } from "@bufbuild/protobuf";
import type { ConnectError, ConnectRouter, ContextValues } from "@connectrpc/connect";
import type { UniversalServerRequest } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { MAX_MESSAGE_BYTES } from "./edge.ts";
import { checkBinary, checkJson } from "./message-reader.ts";

export interface ConnectRoutesOptions {
  readonly contextValues: (request: FastifyRequest) => ContextValues;
  readonly refuse: (method: DescMethod, error: unknown) => ConnectError;
  /** Takes what kept a call from being answered at all. */
  readonly report: (error: unknown) => void;
}

/**
 * The router's methods as routes. Connect reads messages itself; they pass a check of ours before it does, when the caller is
 * admitted already.
 */
export function addConnectRoutes(server: FastifyInstance, router: ConnectRouter, options: ConnectRoutesOptions): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", (_request, _payload, done) => done(null, undefined));
  for (const handler of router.handlers) {
    server.all(handler.requestPath, async (request, reply) => {
      const { contextValues, refuse, report } = options;
      // HTTP/1.0 without a host: Connect could not name the call's URL
      if (request.headers.host === undefined) return reply.code(400).send({ error: "Bad Request" });
      const universal = universalRequestFromNodeRequest(request.raw, reply.raw, undefined, contextValues(request));
      reply.hijack();
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) reply.raw.setHeader(name, value);
      }
      try {
        const check = (error: unknown) => refuse(handler.method, error);
        const response = await handler({ ...universal, body: checked(universal, handler.method, check) });
        await universalResponseToNodeResponse(response, reply.raw);
      } catch (error) {
        // of a client that hung up there is nothing to say
        if (!reply.raw.destroyed) {
          report(error);
          reply.raw.destroy();
        }
      }
    });
  }
}

/** The same bytes, once they passed; those of a message that is too long go on as they are, to be refused for that. */
async function* checked(
  request: UniversalServerRequest,
  method: DescMethod,
  refuse: (error: unknown) => ConnectError,
): AsyncGenerator<Uint8Array> {
  const type = request.header.get("content-type") ?? "";
  const enveloped = !/^application\/(json|proto)\b/.test(type);
  const chunks: Uint8Array[] = [];
  let length = 0;
  // what the first message says of itself
  let claimed = 0;
  for await (const chunk of request.body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    if (enveloped && claimed === 0 && length >= 5) claimed = Buffer.concat(chunks).readUInt32BE(1);
    if (Math.max(length, claimed) > MAX_MESSAGE_BYTES) {
      yield* chunks.splice(0);
      yield* request.body as AsyncIterable<Uint8Array>;
      return;
    }
  }
  const bytes = Buffer.concat(chunks);
  const check = /json\b/.test(type) ? checkJson : checkBinary;
  try {
    if (enveloped) for (const message of plainMessages(bytes)) check(method.input, message);
    // what claims to be compressed is refused for that
    else if (!request.header.has("content-encoding")) check(method.input, bytes);
  } catch (error) {
    throw refuse(error);
  }
  yield bytes;
}

/** The messages in their envelopes; whether there may be so many is for Connect to say. */
function* plainMessages(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    if (bytes[at] === 0) yield bytes.subarray(at + 5, end);
    at = end;
  }
}
