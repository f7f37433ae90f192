import type { Locator, Page } from "playwright-core";

/** Stops after which an element is not reached any more. */
const maxStops = 60;

/** Where the focus is after a key. */
interface Stop {
  /** Null: on nothing. */
  readonly name: string | null;
  /** What is wrong with it. */
  readonly problems: readonly string[];
}

/**
 * Who uses a page by its keyboard alone. What is not reached by Tab or Shift+Tab is not used.
 * Every stop on the way is looked at: its focus shows, it is in view, and the stops are in the order in which the page is read.
 */
export class Keyboard {
  readonly #page: Page;
  /** What was wrong with stops so far. */
  readonly problems: string[] = [];

  constructor(page: Page) {
    this.#page = page;
  }

  /** Goes to an element. @throws Error when it is not reached */
  async to(target: Locator, key: "Tab" | "Shift+Tab" = "Tab"): Promise<void> {
    await target.waitFor();
    const passed: (string | null)[] = [];
    // a page may begin with the focus where its work begins
    await this.#look("Tab");
    while (!(await target.evaluate((element) => element === element.ownerDocument.activeElement))) {
      if (passed.length > maxStops)
        throw new Error(`${target} at ${this.#page.url()} is not among ${passed.join(", ")}`);
      await this.#page.keyboard.press(key);
      passed.push((await this.#look(key)).name);
    }
  }

  /** Goes to a field and types into it, over what it holds. */
  async type(field: Locator, text: string, key: "Tab" | "Shift+Tab" = "Tab"): Promise<void> {
    await this.to(field, key);
    await this.#page.keyboard.press("ControlOrMeta+a");
    await this.#page.keyboard.type(text);
  }

  /** Goes to a button or a link, and presses it. */
  async press(target: Locator, key: "Enter" | "Space" = "Enter"): Promise<void> {
    await this.to(target);
    await this.#page.keyboard.press(key);
  }

  /** The stops from here to the end of the page. */
  async rest(): Promise<string[]> {
    const names: string[] = [];
    while (names.length <= maxStops) {
      await this.#page.keyboard.press("Tab");
      const { name } = await this.#look("Tab");
      if (name === null) break;
      names.push(name);
    }
    return names;
  }

  /** Goes through the whole page, from its first stop to its last: what can be used is reached. */
  async round(): Promise<void> {
    await this.rest();
    await this.rest();
    const missed = await this.#page.evaluate<string[]>(notReached);
    this.problems.push(...missed.map((element) => `${this.#page.url()}: ${element} is not reached`));
  }

  async #look(key: "Tab" | "Shift+Tab"): Promise<Stop> {
    const stop = await this.#page.evaluate<Stop>(`(${lookAtStop})(${key === "Tab"})`);
    this.problems.push(...stop.problems.map((problem) => `${this.#page.url()}, ${stop.name}: ${problem}`));
    return stop;
  }
}

const notReached = `
  [...document.querySelectorAll("a[href], button, input:not([type=hidden])")]
    .filter((element) => element.checkVisibility() && !element.disabled && !window.stopsReached.has(element))
    .map((element) => element.outerHTML.slice(0, 160))`;

/** In the page. The stop before is remembered there, so that it is forgotten with the page. */
const lookAtStop = `(forward) => {
  const ringOf = (element) => {
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
    return outlineStyle === "none" ? "none" : [outlineStyle, outlineWidth, outlineColor].join(" ");
  };
  const area = (element) => element.closest("main, nav, footer, header");
  const stop = document.activeElement === document.body ? null : document.activeElement;
  const before = window.stopBefore ?? null;
  window.stopBefore = stop;
  (window.stopsReached ??= new Set()).add(stop);
  if (stop === null) return { name: null, problems: [] };
  const problems = [];
  const ring = ringOf(stop);
  if (ring === "none" || Number.parseFloat(getComputedStyle(stop).outlineWidth) < 2) problems.push("its focus does not show");
  const box = stop.getBoundingClientRect();
  if (box.width === 0 || box.bottom <= 0 || box.top >= innerHeight || box.left < 0 || box.right > innerWidth) {
    problems.push("it is out of view");
  }
  if (before !== null && before !== stop && before.isConnected) {
    if (ringOf(before) === ring) problems.push("what had the focus before looks the same");
    const [first, second] = forward ? [before, stop] : [stop, before];
    const [one, two] = [first.getBoundingClientRect(), second.getBoundingClientRect()];
    const isAbove = two.bottom <= one.top;
    const isLeft = two.top < one.bottom && one.top < two.bottom && two.left < one.left;
    if (area(first) === area(second) && (isAbove || isLeft)) problems.push("it is before the one before");
  }
  const name = stop.getAttribute("aria-label") ?? stop.labels?.[0]?.textContent ?? stop.textContent;
  return { name: name.trim(), problems };
}`;
