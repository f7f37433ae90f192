/** The wall clock of this process is off from now on. @param shift milliseconds, asked at each look */
export function setWallClock(shift) {
  const RealDate = Date;
  const now = () => RealDate.now() + shift();
  globalThis.Date = class extends RealDate {
    constructor(...values) {
      if (values.length === 0) super(now());
      else super(...values);
    }

    static now() {
      return now();
    }
  };
}
