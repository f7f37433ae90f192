import { readdirSync, readFileSync } from "node:fs";
import type { Replica } from "./system.ts";

export function residentMiB({ pid }: Replica): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1024;
}

/**
 * What a replica holds: resident memory without what V8 sets aside for young objects. V8 doubles that, up to 128 MiB, after a moment in which
 * much was under way, and keeps it.
 */
export async function heldMiB(replica: Replica): Promise<number> {
  const young = await replica.metric('nodejs_heap_space_size_total_bytes{space="new"}');
  return residentMiB(replica) - young / 1024 ** 2;
}

/** The memory of a replica at a moment (MiB). */
export interface Memory {
  readonly resident: number;
  readonly held: number;
}

export async function memoryOf(replica: Replica): Promise<Memory> {
  return { resident: residentMiB(replica), held: await heldMiB(replica) };
}

/** V8 sets memory aside that it does not use yet, so what is held may seem to grow where less is resident, and the other way round. */
export function grownMiB(before: Memory, after: Memory): number {
  return Math.round(Math.min(after.resident - before.resident, after.held - before.held));
}

export function openFiles({ pid }: Replica): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
