// Loaded into a replica with `node --import`: its wall clock is CLOCK_SHIFT_MS off, and steps there from 0 after CLOCK_STEP_AFTER_MS.
const shift = Number(process.env.CLOCK_SHIFT_MS ?? 0);
const after = Number(process.env.CLOCK_STEP_AFTER_MS ?? 0);
const RealDate = Date;
const now = () => RealDate.now() + (performance.now() >= after ? shift : 0);

globalThis.Date = class extends RealDate {
  constructor(...values) {
    if (values.length === 0) super(now());
    else super(...values);
  }

  static now() {
    return now();
  }
};
