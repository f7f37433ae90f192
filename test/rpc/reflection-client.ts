import { createRequire } from "node:module";
import * as grpc from "@grpc/grpc-js";

const require = createRequire(import.meta.url);
// proto-loader comes with the health and reflection packages
const fromHealth = createRequire(require.resolve("grpc-health-check"));
const loader = fromHealth("@grpc/proto-loader") as {
  loadSync(file: string, options: object): PackageDefinition;
  loadFileDescriptorSetFromBuffer(bytes: Buffer, options: object): PackageDefinition;
};

type PackageDefinition = Parameters<typeof grpc.loadPackageDefinition>[0];

export type Unary = (
  request: object,
  metadata: grpc.Metadata,
  callback: (error: Error | null, value: unknown) => void,
) => void;

interface Answer {
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
  readonly errorResponse?: { readonly errorMessage: string };
}

const options = { longs: String, enums: String, defaults: true, keepCase: true };

/** A package definition made of nothing but what the server's reflection says about a service. */
export async function reflect(
  address: string,
  version: "v1" | "v1alpha",
  symbol: string,
  metadata: grpc.Metadata,
): Promise<PackageDefinition> {
  const packageRoot = require.resolve("@grpc/reflection").replace(/build.*$/, "");
  const proto = loader.loadSync(`${packageRoot}build/proto/grpc/reflection/${version}/reflection.proto`, {});
  const definition = proto[`grpc.reflection.${version}.ServerReflection`] as grpc.ServiceDefinition;
  const Client = grpc.makeGenericClientConstructor(definition, "ServerReflection");
  const client = new Client(address, grpc.credentials.createInsecure());
  try {
    const answer = await new Promise<Answer>((resolve, reject) => {
      const open = client["ServerReflectionInfo"] as (
        metadata: grpc.Metadata,
      ) => grpc.ClientDuplexStream<object, Answer>;
      const stream = open.call(client, metadata);
      stream.on("data", resolve);
      stream.on("error", reject);
      stream.write({ fileContainingSymbol: symbol });
      stream.end();
    });
    const files = answer.fileDescriptorResponse?.fileDescriptorProto;
    if (files === undefined) throw new Error(answer.errorResponse?.errorMessage ?? "no files");
    return loader.loadFileDescriptorSetFromBuffer(descriptorSet(files), options);
  } finally {
    client.close();
  }
}

/** google.protobuf.FileDescriptorSet { repeated FileDescriptorProto file = 1 } */
function descriptorSet(files: readonly Buffer[]): Buffer {
  return Buffer.concat(files.flatMap((file) => [Buffer.from([0x0a, ...varint(file.length)]), file]));
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}
