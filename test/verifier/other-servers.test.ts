import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { expect, test } from "@jest/globals";
import { createVerifier } from "../../src/verifier/verifier.ts";

/** Takes any bytes, and answers them; a client that goes away is no error. */
const answering = (work: (socket: Socket) => void): Server =>
  createServer((socket) => {
    socket.on("error", () => {});
    work(socket);
  });
const unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

test.each<[string, () => Server]>([
  ["speaks HTTP/1.1", () => createHttpServer((_request, response) => response.end("x"))],
  [
    "answers 503 as a load balancer does",
    () => answering((socket) => socket.on("data", () => socket.end(unavailable))),
  ],
  ["answers before it is asked", () => answering((socket) => socket.end(unavailable))],
  ["greets like SSH", () => answering((socket) => socket.write("SSH-2.0-OpenSSH\r\n"))],
])("a verifier whose service %s loses its stream, and its process lives", async (_, make) => {
  const server = make();
  let connections = 0;
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const credentials = { clientId: "gateway", clientSecret: "secret" };
  const verifier = createVerifier({ issuer: "http://127.0.0.1:1", audience: "a", stream: { baseUrl, credentials } });
  try {
    // it has failed, and tries again
    while (connections < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(verifier.status().stream).not.toBe("fresh");
  } finally {
    await verifier.close();
    server.close();
  }
});

test("a verifier whose own token never comes closes all the same, and loses its stream meanwhile", async () => {
  let asked = 0;
  const token = () => {
    asked++;
    return new Promise<string>(() => {});
  };
  const stream = { baseUrl: "http://127.0.0.1:1", credentials: { token } };
  const verifier = createVerifier({ issuer: "http://127.0.0.1:1", audience: "a", stream });
  while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(verifier.status().stream).not.toBe("fresh");
  await verifier.close();
});
