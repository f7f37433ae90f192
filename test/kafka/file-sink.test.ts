import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { encodeEvent } from "../../src/kafka/encode.ts";
import { fileSink } from "../../src/kafka/file-sink.ts";
import { captureLog, eventOf, LOGIN, RESET, SIGNUP, UUID, until } from "./events.ts";

const outbound = [SIGNUP, LOGIN, RESET].map((event) => encodeEvent(event, "https://auth.example.com"));
let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "events-"));
  file = path.join(folder, "data", "events.ndjson");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const lines = async () =>
  (await readFile(file, "utf8"))
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test("each event is a line of topic, key and ProtoJSON", async () => {
  const sink = fileSink({ file, log: captureLog() });
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
  await fileSink({ file, log: captureLog() }).publish(outbound);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);

  await chmod(file, 0o644);
  await fileSink({ file, log: captureLog() }).publish(outbound);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test("the log shows every event, never a reset token or its page", async () => {
  const log = captureLog();
  await fileSink({ file, log }).publish(outbound);
  expect(log.lines.map(({ level }) => level)).toEqual(["info", "info", "info"]);
  const logged = JSON.stringify(log.lines);
  expect(logged).toContain("evt-20260118-003");
  expect(logged).not.toContain("reset-token-secret");
  expect(logged).not.toMatch(/resetToken|resetUrl/);
});

test("a line that a crash cut off is removed before the next is written", async () => {
  const first = fileSink({ file, log: captureLog() });
  await first.publish(outbound.slice(0, 2));
  const whole = await readFile(file, "utf8");
  await writeFile(file, `${whole}{"topic":"user-signup","key":"${"x".repeat(200_000)}`);
  await fileSink({ file, log: captureLog() }).publish(outbound.slice(2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["user-signup", "user-login", "password-reset"]);

  await writeFile(file, "never ended");
  await fileSink({ file, log: captureLog() }).publish(outbound.slice(2));
  expect((await lines()).map(({ topic }) => topic)).toEqual(["password-reset"]);
});

test("a batch that cannot be written is refused, and written later", async () => {
  await writeFile(path.join(folder, "data"), "in the way");
  const sink = fileSink({ file, log: captureLog() });
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

  const sink = fileSink({ file, log: captureLog() });
  await sink.publish([encodeEvent(eventOf(UUID, 0), "i")]);
  const kept = new Set((await lines()).map(({ event }) => event.eventId));
  const ids = acknowledged.split("\n").slice(0, -1);
  expect(ids.length).toBeGreaterThan(50);
  expect(ids.filter((id) => !kept.has(id))).toEqual([]);
});
