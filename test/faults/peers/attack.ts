import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

/** What a process of hostile peers is asked to do. */
export type Attack = SlowAttack | FloodAttack;

/** Peers that take their time, each on a connection of its own, all at once. */
export interface SlowAttack {
  readonly slow: "http headers" | "http body" | "http read" | "grpc headers" | "grpc body" | "grpc read";
  readonly port: number;
  readonly connections: number;
}

/** Frames, until so many are sent or so many connections were opened. */
export interface FloodAttack {
  readonly flood:
    | "reset"
    | "continuation"
    | "held headers"
    | "ping"
    | "settings"
    | "empty DATA"
    | "window overflow"
    | "window overflow of a stream"
    | "window of nothing"
    | "DATA after the end";
  readonly port: number;
  readonly frames: number;
  /** On one connection, unless it is cut before. */
  readonly framesEach: number;
  /** Connections that are open at the same time. */
  readonly atOnce: number;
  /** A connection is kept open for so long after its last frame. */
  readonly holdMs: number;
  /** Only until the server resets a stream or says that it ends the connection. */
  readonly untilAnswered?: boolean;
}

/** What came of it. */
export interface Attacked {
  /** Connections. */
  readonly opened: number;
  /** Connections that were not accepted. */
  readonly refused: number;
  /** Frames, or streams of a flood that has several frames for each. */
  readonly sent: number;
  readonly goaways: number;
  /** Streams that the server reset. */
  readonly resets: number;
  /** Connections that the server did not cut. */
  readonly left: number;
  /** From a slow peer's start to its end, of the slowest; 0 where that is not seen. */
  readonly lastCutMs: number;
}

/** Runs an attack in a process of its own. */
export async function attack(what: Attack): Promise<Attacked> {
  const child: ChildProcess = fork(new URL("attacker.ts", import.meta.url), { execArgv: [] });
  const name = "slow" in what ? what.slow : what.flood;
  try {
    child.send(what);
    const [counted] = await Promise.race([
      once(child, "message") as Promise<[Attacked]>,
      once(child, "exit").then(() => Promise.reject(new Error(`the process of ${name} ended`))),
    ]);
    return counted;
  } finally {
    child.kill();
  }
}
