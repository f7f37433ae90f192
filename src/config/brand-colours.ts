export type Scheme = "light" | "dark";

/** A colour, as `#0f5c4c`. */
type Colour = string;

/** What the pages' style takes from a brand in one scheme. */
export interface Shades {
  readonly accent: Colour;
  /** Of buttons under the pointer. */
  readonly accentOver: Colour;
  readonly onAccent: Colour;
  /** A tint behind texts. */
  readonly wash: Colour;
  readonly glow: Colour;
}

/** The backgrounds of the pages, as src/http/pages/style.css has them. */
export const PAGE_COLOURS: Readonly<Record<Scheme, { readonly card: Colour; readonly paper: Colour }>> = {
  light: { card: "#ffffff", paper: "#f4f5f1" },
  dark: { card: "#19201e", paper: "#101514" },
};

/** Of text, WCAG 2.2 section 1.4.3. */
const leastContrast = 4.5;

/**
 * The shades that follow from a brand's accent.
 * @param text on the accent; absent: white or black, whichever stands out more
 */
export function shadesOf(scheme: Scheme, accent: Colour, text?: Colour): Shades {
  const { card, paper } = PAGE_COLOURS[scheme];
  const onAccent = text ?? (contrastOf("#ffffff", accent) >= contrastOf("#000000", accent) ? "#ffffff" : "#000000");
  // away from the text, so that it stands out more, not less
  const over = luminanceOf(onAccent) > luminanceOf(accent) ? "#000000" : "#ffffff";
  return {
    accent,
    accentOver: mix(accent, over, 0.25),
    onAccent,
    wash: mix(card, accent, 0.08),
    glow: mix(paper, accent, 0.1),
  };
}

/** What cannot be read in these shades: the member, and the reason with the ratio and the least one. */
export function problemsOfShades(
  scheme: Scheme,
  { accent, onAccent, wash }: Shades,
): { member: string; message: string }[] {
  const { card, paper } = PAGE_COLOURS[scheme];
  const [worst = card] = [card, paper, wash].sort((a, b) => contrastOf(accent, a) - contrastOf(accent, b));
  return [
    { member: "accent", front: accent, back: worst, where: `the ${scheme} page's background` },
    { member: "text", front: onAccent, back: accent, where: "the accent" },
  ].flatMap(({ member, front, back, where }) => {
    const ratio = contrastOf(front, back);
    if (ratio >= leastContrast) return [];
    // rounded down: a ratio that is too low must not look like one that is not
    const shown = (Math.floor(ratio * 100) / 100).toFixed(2);
    const message = `${front} has a contrast of ${shown}:1 on ${where} (${back}); at least ${leastContrast}:1 is needed`;
    return [{ member, message }];
  });
}

/** The contrast ratio of WCAG 2.2, from 1 to 21. */
export function contrastOf(a: Colour, b: Colour): number {
  const [high = 0, low = 0] = [luminanceOf(a), luminanceOf(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

function luminanceOf(colour: Colour): number {
  const [red = 0, green = 0, blue = 0] = partsOf(colour).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function mix(base: Colour, added: Colour, share: number): Colour {
  const others = partsOf(added);
  const parts = partsOf(base).map((part, index) => Math.round(part + ((others[index] ?? 0) - part) * share));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function partsOf(colour: Colour): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}
