// Loaded into a service with `node --import`: its wall clock is off by as many milliseconds as CLOCK_FILE says at the time.
import { readFileSync } from "node:fs";
import { setWallClock } from "../../support/wall-clock.mjs";

setWallClock(() => Number(readFileSync(process.env.CLOCK_FILE, "utf8")));
