import { once } from "node:events";
import { createServer } from "node:net";
import { expect, it } from "@jest/globals";
import type { Config } from "../../src/config/config.ts";
import { StartRefused } from "../../src/errors.ts";
import { listen } from "../../src/process/listen.ts";

it("names the host of a listener where that is no address of this machine, and not its port", async () => {
  // an address of documentation (RFC 5737)
  const grpc = { host: "192.0.2.1", port: 9090 };
  const config = { grpc, http: { host: "127.0.0.1", port: 0 }, internalHttp: { host: "127.0.0.1", port: 0 } } as Config;
  const started = listen("GRPC", config, () => once(createServer().listen(grpc), "listening"));
  await expect(started).rejects.toThrow(StartRefused);
  await expect(started).rejects.toThrow(
    "GRPC_HOST: 192.0.2.1:9090 is no address of this machine. Choose another one, for example GRPC_HOST=127.0.0.1",
  );
});
