// Loaded before a program whose clock a test moves: the file of CLOCK_SHIFT_FILE holds the milliseconds that it is ahead.
import { readFileSync } from "node:fs";

const now = Date.now;
Date.now = () => now() + Number(readFileSync(process.env.CLOCK_SHIFT_FILE, "utf8"));
