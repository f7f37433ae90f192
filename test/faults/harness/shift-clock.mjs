// Loaded into a replica with `node --import`: its wall clock is CLOCK_SHIFT_MS off, and steps there from 0 after CLOCK_STEP_AFTER_MS.
import { setWallClock } from "../../support/wall-clock.mjs";

const shift = Number(process.env.CLOCK_SHIFT_MS ?? 0);
const after = Number(process.env.CLOCK_STEP_AFTER_MS ?? 0);
setWallClock(() => (performance.now() >= after ? shift : 0));
