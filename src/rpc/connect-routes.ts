import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import { MAX_MESSAGE_BYTES } from "./edge.ts";
import { checkJson, readMessage } from "./message-reader.ts";

/**
 * Checks messages before Connect reads them, which it does once the caller is admitted. Call when every
 * method was added to the router.
 */
export function checkMessages(
  router: ConnectRouter,
  refuse: (method: DescMethod, error: unknown) => ConnectError,
): void {
  for (const [index, handler] of router.handlers.entries()) {
    const check = (error: unknown) => refuse(handler.method, error);
    const serve = async (request: UniversalServerRequest) => {
      const response = await handler({ ...request, body: checked(request, handler.method, check) });
      // nothing is left to say to a client that hung up, nor to write down
      if (request.signal.aborted) throw new ConnectError("the call ended", Code.Aborted);
      return response;
    };
    router.handlers[index] = Object.assign(serve, handler) as UniversalHandler;
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
  const check = /json\b/.test(type) ? checkJson : readMessage;
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
