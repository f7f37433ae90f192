import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/**
 * Collects garbage. @returns `heapUsed` in bytes. Without the collection it says how long ago the last one was, not what is kept.
 */
export function heapInUse(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}
