import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Answer } from "./answers.ts";
import { authorizeCases } from "./authorize-cases.ts";
import { metadataCases, protocolCases, tokenUseCases } from "./other-cases.ts";
import { startServers } from "./servers.ts";
import { type Case, Talk } from "./talk.ts";
import { clientCases, refreshCases, tokenCases } from "./token-cases.ts";

export const groups: Readonly<Record<string, readonly Case[]>> = {
  authorize: authorizeCases,
  token: tokenCases,
  refresh: refreshCases,
  clients: clientCases,
  "token-use": tokenUseCases,
  metadata: metadataCases,
  protocols: protocolCases,
};

/** Where the answers to one request differ, and why ours is what it is. */
export interface Recorded {
  readonly ours: Answer;
  readonly reference: Answer;
  /** By the part that differs: status, to, error, a header, body. */
  readonly explanation?: Readonly<Record<string, string>>;
}
export type Recording = Readonly<Record<string, Recorded>>;

const folder = join(import.meta.dirname, "recorded");
const fileOf = (group: string) => join(folder, `${group}.json`);

export function stored(group: string): Recording {
  const file = fileOf(group);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Recording) : {};
}

/** After GET a browser does the same at both (RFC 9110 section 15.4). */
const redirect = (status: number) => (status === 303 ? 302 : status);

/** The parts of two answers that are not the same. Where the outcome differs, headers and body follow from that. */
export function differences({ ours, reference }: Recorded): string[] {
  const outcome = [
    ...(redirect(ours.status) === redirect(reference.status) ? [] : ["status"]),
    ...(["to", "error"] as const).filter((part) => ours[part] !== reference[part]),
  ];
  if (outcome.length > 0) return outcome.sort();
  const headers = new Set([...Object.keys(ours.headers), ...Object.keys(reference.headers)]);
  return [
    ...[...headers].filter((name) => ours.headers[name] !== reference.headers[name]),
    ...(isDeepStrictEqual(ours.body, reference.body) ? [] : ["body"]),
  ].sort();
}

/** Sends every request to both servers. What was explained before stays explained, as long as it differs. */
export async function record(): Promise<Map<string, Recording>> {
  // the reference says of each of its defaults that it is for development
  const { info, warn } = console;
  console.info = console.warn = () => {};
  const { ours, reference } = await startServers();
  try {
    const recordings = new Map<string, Recording>();
    for (const [group, cases] of Object.entries(groups)) {
      const before = stored(group);
      const entries: [string, Recorded][] = [];
      for (const { name, send } of cases) {
        const answers = { ours: await send(new Talk(ours)), reference: await send(new Talk(reference)) };
        entries.push([name, explained(answers, before[name])]);
      }
      recordings.set(group, Object.fromEntries(entries));
    }
    return recordings;
  } finally {
    Object.assign(console, { info, warn });
    await ours.close();
    await reference.close();
  }
}

function explained(answers: Recorded, before: Recorded | undefined): Recorded {
  const parts = differences(answers);
  if (parts.length === 0) return answers;
  return {
    ...answers,
    explanation: Object.fromEntries(parts.map((part) => [part, before?.explanation?.[part] ?? ""])),
  };
}

export function store(recordings: ReadonlyMap<string, Recording>): void {
  for (const [group, recording] of recordings) writeFileSync(fileOf(group), `${JSON.stringify(recording, null, 2)}\n`);
}

/** What is wrong with a recording: differences nobody explained, and answers that are not the stored ones. */
export function problems(group: string, fresh: Recording): string[] {
  const before = stored(group);
  const found: string[] = [];
  for (const [name, recorded] of Object.entries(fresh)) {
    for (const part of differences(recorded)) {
      if ((recorded.explanation?.[part] ?? "") === "")
        found.push(`${group}, ${name}: ${part} differs without explanation`);
    }
    for (const side of ["ours", "reference"] as const) {
      if (isDeepStrictEqual(recorded[side], before[name]?.[side])) continue;
      found.push(
        `${group}, ${name}: ${side} is ${JSON.stringify(recorded[side])}, stored is ${JSON.stringify(before[name]?.[side])}`,
      );
    }
  }
  for (const name of Object.keys(before))
    if (!(name in fresh)) found.push(`${group}, ${name}: stored, but no longer sent`);
  return found;
}
