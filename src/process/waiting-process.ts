import { CLOSE, type FromWaitingProcess, type ToWaitingProcess } from "./shared-waiting-room.ts";
import { openWaitingRoom, type Place } from "./waiting-room.ts";

/**
 * The program of the waiting room that workers share: beside them it holds the port, which is never let go between the two. Its one
 * argument says where it listens, as JSON.
 */
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("disconnect", () => process.exit(0));

const tell = (message: FromWaitingProcess, then: () => void = () => undefined) => {
  process.send?.(message, undefined, undefined, then);
};

try {
  const room = await openWaitingRoom(JSON.parse(process.argv[2] ?? "") as Place);
  process.on("message", async (message: ToWaitingProcess) => {
    if (message === CLOSE) {
      await room.close();
      process.exit(0);
    }
    if (typeof message === "object") room.reason = message.reason;
  });
  tell({ open: true });
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  tell({ open: false, code, message }, () => process.exit(1));
}
