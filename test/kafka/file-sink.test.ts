import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { encodeEvent } from "../../src/kafka/encode.ts";
import type { EventPublisher } from "../../src/kafka/event-publisher.ts";
import { fileSink } from "../../src/kafka/file-sink.ts";
import { captureLog, eventOf, LOGIN, RESET, SIGNUP, UUID, until } from "./events.ts";

const outbound = [SIGNUP, LOGIN, RESET].map((event) => encodeEvent(event, "https://auth.example.com"));
let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "events-"));
  file = path.join(folder, "data", "events.ndjson");
});
const sinks: EventPublisher[] = [];
afterEach(async () => {
  for (const sink of sinks.splice(0)) await sink.close();
  await rm(folder, { recursive: true, force: true });
});

function newSink(log = captureLog()): EventPublisher {
  const sink = fileSink({ file, log });
  sinks.push(sink);
  return sink;
}

const lines = async () =>
  (await readFile(file, "utf8"))
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test("each event is a line of topic, key and ProtoJSON", async () => {
  const sink = newSink();
  await Promise.all(outbound.map((event) => sink.publish([event])));
  await sink.close();
  expect(await lines()).toEqual([
    { topic: "user-signup", key: UUID, event: expect.objectContaining({ eventId: "evt-20260118-001" }) },
    { topic: "user-login", key: UUID, event: expect.objectContaining({ eventType: "USER_LOGIN" }) },
    {
      topic: "password-reset",
      key: UUID,
      event: expect.objectContaining({ payload: expect.objectContaining({ resetToken: "reset-token-secret" }) }),
    },
  ]);
});

test("only the owner may read the file and its new directory", async () => {
  await newSink().publish(outbound);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);

  await chmod(file, 0o644);
  await newSink().publish(outbound);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test("the log shows every event, never a reset token or its page", async () => {
  const log = captureLog();
  await newSink(log).publish(outbound);
  expect(log.lines.map(({ level }) => level)).toEqual(["info", "info", "info"]);
  const logged = JSON.stringify(log.lines);
  expect(logged).toContain("evt-20260118-003");
  expect(logged).not.toContain("reset-token-secret");
  expect(logged).not.toMatch(/resetToken|resetUrl/);
});

test("a line that a crash cut off is removed before the next is written", async () => {
  const first = newSink();
  await first.publish(outbound.slice(0, 2));
  const whole = await readFile(file, "utf8");
  await writeFile(file, `${whole}{"topic":"user-signup","key":"${"x".repeat(200_000)}`);
  await newSink().publish(outbound.slice(2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["user-signup", "user-login", "password-reset"]);

  await writeFile(file, "never ended");
  await newSink().publish(outbound.slice(2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["password-reset"]);
});

test("a file that was moved or deleted is created again, and one that others may read becomes private again", async () => {
  const sink = newSink();
  await sink.publish(outbound.slice(0, 1));
  await rename(file, `${file}.1`);
  await sink.publish(outbound.slice(1, 2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["user-login"]);
  await rm(path.dirname(file), { recursive: true });
  await sink.publish(outbound.slice(2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["password-reset"]);
  await chmod(file, 0o644);
  await sink.publish(outbound.slice(0, 1));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["password-reset", "user-signup"]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test("a batch that cannot be written is refused, and written later", async () => {
  await writeFile(path.join(folder, "data"), "in the way");
  const sink = newSink();
  await expect(sink.publish(outbound)).rejects.toMatchObject({ failure: "away" });
  await rm(path.join(folder, "data"));
  await sink.publish(outbound);
  expect(await lines()).toHaveLength(3);
});

test("acknowledged events survive kill -9 of the writer", async () => {
  const writer = spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `const [{ fileSink }, { encodeEvent }, { eventOf }] = await Promise.all([
         import("./src/kafka/file-sink.ts"), import("./src/kafka/encode.ts"), import("./test/kafka/events.ts")]);
       const none = () => {};
       const sink = fileSink({ file: process.argv[1], log: { debug: none, info: none, warn: none, error: none } });
       for (let i = 0; ; i += 1) {
         const event = eventOf("${UUID}", i);
         await sink.publish([encodeEvent(event, "i")]);
         process.stdout.write(event.eventId + "\\n");
       }`,
      file,
    ],
    { cwd: path.resolve(import.meta.dirname, "../.."), stdio: ["ignore", "pipe", "inherit"] },
  );
  let acknowledged = "";
  writer.stdout.on("data", (chunk) => {
    acknowledged += chunk;
  });
  await until(() => acknowledged.length > 2_000);
  writer.kill("SIGKILL");
  await new Promise((resolve) => writer.once("close", resolve));

  const sink = newSink();
  await sink.publish([encodeEvent(eventOf(UUID, 0), "i")]);
  const kept = new Set((await lines()).map(({ event }) => event.eventId));
  const ids = acknowledged.split("\n").slice(0, -1);
  expect(ids.length).toBeGreaterThan(50);
  expect(ids.filter((id) => !kept.has(id))).toEqual([]);
});
