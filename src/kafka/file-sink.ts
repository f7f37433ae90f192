import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import path from "node:path";
import { makePrivateFolder } from "../private-folder.ts";
import { eventToJson } from "./encode.ts";
import type { EventPublisher, Logger } from "./event-publisher.ts";
import { NONE_HELD, PublishError } from "./event-publisher.ts";

/** Members of payloads that are no business of the log. */
const secrets = new Set(["resetToken", "resetUrl", "verificationToken", "verificationUrl"]);

/** Appends events to a file instead of Kafka: one line `{"topic","key","event"}` each, the event as ProtoJSON. */
export function fileSink(options: { file: string; log: Logger }): EventPublisher {
  const file = path.resolve(options.file);
  let last: Promise<unknown> = Promise.resolve();
  let isWhole = false;

  let opened: Opened | null = null;

  async function append(lines: string): Promise<void> {
    const { handle } = await currentFile();
    if (!isWhole) await cutTornLine(handle);
    isWhole = false;
    await handle.appendFile(lines);
    await handle.datasync();
    isWhole = true;
  }

  /** The file that is open. After a rotation or a deletion it is created again. */
  async function currentFile(): Promise<Opened> {
    if (opened !== null && (await isAt(file, opened.stat))) return opened;
    await close();
    opened = await openPrivately(file);
    return opened;
  }

  async function close(): Promise<void> {
    const { handle } = opened ?? {};
    opened = null;
    await handle?.close();
  }

  return {
    publish(batch) {
      const done = last.then(async () => {
        const events = batch.map(({ topic, key, event }) => ({ topic, key, event: eventToJson(event) }));
        await append(events.map((event) => `${JSON.stringify(event)}\n`).join("")).catch((error: Error) => {
          throw new PublishError("away", error.message, { cause: error });
        });
        for (const event of events) options.log.info(withoutSecrets(event), "event");
        return NONE_HELD;
      });
      last = done.catch(() => {});
      return done;
    },
    async close() {
      await last;
      await close();
    },
  };
}

/** Makes the file and its folder where they are missing. @throws the system's error where events cannot be appended to it */
export async function prepareFile(file: string): Promise<void> {
  const { handle } = await openPrivately(path.resolve(file));
  await handle.close();
}

interface Opened {
  readonly handle: FileHandle;
  /** Of the open file, whatever has its name by now. */
  readonly stat: Stats;
}

async function isAt(file: string, { ino, dev }: Stats): Promise<boolean> {
  const found = await stat(file).catch(() => null);
  return found !== null && found.ino === ino && found.dev === dev && isPrivate(found);
}

const isPrivate = ({ mode }: Stats) => (mode & 0o777) === 0o600;

async function openPrivately(file: string): Promise<Opened> {
  const directory = path.dirname(file);
  makePrivateFolder(directory);
  const handle = await open(file, "a+", 0o600);
  const opened = { handle, stat: await handle.stat() };
  // the umask may have changed the mode
  if (!isPrivate(opened.stat)) await handle.chmod(0o600);
  if (opened.stat.size === 0) {
    const parent = await open(directory, "r");
    await parent.sync().finally(() => parent.close());
  }
  return opened;
}

/** Removes a last line that has no end: a crash cut it off before it was acknowledged, so its event is sent again. */
async function cutTornLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat();
  const chunk = Buffer.alloc(64 * 1024);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunk.length);
    const { bytesRead } = await handle.read(chunk, 0, end - start, start);
    const newline = chunk.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (newline >= 0 || start === 0) {
      const whole = newline >= 0 ? start + newline + 1 : 0;
      if (whole < size) await handle.truncate(whole);
      return;
    }
    end = start;
  }
}

function withoutSecrets<T extends { event: ReturnType<typeof eventToJson> }>(line: T): T {
  const { payload } = line.event;
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return line;
  const shown = Object.entries(payload).filter(([name]) => !secrets.has(name));
  return { ...line, event: { ...line.event, payload: Object.fromEntries(shown) } };
}
