import type { Page } from "playwright-core";

export interface TextColour {
  readonly text: string;
  /** As `rgb(1, 2, 3)`. */
  readonly front: string;
  /** The first background behind it that is not transparent. */
  readonly back: string;
  /** WCAG 2.2's ratio of the two. */
  readonly contrast: number;
}

/** The colours of every text of a page as the browser computed them. */
export async function coloursOfTexts(page: Page): Promise<TextColour[]> {
  const texts = await page.evaluate<[text: string, front: string, back: string][]>(collect);
  return texts.map(([text, front, back]) => ({ text, front, back, contrast: contrastOf(front, back) }));
}

const collect = `
  [...document.querySelectorAll("h1, h2, p, li, dt, dd, em, label, a, button, strong, header")].map((element) => {
    let behind = element;
    while (behind !== null && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const back = getComputedStyle(behind ?? document.body).backgroundColor;
    return [element.textContent ?? "", getComputedStyle(element).color, back];
  })`;

/** WCAG 2.2's contrast ratio of two `rgb()` colours. */
function contrastOf(front: string, back: string): number {
  const luminance = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((part) => {
      const value = Number(part) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [high = 0, low = 0] = [luminance(front), luminance(back)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}
