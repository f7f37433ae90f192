import { connect, createServer, type Server, type Socket } from "node:net";
import { Transform } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

/** A TCP relay whose connections a test may delay, slow down, freeze and cut. */
export class TcpRelay {
  readonly port: number;
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  #delayMs = 0;
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  #frozen: PromiseWithResolvers<void> | null = null;
  #refuses = false;
  #swallowed = 0;

  private constructor(server: Server, port: number, target: { host: string; port: number }) {
    this.#server = server;
    this.port = port;
    this.#target = target;
    server.on("connection", (socket) => this.#relay(socket));
  }

  /** @param port to listen on; 0: any */
  static async start(target: { host: string; port: number }, port = 0): Promise<TcpRelay> {
    const server = createServer();
    await new Promise<void>((done, fail) => {
      server.once("error", fail);
      server.listen(port, "127.0.0.1", done);
    });
    return new TcpRelay(server, (server.address() as { port: number }).port, target);
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Each piece of data arrives so much later. */
  delay(milliseconds: number): void {
    this.#delayMs = milliseconds;
  }

  /** Each direction of each connection carries no more. */
  limit(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Connections stay open and are accepted, but carry nothing, until `heal`. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers<void>();
  }

  /** Connections that are open now stay so, but carry nothing any more; new ones are relayed. */
  swallow(): void {
    this.#swallowed++;
  }

  /** Resets every connection; new ones are relayed. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Resets every connection, and new ones at once, until `heal`. */
  refuse(): void {
    this.#refuses = true;
    this.cut();
  }

  /** Relays as if nothing had been. */
  heal(): void {
    this.#delayMs = 0;
    this.#bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#refuses = false;
    this.#frozen?.resolve();
    this.#frozen = null;
  }

  async close(): Promise<void> {
    this.heal();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }

  #relay(client: Socket): void {
    if (this.#refuses) return void client.resetAndDestroy();
    const server = connect(this.#target);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => other.resetAndDestroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroySoon();
      });
    }
    client.pipe(this.#channel()).pipe(server);
    server.pipe(this.#channel()).pipe(client);
  }

  #channel(): Transform {
    const born = this.#swallowed;
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#hold(chunk.length).then(() => {
          if (born === this.#swallowed) done(null, chunk);
        });
      },
    });
  }

  async #hold(bytes: number): Promise<void> {
    const milliseconds = this.#delayMs + (bytes / this.#bytesPerSecond) * 1_000;
    if (milliseconds > 0) await sleep(milliseconds);
    while (this.#frozen !== null) await this.#frozen.promise;
  }
}
